"""The whole of IPVS, with real traffic: each value that ipvsnl reads is the one that ipvsadm prints.

One rich configuration is made, traffic is sent through it, and when it is over all is read four times: by ipvsadm, with
every option that prints something, and by ipvsnl as objects, as a JSON document and as line protocol. ipvsadm decodes
the same messages with a library of its own, libnl.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import NamedTuple

import ipvsadm
import linux
import pytest
from director import (
    KERNEL,
    REAL,
    REAL6,
    VIP,
    VIP6,
    Entry,
    Talk,
    client,
    configure,
    eventually,
    printed,
    set_up_addresses,
    set_up_void,
    talk,
    with_listing,
)

from ipvsnl import Destination, Service, dump

SCHEDULERS = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf"]
SCHEDULERS += ["mh"]  # since Linux 4.18
if KERNEL >= (6, 12):
    SCHEDULERS += ["twos"]  # since Linux 5.11, but Debian builds no module of it before 6.12

RULES = f"""\
-A -t {VIP}:80 -s wrr
-a -t {VIP}:80 -r {REAL}:8080 -m -w 2147483647
-a -t {VIP}:80 -r {REAL}:8081 -m -w 0
-a -t {VIP}:80 -r 192.0.2.2:0 -m -w 0 -x 65535 -y 1
-a -t {VIP}:80 -r 192.0.2.3:65535 -m -w 0 -x 1000000 -y 999999
-A -u {VIP}:53 -s rr -p 300 -M 255.255.255.0
-a -u {VIP}:53 -r {REAL}:5353 -m -w 1
-A -u {VIP}:54 -s rr -o
-a -u {VIP}:54 -r {REAL}:5454 -m -w 1
-A -u {VIP}:5060 -s rr -p 60 --pe sip -o
-a -u {VIP}:5060 -r {REAL}:5060 -m -w 1
-A --sctp-service {VIP}:3868 -s lc
-a --sctp-service {VIP}:3868 -r {REAL}:3868 -m -w 7
-A -t [{VIP6}]:80 -s rr -p 120 -M 64
-a -t [{VIP6}]:80 -r [{REAL6}]:8080 -m -w 1 -x 100 -y 50
-A -u [{VIP6}]:53 -s wlc
-a -u [{VIP6}]:53 -r [{REAL6}]:5353 -m -w 1
-A --sctp-service [{VIP6}]:3868 -s rr
-a --sctp-service [{VIP6}]:3868 -r [{REAL6}]:3868 -m -w 1
-A -f 47 -s rr -p 360 -M 255.255.0.0
-a -f 47 -r {REAL}:0 -m -w 1
-A -f 48 -6 -s rr
-a -f 48 -6 -r [{REAL6}]:0 -m -w 1
-A -f 4294967295 -s rr -b flag-1,flag-2,flag-3
-A -f 4294967295 -6 -s rr
-A -t {VIP}:8000 -s sh -b sh-fallback,sh-port
-A -u {VIP}:8000 -s mh -b mh-port
-A -t 10.99.0.2:0 -s rr -p 1 -M 0.0.0.0
-A -t [2001:db8:99::2]:0 -s rr -p 86400 -M 1
-A -u {VIP}:60 -s rr
-a -u {VIP}:60 -r 192.0.2.10:60 -g -w 1
-a -u {VIP}:60 -r 192.0.2.11:60 -i -w 1 --tun-type ipip
-a -u {VIP}:60 -r 192.0.2.12:60 -i -w 1 --tun-type gue --tun-port 6080
-a -u {VIP}:60 -r 192.0.2.13:60 -i -w 1 --tun-type gue --tun-port 1 --tun-csum
-a -u {VIP}:60 -r 192.0.2.14:60 -i -w 1 --tun-type gue --tun-port 65535 --tun-remcsum
-a -u {VIP}:60 -r 192.0.2.15:60 -i -w 1 --tun-type gre
-a -u {VIP}:60 -r 192.0.2.16:60 -i -w 1 --tun-type gre --tun-csum
-a -u {VIP}:60 -r [2001:db8:2::17]:60 -i -w 1 --tun-type ipip
-A -u [{VIP6}]:60 -s rr
-a -u [{VIP6}]:60 -r [2001:db8:2::10]:60 -g -w 1
-a -u [{VIP6}]:60 -r [2001:db8:2::11]:60 -i -w 1 --tun-type ipip
-a -u [{VIP6}]:60 -r [2001:db8:2::12]:60 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-a -u [{VIP6}]:60 -r [2001:db8:2::13]:60 -i -w 1 --tun-type gre --tun-csum
-a -u [{VIP6}]:60 -r 192.0.2.14:60 -i -w 1 --tun-type ipip
""" + "".join(
    f"-A -t {VIP}:{port} -s {name}\n-a -t {VIP}:{port} -r {REAL}:{port} -m -w 1\n"
    for port, name in enumerate(SCHEDULERS, 9000)
)

Line = tuple[str, dict[str, str], Entry]  # measurement, tags, fields

CALL = b"OPTIONS sip:somebody SIP/2.0\r\nCall-ID: 12345678@somewhere\r\n\r\n"  # what the engine sip looks for


def send_traffic() -> list[Talk]:
    """Some of all that the rules allow. The conversations that are still open are returned, the others are closed."""
    talks = [
        talk("tcp", (VIP, 80), (REAL, 8080)),
        talk("udp", (VIP, 53), (REAL, 5353)),
        talk("sctp", (VIP, 3868), (REAL, 3868)),
        talk("tcp", (VIP6, 80), (REAL6, 8080)),
        talk("udp", (VIP6, 53), (REAL6, 5353)),
        talk("sctp", (VIP6, 3868), (REAL6, 3868)),
        talk("udp", (VIP, 4711), (REAL, 4711), mark=47),
        talk("tcp", (VIP6, 4711), (REAL6, 4711), mark=48),
        *(talk("tcp", (VIP, port), (REAL, port)) for port, _ in enumerate(SCHEDULERS, 9000)),
    ]
    for number, each in enumerate(talks, 1):
        each.exchange(bytes(100 * number), bytes(30 * number))
    for virtual in [(VIP, 54), (VIP, 5060), *[(VIP, 60)] * 8, *[(VIP6, 60)] * 5]:
        with client("udp", virtual) as sender:
            sender.send(CALL)
    # Enough in a short time to be seen in all rates, which are averages of many seconds.
    for _ in range(60):
        burst = talk("tcp", (VIP, 80), (REAL, 8080))
        burst.exchange(bytes(1000), bytes(2000))
        burst.close()
    return talks


def counted() -> bool:
    """Whether the kernel has counted all of the traffic, which is over: the estimator finds nothing new."""

    def totals() -> list[tuple[int, ...]]:
        all_stats = []
        for service, destinations in dump():
            all_stats += [service.stats, *(destination.stats for destination in destinations)]
        return [tuple(getattr(stats, name) for name in ipvsadm.COUNTERS) for stats in all_stats]

    before = totals()
    time.sleep(3)
    return totals() == before


class Reading(NamedTuple):
    said: list[Entry]
    objects: list[tuple[Service, list[Destination]]]
    document: list[Entry]
    lines: list[str]


@pytest.fixture(scope="module")
def reading(ipvs: None) -> Iterator[Reading]:
    def read() -> tuple[list[tuple[Service, list[Destination]]], str, str]:
        return dump(), printed("-f", "json"), printed()

    with linux.network_namespace():
        set_up_addresses()
        set_up_void()
        configure(RULES)
        talks = send_traffic()
        eventually(counted)
        (objects, document, lines), said = with_listing(read)
        yield Reading(in_order(said), objects, json.loads(document)["services"], lines.splitlines())
        for each in talks:
            each.close()


def as_document(record: object) -> Entry:
    """The fields of a service or real server, with what ipvsadm prints for flags."""
    values = {}
    for name in record.__slots__:  # type: ignore[attr-defined]
        value = getattr(record, name)
        if name.endswith("flags"):
            value = [str(flag.name).lower() for flag in type(value) if flag in value]
        values[name] = as_document(value) if name == "stats" else value
    return values


def in_order(services: list[Entry]) -> list[Entry]:
    """ipvsadm's own order is another where numbers differ by 2**31 or more: it goes by the sign of a difference."""
    found = []
    for service in services:
        destinations = sorted(service["destinations"], key=ipvsadm.destination_key)
        found.append({**service, "destinations": destinations})
    return sorted(found, key=ipvsadm.service_key)


