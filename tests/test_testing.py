"""ipvsnl.testing, the kernel that others test with: what is put in comes out, through all of the client."""

import errno
from dataclasses import fields, replace

import pytest
from conftest import KERNELS, capture_path, run_python

from ipvsnl import (
    Client,
    Info,
    IPVSError,
    NotAvailableError,
    NotFoundError,
    PermissionDeniedError,
    ServiceFlags,
    Stats,
    Timeouts,
    TunnelFlags,
    testing,
)
from ipvsnl.capture import Replay

WEB = testing.service(
    flags=ServiceFlags.PERSISTENT | ServiceFlags.HASHED | 0x40,
    timeout=300,
    netmask=24,
    persistence_engine="sip",
    stats=Stats(*range(2**63, 2**63 + 10)),
)
POOL = [
    testing.destination(),
    testing.destination(
        address="2001:db8::1",
        port=8080,
        forwarding="tunnel",
        weight=-1,
        upper_threshold=2,
        lower_threshold=3,
        active_connections=4,
        inactive_connections=5,
        persistent_connections=6,
        tunnel_type="gue",
        tunnel_port=6080,
        tunnel_flags=TunnelFlags.CSUM,
        stats=testing.stats(cps=7),
    ),
]
ENTRIES = [
    (WEB, POOL),
    (testing.service(address="2001:db8::1", protocol="33", port=0), []),
    (testing.service(fwmark=47), POOL[:1]),
    (testing.service(fwmark=47, address_family="inet6"), POOL[1:]),
]


def test_all_that_is_put_in_comes_out() -> None:
    with Client(transport=testing.Kernel(ENTRIES)) as client:
        assert list(client.dump()) == ENTRIES


@pytest.mark.parametrize("name", KERNELS)
def test_what_real_kernels_said_comes_out_again(name: str) -> None:
    with open(capture_path(name), "rb") as file, Client(transport=Replay(file)) as client:
        entries = list(client.dump())
    assert list(Client(transport=testing.Kernel(entries)).dump()) == entries


def test_a_long_list_comes_out() -> None:
    pool = [testing.destination(address=f"10.1.{number >> 8}.{number & 255}") for number in range(1000)]
    assert list(Client(transport=testing.Kernel([(WEB, pool)])).dump()) == [(WEB, pool)]


def test_each_service_is_found_by_its_key() -> None:
    client = Client(transport=testing.Kernel(ENTRIES))
    assert client.service("tcp", "10.0.0.1", 80) == WEB
    assert client.service(fwmark=47, address_family="inet6") == ENTRIES[3][0]
    assert client.dests(ENTRIES[2][0]) == POOL[:1]
    with pytest.raises(NotFoundError):
        client.service("udp", "10.0.0.1", 80)


def test_the_rest_is_answered_too() -> None:
    kernel = testing.Kernel()
    kernel.info, kernel.timeouts = Info("1.2.3", 1 << 20), Timeouts(1, 2, 3)
    client = Client(transport=kernel)
    assert (client.info(), client.timeouts(), client.daemons()) == (Info("1.2.3", 1 << 20), Timeouts(1, 2, 3), [])


def test_it_may_change_while_it_is_read() -> None:
    kernel = testing.Kernel(ENTRIES)
    client = Client(transport=kernel)
    kernel.entries.pop()
    assert len(client.services()) == 3
    kernel.refusing = errno.EPERM
    with pytest.raises(PermissionDeniedError):
        client.services()
    kernel.refusing = 0
    kernel.loaded = False
    with pytest.raises(IPVSError):
        client.services()
    kernel.loaded = True
    assert len(client.services()) == 3


@pytest.mark.parametrize("load_module", [False, True])
def test_one_without_ipvs_is_one_without_ipvs(load_module: bool) -> None:
    kernel = testing.Kernel()
    kernel.loaded = False
    with pytest.raises(NotAvailableError):
        Client(transport=kernel, load_module=load_module)
    kernel.loaded = True
    Client(transport=kernel, load_module=load_module)


def test_what_is_made_has_defaults_and_takes_changes() -> None:
    assert testing.stats(cps=1) == replace(testing.stats(), cps=1)
    assert testing.service(port=443) == replace(testing.service(), port=443)
    assert testing.destination(weight=0) == replace(testing.destination(), weight=0)
    assert (testing.service(address="::1").address_family, testing.service(address="::1").netmask) == ("inet6", 128)
    assert [field.name for field in fields(testing.service())][:2] == ["address_family", "protocol"]


def test_a_name_that_is_no_field_is_refused() -> None:
    for make in (testing.stats, testing.service, testing.destination):
        with pytest.raises(TypeError):
            make(nonsense=1)


def test_who_does_not_import_it_does_not_load_it() -> None:
    assert "ipvsnl.testing" not in run_python("import sys, ipvsnl, ipvsnl.cli; print(*sys.modules)").split()
