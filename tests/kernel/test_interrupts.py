"""Questions that are interrupted at any point, to a real kernel: the next one is answered, at once and right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from director import REAL, VIP, configure
from interrupts import Impatient, interrupt

from ipvsnl import Client

SERVICES = 120  # more than fit one datagram


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """It is closed: a socket keeps its namespace with all services alive, and a dump that was given up the module."""
    monkeypatch.setattr("ipvsnl.client.NetlinkSocket", Impatient)
    monkeypatch.setattr("ipvsnl.transport.NetlinkSocket", Impatient)  # also where one opens another
    with Client() as client:
        yield client


def test_after_an_interrupt_at_any_instruction_both_lists_are_read_at_once(client: Client) -> None:
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL}:80 -m\n")
    expected = list(client.dump())
    assert [len(destinations) for _, destinations in expected] == [1]
    count = 0
    for _ in interrupt(lambda: list(client.dump()), "transport", "genl", step=3):
        assert list(client.dump()) == expected
        count += 1
    assert count > 50


def test_after_an_interrupt_in_a_long_list_it_is_read_at_once(client: Client) -> None:
    """Which takes a second dump, over one more socket. Opening that is not interrupted here: between the ioctl() that
    returns a descriptor of the namespace and the name that it is given, an interrupt loses it, and the namespace stays.
    """
    configure("".join(f"-A -t {VIP}:{port} -s rr\n" for port in range(1, SERVICES + 1)))
    expected = client.services()
    assert len(expected) == SERVICES
    count = 0
    for _ in interrupt(client.services, "genl", step=7):
        assert client.services() == expected
        count += 1
    assert count > 50
