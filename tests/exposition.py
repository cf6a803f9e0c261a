"""Prometheus text of the library, and the samples in it."""

import re
from dataclasses import replace
from typing import Any

import netlink

from ipvsnl import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags
from ipvsnl.formats import Report
from ipvsnl.formats.prometheus import render

Sample = tuple[str, dict[str, str], int]  # name, labels and value
NO_STATS = Stats(*netlink.NO_STATS)
SERVICE = Service("inet", "tcp", "10.0.0.1", 80, None, "rr", ServiceFlags.HASHED, 0, 32, None, NO_STATS)
MARK = replace(SERVICE, protocol=None, address=None, port=None, fwmark=47)
MARK6 = replace(MARK, address_family="inet6", netmask=128)
DEST = Destination("inet", "192.0.2.1", 80, "tunnel", 1, 0, 0, 0, 0, 0, "ipip", 0, TunnelFlags(0), NO_STATS)


def text(*entries: "tuple[Service, list[Destination] | None]", **options: Any) -> str:
    return "".join(render(Report(entries, **options)))


def samples(exposition: str) -> list[Sample]:
    found = []
    for line in exposition.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:{(.*)})? (-?\d+)", line).groups()  # type: ignore[union-attr]
            found.append((name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)', labels or "")), int(value)))
    return found


def in_order(found: "list[Sample]") -> "list[tuple[str, list[tuple[str, str]], int]]":
    return sorted((name, sorted(labels.items()), value) for name, labels, value in found)


REST: "dict[str, Any]" = {
    "info": Info("1.2.1", 4096),
    "timeouts": Timeouts(900, 120, 300),
    "daemons": [Daemon("master", "eth0", 7, None, None, None, None)],
}
