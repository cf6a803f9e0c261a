"""InfluxDB line protocol: the names, tags and fields of telegraf's ipvs plugin, byte for byte.

There are three oracles: lines reviewed by hand (fixtures/linux-6.1/stats.line), lines put together here from ipvsadm's
text, and the lines that the plugin's own documentation shows.
"""

import json
from dataclasses import fields, replace
from typing import Any

import ipvsadm
import netlink
import pytest
from conftest import FIXTURES, KERNELS, capture, capture_path, listing, run

from ipvsnl import Destination, Service, ServiceFlags, Stats, TunnelFlags
from ipvsnl.formats import Report
from ipvsnl.formats.line_protocol import render

NO_STATS = Stats(*netlink.NO_STATS)
SERVICE = Service("inet", "tcp", "172.18.64.234", 9000, None, "rr", ServiceFlags.HASHED, 0, 32, None, NO_STATS)
MARK = replace(SERVICE, protocol=None, address=None, port=None, fwmark=47)
POOL = [
    Destination("inet", address, 9000, "masquerade", 1, 0, 0, 0, 0, 0, "ipip", 0, TunnelFlags(0), NO_STATS)
    for address in ("172.18.64.220", "172.18.64.219")
]
TIME = 1541019340000000000

# From the README of plugins/inputs/ipvs in telegraf, with the fields sorted: there they stand in any order.
DOCUMENTED = """\
ipvs_virtual_server,address=172.18.64.234,address_family=inet,netmask=32,port=9000,protocol=tcp,sched=rr bytes_in=0i,\
bytes_out=0i,connections=0i,cps=0i,pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i 1541019340000000000
ipvs_real_server,address=172.18.64.220,address_family=inet,port=9000,virtual_address=172.18.64.234,virtual_port=9000,\
virtual_protocol=tcp active_connections=0i,bytes_in=0i,bytes_out=0i,connections=0i,cps=0i,inactive_connections=0i,\
pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i 1541019340000000000
ipvs_real_server,address=172.18.64.219,address_family=inet,port=9000,virtual_address=172.18.64.234,virtual_port=9000,\
virtual_protocol=tcp active_connections=0i,bytes_in=0i,bytes_out=0i,connections=0i,cps=0i,inactive_connections=0i,\
pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i 1541019340000000000
ipvs_virtual_server,address_family=inet,fwmark=47,netmask=32,sched=rr bytes_in=0i,bytes_out=0i,connections=0i,cps=0i,\
pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i 1541019340000000000
ipvs_real_server,address=172.18.64.220,address_family=inet,port=9000,virtual_fwmark=47 active_connections=0i,\
bytes_in=0i,bytes_out=0i,connections=0i,cps=0i,inactive_connections=0i,pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i \
1541019340000000000
ipvs_real_server,address=172.18.64.219,address_family=inet,port=9000,virtual_fwmark=47 active_connections=0i,\
bytes_in=0i,bytes_out=0i,connections=0i,cps=0i,inactive_connections=0i,pkts_in=0i,pkts_out=0i,pps_in=0i,pps_out=0i \
1541019340000000000
"""


def text(*entries: "tuple[Service, list[Destination] | None]", **options: Any) -> str:
    return "".join(render(Report(entries, TIME, **options)))


def lines(service: Service, *destinations: Destination, **options: Any) -> list[str]:
    return text((service, list(destinations)), **options).splitlines()


def test_the_examples_of_the_telegraf_plugin_are_reproduced() -> None:
    assert text((SERVICE, POOL), (MARK, POOL)) == DOCUMENTED


def test_the_reviewed_lines_of_a_capture_are_reproduced() -> None:
    golden = (FIXTURES / "linux-6.1" / "stats.line").read_text()
    assert run("--replay", capture_path("linux-6.1")).stdout == golden


def dump_time(kernel: str) -> int:
    """When the services were asked for, from the capture's bytes."""
    for record in netlink.records(capture(kernel)):
        request = netlink.datagram(record)
        if netlink.is_request(request) and request[16:17] == bytes([netlink.GET_SERVICE]):
            return netlink.time_of(record)
    raise AssertionError("no dump")


def tags_of(service: ipvsadm.Entry, prefix: str) -> dict[str, object]:
    names = ("fwmark",) if service["fwmark"] is not None else ("address", "port", "protocol")
    tags = {prefix + name: service[name] for name in names}
    if prefix and service["fwmark"] is not None and service["address_family"] == "inet6":
        tags["virtual_address_family"] = "inet6"
    return tags


