"""InfluxDB line protocol: the names, tags and fields of telegraf's ipvs plugin, byte for byte.

There are three oracles: lines reviewed by hand (fixtures/linux-6.1/stats.line), lines put together here from ipvsadm's
text, and the lines that the plugin's own documentation shows.
"""

import json
from dataclasses import replace

import ipvsadm
import netlink
import pytest
from conftest import FIXTURES, KERNELS, capture, capture_path, listing, run

from ipvsnl import Destination, Service, ServiceFlags, Stats, TunnelFlags
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


def lines(service: Service, *destinations: Destination) -> list[str]:
    return "".join(render([(service, list(destinations))], TIME)).splitlines()


def test_the_examples_of_the_telegraf_plugin_are_reproduced() -> None:
    assert "".join(render([(SERVICE, POOL), (MARK, POOL)], TIME)) == DOCUMENTED


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
    return {prefix + name: service[name] for name in names}


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
    text = "".join(render([(SERVICE, POOL[:1]), (other, POOL[1:])], TIME))
    kinds = [line.split(",")[0] for line in text.splitlines()]
    assert kinds == ["ipvs_virtual_server", "ipvs_real_server"] * 2
    assert "virtual_port=9001" in text.splitlines()[3]


def test_services_alone_are_lines_of_services_alone() -> None:
    assert "".join(render([(SERVICE, None)], TIME)).startswith("ipvs_virtual_server,")
    assert "ipvs_real_server" not in "".join(render([(SERVICE, None)], TIME))


def test_an_empty_dump_is_no_line() -> None:
    assert "".join(render([], TIME)) == ""


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
    [("a b", r"a\ b"), ("a,b", r"a\,b"), ("a=b", r"a\=b"), ("mh_418", "mh_418"), (", =", r"\,\ \=")],
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
    text = run("--replay", capture_path("linux-6.1")).stdout
    assert {line.rsplit(" ", 1)[1] for line in text.splitlines()} == {str(dump_time("linux-6.1"))}
