"""Random configurations for the tests of the formats, each of which one kernel could hold."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

from ipvsnl import Destination, Service, testing

ADDRESSES = ["10.0.0.1", "10.0.0.2", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1", "::"]
# What --all-fields and --aggregate make of a format.
OPTIONS = [
    {"all_fields": all_fields, "aggregate": aggregate} for all_fields in (False, True) for aggregate in (False, True)
]


def configuration(seed: int) -> list[tuple[Service, list[Destination]]]:
    """No service twice, and no real server of a service. Of few values, so that many differ in one of them alone."""
    chance = random.Random(seed)
    keys: dict[tuple[Any, ...], Service] = {}
    for _ in range(chance.choice([2, 20, 60])):
        service = replace(virtual(chance), scheduler=chance.choice(["rr", "mh", "a b", "a,b=c", 'a"\\', ""]))
        keys[service.fwmark, service.protocol, service.address, service.port, service.address_family] = service
    return [(service, pool(chance)) for service in keys.values()]


def virtual(chance: random.Random) -> Service:
    if chance.random() < 0.5:
        family = chance.choice(["inet", "inet6"])
        return testing.service(fwmark=chance.choice([1, 2, 80]), address_family=family)
    protocol = chance.choice(["tcp", "udp", "sctp", "47"])
    return testing.service(protocol=protocol, address=chance.choice(ADDRESSES), port=chance.choice([0, 1, 80]))


def pool(chance: random.Random) -> list[Destination]:
    found = {}
    for _ in range(chance.choice([0, 3, 12])):
        address, port = chance.choice(ADDRESSES), chance.choice([0, 1, 80])
        found[address, port] = testing.destination(address=address, port=port, weight=chance.choice([-1, 0, 1]))
    return list(found.values())