def composed_line(measurement: str, tags: "dict[str, object]", fields: "dict[str, int]", time: int) -> str:
    tag_set = ",".join(f"{name}={tags[name]}" for name in sorted(tags))
    field_set = ",".join(f"{name}={fields[name]}i" for name in sorted(fields))
    return f"{measurement},{tag_set} {field_set} {time}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_lines_of_a_capture_are_those_put_together_from_ipvsadms_text(kernel: str) -> None:
    """The estimated rates and the inactive connections had moved when ipvsadm printed them: they are taken from the
    JSON document, which is held against ipvsadm's text elsewhere."""
    moving = {
        ipvsadm.service_key(service): service
        for service in json.loads(run("--replay", capture_path(kernel), "-f", "json").stdout)["services"]
    }
    time, expected = dump_time(kernel), []
    for service in listing(kernel):
        now = moving[ipvsadm.service_key(service)]
        tags = {**tags_of(service, ""), "sched": service["scheduler"]}
        tags.update({name: service[name] for name in ("address_family", "netmask")})
        rates = {name: now["stats"][name] for name in ("cps", "pps_in", "pps_out")}
        expected.append(composed_line("ipvs_virtual_server", tags, {**service["stats"], **rates}, time))
        pool = sorted(now["destinations"], key=ipvsadm.destination_key)
        for destination, dest_now in zip(service["destinations"], pool):
            tags = {name: destination[name] for name in ("address", "address_family", "port")}
            fields = {
                **destination["stats"],
                **{name: dest_now["stats"][name] for name in ("cps", "pps_in", "pps_out")},
                "active_connections": destination["active_connections"],
                "inactive_connections": dest_now["inactive_connections"],
            }
            expected.append(composed_line("ipvs_real_server", {**tags, **tags_of(service, "virtual_")}, fields, time))
    # ipvsadm sorts; the kernel does not.
    assert sorted(run("--replay", capture_path(kernel)).stdout.splitlines()) == sorted(expected)


def test_real_servers_stand_after_their_own_service() -> None:
    other = replace(SERVICE, port=9001)
    found = text((SERVICE, POOL[:1]), (other, POOL[1:])).splitlines()
    assert [line.split(",")[0] for line in found] == ["ipvs_virtual_server", "ipvs_real_server"] * 2
    assert "virtual_port=9001" in found[3]


def test_services_alone_are_lines_of_services_alone() -> None:
    assert text((SERVICE, None)).startswith("ipvs_virtual_server,")
    assert "ipvs_real_server" not in text((SERVICE, None))


def test_an_empty_dump_is_no_line() -> None:
    assert text() == ""


def test_a_real_server_has_the_address_family_of_its_own() -> None:
    mixed = replace(SERVICE, address_family="inet6", address="2001:db8::1", netmask=128)
    assert ",address_family=inet,port=9000,virtual_address=2001:db8::1," in lines(mixed, POOL[0])[1]


def test_an_ipv6_netmask_is_its_prefix_length() -> None:
    """The plugin counts the bits of the number 64, which is 1."""
    assert ",netmask=64," in lines(replace(MARK, address_family="inet6", netmask=64))[0]


def test_a_port_of_zero_is_a_tag() -> None:
    assert ",port=0,protocol=tcp" in lines(replace(SERVICE, port=0))[0]


@pytest.mark.parametrize(
    ("scheduler", "tag"),
    [
        ("a b", r"a\ b"),
        ("a,b", r"a\,b"),
        ("a=b", r"a\=b"),
        ("mh_418", "mh_418"),
        (", =", r"\,\ \="),
        ("\t\n\v\f\r", r"\t\n\v\f\r"),
    ],
)
def test_a_tag_is_escaped(scheduler: str, tag: str) -> None:
    assert f",sched={tag} bytes_in=" in lines(replace(SERVICE, scheduler=scheduler))[0]


@pytest.mark.parametrize("scheduler", ["", "\\", "\\\\"])
def test_a_tag_that_cannot_be_written_is_left_out(scheduler: str) -> None:
    assert ",protocol=tcp bytes_in=" in lines(replace(SERVICE, scheduler=scheduler))[0]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**32, "4294967296"),
        (2**63 - 1, "9223372036854775807"),
        (2**63, "9223372036854775807"),
        (2**64 - 1, "9223372036854775807"),
    ],
)
def test_a_value_is_written_whole_up_to_the_largest_signed_one(value: int, written: str) -> None:
    stats = Stats(*[value] * 10)
    for line in lines(replace(SERVICE, stats=stats), replace(POOL[0], stats=stats)):
        for name in ("bytes_in", "bytes_out", "connections", "cps", "pkts_in", "pkts_out", "pps_in", "pps_out"):
            assert f"{name}={written}i" in line


def test_each_field_has_its_own_number() -> None:
    stats = Stats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    loaded = replace(POOL[0], stats=stats, active_connections=11, inactive_connections=12)
    service, destination = lines(replace(SERVICE, stats=stats), loaded)
    common = "bytes_in=4i,bytes_out=5i,connections=1i,cps=6i,"
    packets = "pkts_in=2i,pkts_out=3i,pps_in=7i,pps_out=8i"
    assert service.split(" ")[1] == common + packets
    assert destination.split(" ")[1] == f"active_connections=11i,{common}inactive_connections=12i,{packets}"


