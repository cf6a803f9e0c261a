"""The encoders against tests/netlink.py, which packs on its own, and against what ipvsadm sent to real kernels."""

from typing import Any

import netlink
import pytest

from ipvsnl import Daemon, Info, ServiceFlags, Timeouts, TunnelFlags, _decode, _encode, testing


def test_a_service_is_encoded_as_the_kernel_encodes_it() -> None:
    service = testing.service(flags=ServiceFlags.HASHED, stats=testing.stats(connections=2**40))
    expected = netlink.service(STATS=None, STATS64=netlink.stats([2**40, *[0] * 9], wide=True))
    assert _encode.service(service) == netlink.pack(expected, nested=0)


def test_an_inet6_service_has_a_prefix_length() -> None:
    service = testing.service(address="2001:db8::1", netmask=64)
    expected = netlink.service(
        AF=netlink.u16(10),
        ADDR=netlink.address("2001:db8::1"),
        NETMASK=netlink.u32(64),
        STATS=None,
    )
    assert _encode.service(service) == netlink.pack(expected, nested=0)


@pytest.mark.parametrize(("bits", "mask"), [(32, b"\xff\xff\xff\xff"), (20, b"\xff\xff\xf0\0"), (0, b"\0\0\0\0")])
def test_an_inet_netmask_is_in_network_byte_order(bits: int, mask: bytes) -> None:
    expected = netlink.service(NETMASK=mask, STATS=None)
    assert _encode.service(testing.service(netmask=bits)) == netlink.pack(expected, nested=0)


def test_a_fwmark_service_has_no_address() -> None:
    expected = netlink.fwmark_service(47, STATS=None)
    assert _encode.service(testing.service(fwmark=47)) == netlink.pack(expected, nested=0)


def test_a_real_server_is_encoded_as_the_kernel_encodes_it() -> None:
    destination = testing.destination(
        port=8080, forwarding="tunnel", weight=-1, tunnel_type="gue", tunnel_port=6080, tunnel_flags=TunnelFlags.CSUM
    )
    expected = netlink.destination(
        FWD_METHOD=netlink.u32(2),
        WEIGHT=netlink.s32(-1),
        TUN_TYPE=netlink.u8(1),
        TUN_PORT=netlink.be16(6080),
        TUN_FLAGS=netlink.u16(1),
        STATS=None,
    )
    assert _encode.destination(destination) == netlink.pack(expected, nested=0)


def test_a_request_carries_nothing_that_the_kernel_counts() -> None:
    counted = ("ACTIVE_CONNS", "INACT_CONNS", "PERSIST_CONNS", "STATS", "STATS64")
    expected = netlink.destination(dict.fromkeys(counted), PORT=netlink.be16(80))
    assert _encode.destination_request(testing.destination()) == netlink.pack(expected, nested=0)
    expected = netlink.service(STATS=None, STATS64=None)
    assert _encode.service_request(testing.service()) == netlink.pack(expected, nested=0)


def test_a_key_carries_the_identity_alone() -> None:
    expected = netlink.destination(dict.fromkeys(set(netlink.DEST) - {"ADDR", "PORT", "ADDR_FAMILY"}))
    assert _encode.destination_key(testing.destination(port=8080)) == netlink.pack(expected, nested=0)


@pytest.mark.parametrize(
    "service",
    [
        testing.service(),
        testing.service(protocol="47", address="2001:db8::1", port=0),
        testing.service(fwmark=2**32 - 1),
        testing.service(fwmark=7, address_family="inet6"),
    ],
    ids=str,
)
def test_a_service_key_comes_back(service: Any) -> None:
    assert _decode.decode_key(_encode.service_key(service.key)) == service.key
    assert _decode.decode_key(_encode.service(service)) == service.key


def test_the_version_timeouts_and_daemons_come_back() -> None:
    assert _decode.decode_info(_encode.info(Info("1.2.255", 4096))) == Info("1.2.255", 4096)
    assert _decode.decode_timeouts(_encode.timeouts(Timeouts(1, 2, 3))) == Timeouts(1, 2, 3)
    for group in ("224.0.0.81", "ff05::1", None):
        daemon = Daemon("backup", "eth0", 7, 1472, group, 8848, 1)
        assert _decode.decode_daemon(_encode.daemon(daemon)) == daemon


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"address": "x"}, "address"),
        ({"port": "http"}, "port"),
        ({"port": 65536}, "port"),
        ({"forwarding": "nat"}, "forwarding"),
        ({"tunnel_type": None, "weight": "heavy"}, "heavy"),
    ],
)
def test_a_value_that_does_not_fit_is_a_value_error(changes: "dict[str, Any]", field: str) -> None:
    with pytest.raises(ValueError, match=field):
        _encode.destination(testing.destination(**changes))
