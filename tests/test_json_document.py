"""The JSON document: every field of the model under its own name, flags as names."""

import json
from dataclasses import asdict, fields, replace
from typing import Any

import netlink
import pytest
from conftest import KERNELS, capture_path, run

from ipvsnl import Client, Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags
from ipvsnl.capture import Replay
from ipvsnl.formats import Report
from ipvsnl.formats.json_document import render

NO_STATS = Stats(*netlink.NO_STATS)
SERVICE = Service("inet", "tcp", "10.0.0.1", 80, None, "rr", ServiceFlags.HASHED, 0, 32, None, NO_STATS)
DESTINATION = Destination(
    "inet", "192.0.2.1", 8080, "tunnel", 1, 0, 0, 0, 0, 0, "gue", 6080, TunnelFlags.CSUM, NO_STATS
)


def document(*entries: "tuple[Service, list[Destination] | None]", **options: Any) -> Any:
    return json.loads("".join(render(Report(entries, **options))))


def names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def test_an_empty_dump_is_an_empty_list_of_services() -> None:
    assert "".join(render(Report([]))) == '{"services": [], "info": null, "timeouts": null, "daemons": null}\n'


def test_the_rest_of_ipvs_is_in_the_document() -> None:
    """Under the names of the fields."""
    daemon = Daemon("master", 'eth"0', 7, None, "224.0.0.81", 8848, 1)
    said = document(info=Info("1.2.1", 4096), timeouts=Timeouts(900, 120, 300), daemons=[daemon])
    assert said == {
        "services": [],
        "info": {"version": "1.2.1", "connection_table_size": 4096},
        "timeouts": {"tcp": 900, "tcp_fin": 120, "udp": 300},
        "daemons": [asdict(daemon)],
    }


def test_no_daemon_is_an_empty_list_and_not_null() -> None:
    assert document(daemons=[])["daemons"] == []


def test_the_namespace_is_named_if_it_was_given() -> None:
    assert document((SERVICE, []), netns='a"b')["netns"] == 'a"b'
    assert "netns" not in document((SERVICE, []))


def test_aggregate_has_sums_in_place_of_destinations() -> None:
    pool = [replace(DESTINATION, weight=weight, active_connections=5) for weight in (1, 0, 2)]
    (service,) = document((SERVICE, pool), aggregate=True)["services"]
    sums = {name: service.pop(name) for name in set(service) - names(Service)}
    assert set(service) == names(Service)
    assert sums == {
        "active_connections": 15,
        "inactive_connections": 0,
        "persistent_connections": 0,
        "real_servers": 3,
        "real_servers_available": 2,
    }


def test_a_service_has_every_field_and_its_destinations() -> None:
    (service,) = document((SERVICE, []))["services"]
    assert set(service) == names(Service) | {"destinations"}
    assert service["destinations"] == []


def test_a_destination_has_every_field() -> None:
    (service,) = document((SERVICE, [DESTINATION]))["services"]
    assert set(service["destinations"][0]) == names(Destination)


def test_stats_are_nested() -> None:
    stats = Stats(*range(2**64 - 10, 2**64))
    (service,) = document((replace(SERVICE, stats=stats), []))["services"]
    assert service["stats"] == asdict(stats)


def test_services_alone_have_no_destinations() -> None:
    (service,) = document((SERVICE, None))["services"]
    assert set(service) == names(Service)


def test_several_services_are_one_document() -> None:
    assert len(document((SERVICE, []), (SERVICE, None), (SERVICE, [DESTINATION]))["services"]) == 3


def test_what_does_not_apply_is_null() -> None:
    mark = replace(SERVICE, protocol=None, address=None, port=None, fwmark=47)
    (service,) = document((mark, []))["services"]
    keys = ("protocol", "address", "port", "fwmark", "persistence_engine")
    assert [service[key] for key in keys] == [None, None, None, 47, None]


@pytest.mark.parametrize(
    ("flags", "written"),
    [
        (0, []),
        (0x01, ["persistent"]),
        (0x02, ["hashed"]),
        (0x04, ["onepacket"]),
        (0x08, ["sched1"]),
        (0x10, ["sched2"]),
        (0x20, ["sched3"]),
        (0x3F, ["persistent", "hashed", "onepacket", "sched1", "sched2", "sched3"]),
        (0x40, ["0x40"]),
        (0xC2, ["hashed", "0xc0"]),
        (0xFFFFFFFF, ["persistent", "hashed", "onepacket", "sched1", "sched2", "sched3", "0xffffffc0"]),
    ],
)
def test_service_flags_are_names_and_the_rest_one_hex_number(flags: int, written: list[str]) -> None:
    (service,) = document((replace(SERVICE, flags=ServiceFlags(flags)), []))["services"]
    assert service["flags"] == written


@pytest.mark.parametrize(
    ("flags", "written"),
    [(0, []), (1, ["csum"]), (2, ["remcsum"]), (3, ["csum", "remcsum"]), (0x8005, ["csum", "0x8004"])],
)
def test_tunnel_flags_are_names_and_the_rest_one_hex_number(flags: int, written: list[str]) -> None:
    destination = replace(DESTINATION, tunnel_flags=TunnelFlags(flags))
    (service,) = document((SERVICE, [destination]))["services"]
    assert service["destinations"][0]["tunnel_flags"] == written


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_document_of_a_capture_is_the_dump_of_the_library(kernel: str) -> None:
    with capture_path(kernel).open("rb") as file, Client(transport=Replay(file)) as client:
        entries = list(client.dump())
    said = json.loads(run("--replay", capture_path(kernel), "--format", "json").stdout)
    assert len(said["services"]) == len(entries)
    for service, (read, pool) in zip(said["services"], entries):
        destinations = service.pop("destinations")
        assert same(service, asdict(read))
        assert len(destinations) == len(pool)
        assert all(same(one, asdict(other)) for one, other in zip(destinations, pool))


def same(said: "dict[str, Any]", read: "dict[str, Any]") -> bool:
    """Whether the document says what was read, apart from how it writes flags."""
    flags = ("flags", "tunnel_flags")
    return {key: said[key] for key in said if key not in flags} == {key: read[key] for key in read if key not in flags}
