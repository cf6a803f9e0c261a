"""IPVS that changes while it is read, or has nothing in it: no error, and a sane answer."""

from __future__ import annotations

import threading

import pytest
from director import REAL, VIP, client, configure, printed, set_up_addresses
from linux import run

from ipvsnl import Client, NotFoundError, dump
from ipvsnl.transport import NetlinkSocket


def test_without_any_service_there_is_nothing_to_say() -> None:
    assert dump() == []
    assert printed() == ""
    assert printed("--services-only", "-f", "json").startswith('{"services": [], ')


def test_a_service_deleted_between_the_two_dumps_has_no_real_servers() -> None:
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL}:80 -m\n")
    with Client() as client:
        (service,) = client.services()
        run("ipvsadm", "-D", "-t", f"{VIP}:80")
        assert client.dests(service) == []
        assert client.services() == []
        with pytest.raises(NotFoundError):
            client.service("tcp", VIP, 80)


def test_services_deleted_while_they_are_dumped() -> None:
    """The dump goes on with the services that it has read, as they were."""
    rules = "".join(f"-A -t {VIP}:{port} -s rr\n-a -t {VIP}:{port} -r {REAL}:80 -m\n" for port in range(1, 6))
    configure(rules)
    with Client() as client:
        entries = client.dump()
        found = [next(entries)]
        run("ipvsadm", "-C")
        found += entries
    assert sorted(service.port or 0 for service, _ in found) == [1, 2, 3, 4, 5]
    assert [len(destinations) for _, destinations in found] == [1, 0, 0, 0, 0]


def test_a_service_made_anew_under_the_same_name_is_another_one() -> None:
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL}:80 -m\n")
    with Client() as client:
        (old,) = client.services()
        run("ipvsadm", "-D", "-t", f"{VIP}:80")
        configure(f"-A -t {VIP}:80 -s wlc\n-a -t {VIP}:80 -r {REAL}:81 -g\n")
        (destination,) = client.dests(old)
        assert (destination.forwarding, client.service("tcp", VIP, 80).scheduler) == ("direct", "wlc")


def test_dumps_while_traffic_runs_count_up() -> None:
    set_up_addresses()
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n-a -u {VIP}:53 -r {REAL}:54 -m\n")
    stop = threading.Event()

    def send() -> None:
        while not stop.is_set():
            with client("udp", (VIP, 53)) as sender:
                sender.send(b"question")

    sending = threading.Thread(target=send)
    sending.start()
    before = [0] * 9
    try:
        with Client() as reader:
            while before[0] < 100:
                ((service, destinations),) = reader.dump()
                assert len(destinations) == 2
                now = [
                    getattr(stats, name)
                    for stats in (service.stats, *(destination.stats for destination in destinations))
                    for name in ("connections", "pkts_in", "bytes_in")
                ]
                assert all(old <= new for old, new in zip(before, now))
                before = now
    finally:
        stop.set()
        sending.join()


class Counting(NetlinkSocket):
    """A socket that counts the datagrams it receives."""

    datagrams = 0

    def recv_into(self, buffer: bytearray) -> int:
        self.datagrams += 1
        return super().recv_into(buffer)


def test_a_short_list_is_whole_while_others_come_and_go() -> None:
    """The kernel walks a list without a pause while it fills the first datagram, where all of this one fits. But it
    learns only when it is asked for more that there is no more: if services have come in between, it sends as many
    from the list's end in a second datagram, known ones among them. What came in one datagram is without a repeat."""
    staying = [("tcp", VIP, port) for port in range(1, 41)]
    configure("".join(f"-A -t {VIP}:{port} -s rr\n" for _, _, port in staying))
    come = "".join(f"-A -u {VIP}:{port} -s rr\n" for port in range(1, 21))
    go = "".join(f"-D -u {VIP}:{port}\n" for port in range(1, 21))
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            configure(come + go)

    churning = threading.Thread(target=churn)
    churning.start()
    in_one = 0
    try:
        transport = Counting()
        with Client(transport=transport) as reader:
            for _ in range(300):
                transport.datagrams = 0
                found = [(service.protocol, service.address, service.port) for service in reader.services()]
                assert set(staying) <= set(found)
                if transport.datagrams == 2:  # the second one says that the dump is done
                    in_one += 1
                    assert len(found) == len(set(found))
    finally:
        stop.set()
        churning.join()
    assert in_one
