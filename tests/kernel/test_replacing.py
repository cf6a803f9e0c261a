"""A pool that is replaced while traffic flows: what dumps show, what clients notice, and what nlmon sees sent."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import netlink
import pytest
from director import VIP, client, eventually, set_up_addresses, set_up_void
from linux import run

from ipvsnl import Client, ServiceFlags
from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig, plan
from ipvsnl.transport import NetlinkSocket

# With ONEPACKET there are no connections, and the scheduler chooses for each packet.
SERVICE = ServiceConfig("udp", VIP, 53, scheduler="rr", flags=ServiceFlags.ONEPACKET)
OLD, NEW = (
    [DestinationConfig("192.0.2.9", port, forwarding="masquerade") for port in range(first, first + 200)]
    for first in (1, 201)
)


class Pausing(NetlinkSocket):
    """Leaves time to others after each datagram, of which the deletions and the additions have two each."""

    def send(self, request: bytes) -> None:
        super().send(request)
        time.sleep(0.1)


@pytest.fixture
def admin(namespace: None) -> Iterator[Admin]:
    with Admin(transport=Pausing()) as admin:
        yield admin


@contextlib.contextmanager
def nlmon() -> Iterator[socket.socket]:
    """A socket that receives each netlink datagram of this network namespace."""
    run("ip", "link", "add", "nlmon0", "type", "nlmon")
    run("ip", "link", "set", "nlmon0", "up")
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as monitor:
        monitor.bind(("nlmon0", 3))  # ETH_P_ALL
        monitor.setblocking(False)
        yield monitor


def sent(monitor: socket.socket) -> Iterator[tuple[int, bytes]]:
    """The command of each generic netlink request, and the port of its real server."""
    with contextlib.suppress(BlockingIOError):
        while True:
            datagram, (_, protocol, *_) = monitor.recvfrom(65536)
            for message in netlink.messages(datagram):
                if protocol == 16 and netlink.is_request(message):
                    dest = dict(netlink.attributes(message[20:]))[netlink.CMD_DEST]
                    yield message[16], dict(netlink.attributes(dest))[netlink.DEST["PORT"]]


def test_all_additions_are_sent_before_any_deletion(admin: Admin) -> None:
    set_up_addresses()
    admin.apply(plan([], [(SERVICE, OLD)]))
    changes = plan(admin.dump(), [(SERVICE, NEW)])
    with nlmon() as monitor:
        admin.apply(changes)
        requests = list(sent(monitor))
    assert [command for command, _ in requests] == [netlink.NEW_DEST] * 200 + [netlink.DEL_DEST] * 200
    assert {port for _, port in requests[:200]} == {netlink.be16(dest.port) for dest in NEW}
    assert {port for _, port in requests[200:]} == {netlink.be16(dest.port) for dest in OLD}


def is_refused() -> bool:
    """Whether IPVS drops what a new client of the service sends, as it does if the pool is empty."""
    with client("udp", (VIP, 53)) as sender:
        try:
            sender.send(b"x")
        except PermissionError:
            return True
    return False


def test_neither_a_dump_nor_a_client_sees_an_empty_pool(admin: Admin) -> None:
    set_up_addresses()
    set_up_void()
    admin.add_service(SERVICE)
    assert is_refused()
    admin.apply(plan(admin.dump(), [(SERVICE, OLD)]))
    counts: set[int] = set()
    refused: list[bool] = []
    stop = threading.Event()

    def watch() -> None:
        with Client() as client:
            while not stop.is_set():
                counts.add(len(client.dests(SERVICE.key)))

    def connect() -> None:
        while not stop.is_set():
            refused.append(is_refused())

    threads = [threading.Thread(target=watch), threading.Thread(target=connect)]
    for thread in threads:
        thread.start()
    try:
        eventually(lambda: counts and refused)
        admin.apply(plan(admin.dump(), [(SERVICE, NEW)]))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert min(counts) > 0
    assert not any(refused)
    assert {dest.port for dest in admin.dests(SERVICE.key)} == {dest.port for dest in NEW}
