"""Whole lists while another process changes them as fast as it can: what stays is listed once, each time.

600 entries stay, and 200 are deleted and added again without a pause. IPVSNL_CHURN_CALLS says how often each list is
read, the longer the surer: a call takes about a second in a virtual machine without KVM. pytest -s shows what was done.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import netlink
import pytest

from ipvsnl import Client, Destination, DumpInterruptedError, Service
from ipvsnl.capture import Recorder, Replay
from ipvsnl.genl import Connection
from ipvsnl.transport import NetlinkSocket

CALLS = int(os.environ.get("IPVSNL_CHURN_CALLS", "20"))
STAYING, CHURNED = 600, 200
NEW_SERVICE, DEL_SERVICE, NEW_DEST, DEL_DEST = 1, 3, 5, 7
NO_STATS = {"STATS": None, "STATS64": None}


class CountingSocket(NetlinkSocket):
    """Counts the dumps and datagrams of all sockets."""

    count: ClassVar[Counter[str]] = Counter()

    def send(self, request: bytes) -> None:
        self.count["dumps"] += 1
        super().send(request)

    def recv_into(self, buffer: bytearray) -> int:
        self.count["datagrams"] += 1
        return super().recv_into(buffer)


@pytest.fixture(autouse=True)
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ipvsnl.transport.NetlinkSocket", CountingSocket)
    monkeypatch.setattr("ipvsnl.client.NetlinkSocket", CountingSocket)


def service_identity(service: Service) -> tuple[object, ...]:
    return service.fwmark, service.address_family, service.protocol, service.address, service.port


def destination_identity(destination: Destination) -> tuple[object, ...]:
    return destination.address, destination.port


def service(number: int) -> netlink.Tree:
    return netlink.service(ADDR=netlink.address(f"10.{number >> 8}.{number & 255}.1"), **NO_STATS)


def destination(number: int) -> netlink.Tree:
    return netlink.destination(ADDR=netlink.address(f"192.0.{number >> 8}.{number & 255}"), **NO_STATS)


def changes(add: int, delete: int, tree: Callable[[int], netlink.Tree]) -> Callable[[range], list[bytes]]:
    """What adds entries, and what deletes them."""
    with contextlib.closing(NetlinkSocket()) as transport:
        family = Connection(transport).load_family("IPVS").id

    def messages(command: int, numbers: range) -> list[bytes]:
        payloads = (netlink.pack(tree(number)) for number in numbers)
        return [
            netlink.message(family, each, command=command, flags=netlink.NLM_F_REQUEST, port=0) for each in payloads
        ]

    return lambda numbers: [messages(add, numbers), messages(delete, numbers)]  # type: ignore[list-item]


@contextlib.contextmanager
def churn(add: int, delete: int, tree: Callable[[int], netlink.Tree]) -> Iterator[None]:
    """Entries that stay, and entries that a process deletes and adds; both are mixed at first."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as kernel:
        order = [
            number
            for group in zip(range(0, 600, 3), range(1, 600, 3), range(2, 600, 3), range(600, 800))
            for number in group
        ]
        make = changes(add, delete, tree)
        for number in order:
            kernel.send(make(range(number, number + 1))[0][0])
        adding, deleting = make(range(STAYING, STAYING + CHURNED))
        child = os.fork()
        if not child:
            while True:
                for message in [*deleting, *adding]:
                    kernel.send(message)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def read(ask: Callable[[], list[Any]], identity: Callable[[Any], Any], staying: set[Any]) -> Counter[str]:
    """What came of many calls."""
    found: Counter[str] = Counter()
    CountingSocket.count.clear()
    for call in range(1, CALLS + 1):
        if call % 500 == 0:
            print(f"\nLinux {os.uname().release}: call {call}, {dict(found + CountingSocket.count)}")
        try:
            entries = [identity(entry) for entry in ask()]
        except DumpInterruptedError:
            found["errors"] += 1
            continue
        found["calls with a loss"] += not staying.issubset(entries)
        found["calls with a repeat"] += len(set(entries)) != len(entries)
    print(f"\nLinux {os.uname().release}: {CALLS} calls, {dict(found + CountingSocket.count)}")
    return found


def assert_right(found: Counter[str]) -> None:
    assert (found["calls with a loss"], found["calls with a repeat"]) == (0, 0)
    assert found["errors"] * 100 < CALLS or found["errors"] <= 1


def test_services_that_stay_are_listed_once() -> None:
    with churn(NEW_SERVICE, DEL_SERVICE, service), Client() as client:
        staying = {(None, "inet", "tcp", f"10.{n >> 8}.{n & 255}.1", 80) for n in range(STAYING)}
        assert_right(read(client.services, service_identity, staying))


def one_service_and(number: int) -> netlink.Tree:
    return [*service(0), *destination(number)]


def test_real_servers_that_stay_are_listed_once() -> None:
    with Client() as client:
        make_service()
        (web,) = client.services()
        with churn(NEW_DEST, DEL_DEST, one_service_and):
            staying = {(f"192.0.{n >> 8}.{n & 255}", 8080) for n in range(STAYING)}
            assert_right(read(lambda: client.dests(web), destination_identity, staying))


def make_service() -> None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as kernel:
        kernel.send(changes(NEW_SERVICE, DEL_SERVICE, service)(range(1))[0][0])


def test_a_long_list_that_does_not_change_takes_one_more_dump() -> None:
    with churn(NEW_SERVICE, DEL_SERVICE, service):
        pass
    with Client() as client:
        found = client.services()
        CountingSocket.count.clear()
        assert client.services() == found and len(found) >= STAYING
        assert CountingSocket.count["dumps"] == 2


def test_a_list_in_one_datagram_takes_one_dump_under_churn() -> None:
    """And nothing in it is lost or repeated."""
    with Client() as client:
        make_service()
        (web,) = client.services()
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as kernel:
            adding, deleting = changes(NEW_DEST, DEL_DEST, one_service_and)(range(80))
            for message in adding:
                kernel.send(message)
            assert len(client.dests(web)) == 80  # from then on it offers room for as many
            child = os.fork()
            if not child:
                while True:
                    for message in [*deleting[60:], *adding[60:]]:
                        kernel.send(message)
        try:
            found = read(lambda: client.dests(web), destination_identity, {(f"192.0.0.{n}", 8080) for n in range(60)})
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        assert_right(found)
        assert CountingSocket.count["dumps"] == CALLS


def test_a_recording_replays_to_what_was_read() -> None:
    """Whatever dumps it took: the replay has the same ones, in the same order."""

    def ask(client: Client) -> list[tuple[Service, list[Destination]]]:
        services = client.services()
        return [(each, client.dests(each) if number < 20 else []) for number, each in enumerate(services)]

    done = 0
    with churn(NEW_SERVICE, DEL_SERVICE, service):
        for _ in range(CALLS):
            recording = io.BytesIO()
            with Client(transport=Recorder(NetlinkSocket(), recording)) as client:
                try:
                    recorded = ask(client)
                except DumpInterruptedError:
                    continue
            with Client(transport=Replay(io.BytesIO(recording.getvalue()))) as client:
                assert ask(client) == recorded
            done += 1
    print(f"\nLinux {os.uname().release}: {done} of {CALLS} recorded and replayed")
    assert done > CALLS // 2