def test_all_lines_of_a_dump_have_one_timestamp() -> None:
    found = run("--replay", capture_path("linux-6.1")).stdout
    assert {line.rsplit(" ", 1)[1] for line in found.splitlines()} == {str(dump_time("linux-6.1"))}


# The options.


@pytest.mark.parametrize("mark", [1, 2**32 - 1])
def test_real_servers_of_an_ipv6_mark_say_its_family(mark: int) -> None:
    service = replace(MARK, address_family="inet6", netmask=128, fwmark=mark)
    assert f",port=9000,virtual_address_family=inet6,virtual_fwmark={mark} " in lines(service, POOL[0])[1]


def test_real_servers_of_an_ipv6_address_do_not_say_its_family() -> None:
    service = replace(SERVICE, address_family="inet6", address="2001:db8::1", netmask=128)
    assert "virtual_address_family" not in text((service, POOL))


def keys(line: str) -> "tuple[list[str], list[str]]":
    """The names of the tags and of the fields of a line without escapes."""
    head, values, _ = line.split(" ")
    return [tag.split("=")[0] for tag in head.split(",")[1:]], [field.split("=")[0] for field in values.split(",")]


STATS = {field.name for field in fields(Stats)}
TELEGRAF = STATS - {"bps_in", "bps_out"}
CONNECTIONS = {"active_connections", "inactive_connections"}
MORE = {"weight", "persistent_connections", "upper_threshold", "lower_threshold"}
SUMS = {*CONNECTIONS, "persistent_connections", "real_servers", "real_servers_available"}


@pytest.mark.parametrize("virtual", [SERVICE, MARK, replace(MARK, address_family="inet6")])
@pytest.mark.parametrize("netns", [None, "blue"])
@pytest.mark.parametrize("all_fields", [False, True])
@pytest.mark.parametrize("aggregate", [False, True])
def test_tags_and_fields_are_those_asked_for_and_sorted(
    virtual: Service, netns: "str | None", all_fields: bool, aggregate: bool
) -> None:
    found = lines(virtual, *POOL, netns=netns, all_fields=all_fields, aggregate=aggregate)
    counters = STATS if all_fields else TELEGRAF
    expected = [counters | (SUMS if aggregate else set())]
    if not aggregate:
        expected += [counters | CONNECTIONS | (MORE if all_fields else set())] * 2
    for line, wanted in zip_equal(found, expected):
        tags, names = keys(line)
        assert names == sorted(wanted) and tags == sorted(tags)
        assert (",netns=blue" in line) is (netns is not None)


def zip_equal(one: "list[Any]", other: "list[Any]") -> "list[tuple[Any, Any]]":
    assert len(one) == len(other)
    return list(zip(one, other))


def values(line: str) -> "dict[str, int]":
    return {field.split("=")[0]: int(field.split("=")[1][:-1]) for field in line.split(" ")[1].split(",")}


def test_with_all_fields_each_field_has_its_own_number() -> None:
    numbers = {name: number for number, name in enumerate(sorted(STATS | CONNECTIONS | MORE), 1)}
    stats = Stats(**{name: numbers[name] for name in STATS})
    own = {name: numbers[name] for name in CONNECTIONS | MORE}
    service, destination = lines(replace(SERVICE, stats=stats), replace(POOL[0], stats=stats, **own), all_fields=True)
    assert values(service) == {name: numbers[name] for name in STATS}
    assert values(destination) == numbers


def test_with_all_fields_values_are_clamped_and_a_weight_keeps_its_sign() -> None:
    stats = Stats(*[2**64 - 1] * 10)
    service, destination = lines(
        replace(SERVICE, stats=stats), replace(POOL[0], stats=stats, weight=-5), all_fields=True
    )
    assert set(values(service).values()) == {2**63 - 1}
    assert {values(destination)[name] for name in STATS} == {2**63 - 1}
    assert values(destination)["weight"] == -5


def test_aggregate_sums_up_the_real_servers() -> None:
    pool = [
        replace(POOL[0], active_connections=1, inactive_connections=20, persistent_connections=300, weight=weight)
        for weight in (1, 0, 7, -1)
    ]
    (line,) = lines(replace(SERVICE, stats=Stats(*range(1, 11))), *pool, aggregate=True)
    assert {name: values(line)[name] for name in SUMS} == {
        "active_connections": 4,
        "inactive_connections": 80,
        "persistent_connections": 1200,
        "real_servers": 4,
        "real_servers_available": 2,
    }
    assert values(line)["connections"] == 1


def test_aggregate_of_a_service_without_real_servers_is_zero() -> None:
    (line,) = lines(SERVICE, aggregate=True)
    assert {values(line)[name] for name in SUMS} == {0}


@pytest.mark.parametrize(("netns", "tag"), [("a b", r",netns=a\ b,"), ("x\\", ",netns=x,")])
def test_the_namespace_is_escaped(netns: str, tag: str) -> None:
    assert all(tag in line for line in lines(SERVICE, *POOL, netns=netns))
