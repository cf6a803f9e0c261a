"""Real traffic moves each counter, by what the client and the real server have sent, within two seconds."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import pytest
from director import REAL, REAL6, VIP, VIP6, client, configure, eventually, printed, set_up_addresses, talk
from linux import run

from ipvsnl import Client, Destination, Service, Stats, dump

Totals = tuple[int, int, int, int, int]  # connections, packets in and out, bytes in and out
NOTHING = (0, 0, 0, 0, 0)

RATES = ("cps", "pps_in", "pps_out", "bps_in", "bps_out")


@pytest.fixture(autouse=True)
def addresses(namespace: None) -> None:
    set_up_addresses()


def only() -> tuple[Service, list[Destination]]:
    (entry,) = dump()
    return entry


def counted() -> list[Totals]:
    """What the only service has counted, and its only real server, which is to be the same."""
    service, (destination,) = only()
    return [totals(service.stats), totals(destination.stats)]


def eventually_counted(*expected: int) -> None:
    """Checks what has been counted when the estimator has come round, or when it has not for long."""
    with contextlib.suppress(AssertionError):
        eventually(lambda: counted() == [expected, expected])
    assert counted() == [expected, expected]


def totals(stats: Stats) -> Totals:
    return stats.connections, stats.pkts_in, stats.pkts_out, stats.bytes_in, stats.bytes_out


def test_a_new_service_has_counted_nothing() -> None:
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    assert counted() == [NOTHING, NOTHING]


@pytest.mark.parametrize("virtual, real, headers", [(VIP, REAL, 20 + 8), (VIP6, REAL6, 40 + 8)], ids=["IPv4", "IPv6"])
def test_udp_to_the_byte(virtual: str, real: str, headers: int) -> None:
    """Bytes are counted from the IP header on. Three clients are three connections."""
    at, to = (f"[{virtual}]:53", f"[{real}]:53") if ":" in virtual else (f"{virtual}:53", f"{real}:53")
    configure(f"-A -u {at} -s rr\n-a -u {at} -r {to} -m\n")
    for _ in range(3):
        conversation = talk("udp", (virtual, 53), (real, 53))
        for size in (1, 200, 1400):
            conversation.exchange(bytes(size), bytes(2 * size))
        conversation.close()
    bytes_in, bytes_out = (3 * (3 * headers + factor * 1601) for factor in (1, 2))
    eventually_counted(3, 9, 9, bytes_in, bytes_out)


@pytest.mark.parametrize("protocol, option", [("tcp", "-t"), ("sctp", "--sctp-service")])
@pytest.mark.parametrize("virtual, real", [(VIP, REAL), (VIP6, REAL6)], ids=["IPv4", "IPv6"])
def test_streams_within_the_size_of_their_headers(protocol: str, option: str, virtual: str, real: str) -> None:
    at, to = (f"[{virtual}]:80", f"[{real}]:80") if ":" in virtual else (f"{virtual}:80", f"{real}:80")
    configure(f"-A {option} {at} -s rr\n-a {option} {at} -r {to} -m\n")
    for _ in range(4):
        conversation = talk(protocol, (virtual, 80), (real, 80))
        conversation.exchange(bytes(10_000), bytes(20_000))
        conversation.close()
    eventually(lambda: all(stats[3] >= 40_000 and stats[4] >= 80_000 for stats in counted()))
    for connections, pkts_in, pkts_out, bytes_in, bytes_out in counted():
        assert connections == 4
        # A packet has an IP header and at least the 12 bytes of SCTP; with the handshake's options it stays below 400.
        assert 40_000 + 32 * pkts_in <= bytes_in <= 40_000 + 400 * pkts_in
        assert 80_000 + 32 * pkts_out <= bytes_out <= 80_000 + 400 * pkts_out


def test_one_packet_scheduling_makes_each_packet_a_connection() -> None:
    configure(f"-A -u {VIP}:53 -s rr -o\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    with client("udp", (VIP, 53)) as sender:
        for _ in range(5):
            sender.send(bytes(100))
    eventually_counted(5, 5, 0, 640, 0)


def test_a_firewall_mark_counts_for_its_service_alone() -> None:
    configure(f"-A -f 47 -s rr\n-a -f 47 -r {REAL}:0 -m\n-A -f 48 -s rr\n-a -f 48 -r {REAL}:0 -m\n")
    talk("udp", (VIP, 1234), (REAL, 1234), mark=48).exchange(bytes(72), bytes(172))

    def found() -> dict[int | None, Totals]:
        return {service.fwmark: totals(service.stats) for service, _ in dump()}

    eventually(lambda: any(found()[48]))
    assert found() == {47: NOTHING, 48: (1, 1, 1, 100, 200)}


def test_a_service_has_the_sum_of_its_real_servers() -> None:
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n-a -u {VIP}:53 -r {REAL}:54 -m\n")
    for number in range(5):
        with client("udp", (VIP, 53)) as sender:
            sender.send(bytes(number))

    def each_connection_is_counted_twice() -> bool:
        service, destinations = only()
        return service.stats.connections == sum(destination.stats.connections for destination in destinations) == 5

    eventually(each_connection_is_counted_twice)
    service, destinations = only()
    sums = tuple(map(sum, zip(*(totals(destination.stats) for destination in destinations))))
    assert totals(service.stats) == sums
    assert sorted(destination.stats.connections for destination in destinations) == [2, 3]


def test_an_icmp_error_counts_as_an_answer() -> None:
    """What a real server sends that has no such port: the first 28 bytes of the question in 28 bytes of headers."""
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    with client("udp", (VIP, 53)) as sender:
        sender.send(b"")
    eventually_counted(1, 1, 1, 28, 56)


def test_active_inactive_and_persistent_connections() -> None:
    configure(f"-A -t {VIP}:80 -s rr -p 300\n-a -t {VIP}:80 -r {REAL}:80 -m\n")

    def now() -> tuple[int, int, int]:
        (destination,) = only()[1]
        return destination.active_connections, destination.inactive_connections, destination.persistent_connections

    assert now() == (0, 0, 0)
    first = talk("tcp", (VIP, 80), (REAL, 80))
    assert now() == (1, 0, 1)
    second = talk("tcp", (VIP, 80), (REAL, 80))
    assert now() == (2, 0, 1)  # the same client: one template
    first.close()
    assert now() == (1, 1, 1)
    second.close()
    assert now() == (0, 2, 1)


def test_rates_rise_with_traffic_and_are_gone_after_it() -> None:
    """The kernel averages them over time, so that sums and sizes do not show in them; ipvsadm says the same
    (test_reads_what_ipvsadm_prints.py)."""
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")

    def moving() -> bool:
        for _ in range(20):
            conversation = talk("udp", (VIP, 53), (REAL, 53))
            conversation.exchange(bytes(100), bytes(100))
            conversation.close()
        service, (destination,) = only()
        return all(getattr(stats, name) for stats in (service.stats, destination.stats) for name in RATES)

    eventually(moving)
    before = only()[0].stats
    eventually(lambda: all(getattr(only()[0].stats, name) < getattr(before, name) for name in RATES))


def test_ipvsadm_sets_them_to_zero() -> None:
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    talk("udp", (VIP, 53), (REAL, 53)).exchange(b"question", b"answer")
    eventually_counted(1, 1, 1, 36, 34)
    run("ipvsadm", "-Z")
    assert counted() == [NOTHING, NOTHING]


def test_lines_show_them() -> None:
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    talk("udp", (VIP, 53), (REAL, 53)).exchange(bytes(72), bytes(172))
    eventually_counted(1, 1, 1, 100, 200)
    for line in printed().splitlines():
        assert "bytes_in=100i,bytes_out=200i,connections=1i" in line
        assert "pkts_in=1i,pkts_out=1i" in line


def test_a_client_reads_them_anew_each_time() -> None:
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    conversation = talk("udp", (VIP, 53), (REAL, 53))
    with Client() as reader:

        def read() -> Totals:
            return totals(reader.services()[0].stats)

        for number in (1, 2, 3):
            before = read()
            conversation.exchange(bytes(72), bytes(172))
            eventually(lambda before=before: read() != before)  # type: ignore[misc]
            assert read() == (1, number, number, 100 * number, 200 * number)


def test_counters_stand_still_while_the_estimator_is_off() -> None:
    """As docs/monitoring.md warns."""
    switch = Path("/proc/sys/net/ipv4/vs/run_estimation")
    if not switch.exists():
        pytest.skip("Linux 5.10 has no such switch")
    configure(f"-A -u {VIP}:53 -s rr\n-a -u {VIP}:53 -r {REAL}:53 -m\n")
    switch.write_text("0")
    conversation = talk("udp", (VIP, 53), (REAL, 53))
    conversation.exchange(b"question", b"answer")
    time.sleep(5)  # the estimator would have come round twice
    assert counted() == [NOTHING, NOTHING]
    switch.write_text("1")
    eventually_counted(1, 1, 1, 28 + 8, 28 + 6)
    conversation.close()