def as_printed(service: Entry) -> Entry:
    """Without the two things that ipvsadm does not print: the flag `hashed`, which the kernel sets on every service
    that it has, and the tunnel settings of real servers that have no tunnel, which are those of IPIP."""
    assert "hashed" in service["flags"]
    return {
        **service,
        "flags": [flag for flag in service["flags"] if flag != "hashed"],
        "destinations": [destination_as_printed(destination) for destination in service["destinations"]],
    }


def destination_as_printed(destination: Entry) -> Entry:
    if destination["forwarding"] == "tunnel":
        return destination
    no_tunnel = {"tunnel_type": "ipip", "tunnel_port": 0, "tunnel_flags": []}
    assert {name: destination[name] for name in no_tunnel} == no_tunnel
    return {name: value for name, value in destination.items() if name not in no_tunnel}


def test_every_field_of_the_objects(reading: Reading) -> None:
    services = [
        {**as_document(service), "destinations": [as_document(destination) for destination in destinations]}
        for service, destinations in reading.objects
    ]
    assert in_order([as_printed(service) for service in services]) == reading.said


def test_every_field_of_the_document(reading: Reading) -> None:
    assert in_order([as_printed(service) for service in reading.document]) == reading.said


def test_every_tag_and_field_of_the_lines(reading: Reading) -> None:
    expected = []
    for service in reading.said:
        expected.append(service_line(service))
        expected += [destination_line(service, destination) for destination in service["destinations"]]
    assert sorted(map(parsed, reading.lines), key=series) == sorted(expected, key=series)


