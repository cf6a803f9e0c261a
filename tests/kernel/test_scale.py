"""Thousands: every entry is read, and read once."""

from __future__ import annotations

from collections import Counter

import pytest
from director import configure
from linux import run

from ipvsnl import Client

SERVICES = 10_000
DESTINATIONS = 5_000


def address(number: int) -> str:
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture
def many_services(namespace: None) -> None:
    configure("".join(f"-A -t {address(number)}:80 -s rr\n" for number in range(1, SERVICES + 1)))


def test_ten_thousand_services(many_services: None) -> None:
    listed = Counter(line.split()[1] for line in run("ipvsadm", "-Ln").splitlines()[3:])
    with Client() as client:
        found = Counter(f"{service.address}:{service.port}" for service in client.services())
    assert found == listed
    assert len(found) == sum(found.values()) == SERVICES


def test_one_service_with_five_thousand_real_servers(namespace: None) -> None:
    pool = "".join(f"-a -t 10.0.0.1:80 -r {address(number)}:80 -m\n" for number in range(1, DESTINATIONS + 1))
    configure("-A -t 10.0.0.1:80 -s rr\n" + pool)
    listed = Counter(line.split()[1] for line in run("ipvsadm", "-Ln").splitlines()[4:])
    with Client() as client:
        (service,) = client.services()
        found = Counter(f"{destination.address}:{destination.port}" for destination in client.dests(service))
    assert found == listed
    assert len(found) == sum(found.values()) == DESTINATIONS