def parsed(line: str) -> Line:
    """A line of line protocol. Nothing here needs an escape."""
    head, fields, _ = line.split(" ")
    name, *tags = head.split(",")
    numbers = (field.split("=") for field in fields.split(","))
    return name, dict(tag.split("=") for tag in tags), {field: int(number[:-1]) for field, number in numbers}


def series(line: Line) -> str:
    return line[0] + str(sorted(line[1].items()))


def service_line(service: Entry) -> Line:
    tags = {name: service[name] for name in ("address_family", "netmask", *key(service))}
    return "ipvs_virtual_server", texts({**tags, "sched": service["scheduler"]}), counters(service)


def destination_line(service: Entry, destination: Entry) -> Line:
    tags = {f"virtual_{name}": service[name] for name in key(service)}
    if service["fwmark"] and service["address_family"] == "inet6":  # a mark may be used in both families
        tags["virtual_address_family"] = "inet6"
    tags.update({name: destination[name] for name in ("address", "address_family", "port")})
    connections = {name: destination[name] for name in ("active_connections", "inactive_connections")}
    return "ipvs_real_server", texts(tags), {**counters(destination), **connections}


def key(service: Entry) -> list[str]:
    return ["fwmark"] if service["fwmark"] else ["address", "port", "protocol"]


def counters(entry: Entry) -> Entry:
    return {name: value for name, value in entry["stats"].items() if name not in ("bps_in", "bps_out")}


def texts(tags: Entry) -> dict[str, str]:
    return {name: str(value) for name, value in tags.items()}


def test_all_of_it_was_there(reading: Reading) -> None:
    """What the rules and the traffic were to bring about, so that the comparisons are about something."""
    destinations = [destination for service in reading.said for destination in service["destinations"]]
    assert len(reading.said) == RULES.count("-A ")
    assert len(destinations) == RULES.count("-a ")
    assert {service["scheduler"] for service in reading.said} == set(SCHEDULERS)
    assert all(destination["stats"]["bytes_in"] for destination in destinations if destination["weight"])
    assert all(any(service["stats"][name] != 0 for service in reading.said) for name in reading.said[0]["stats"])
    for name in ("active_connections", "inactive_connections", "persistent_connections"):
        assert any(destination[name] for destination in destinations)
