"""What ipvsadm prints, and what ipvsadm -R reads: listings and rules, held against the texts of ipvsadm."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from typing import Any

import pytest
from conftest import KERNELS, capture_path, printed

from ipvsnl import Client, Destination, Info, Service, ServiceFlags, TunnelFlags, testing
from ipvsnl.capture import Replay
from ipvsnl.formats import Report, listing, rules

TCP = testing.service()
DEST = testing.destination()
FORMATS = {"list": listing.render_list, "stats": listing.render_stats, "rate": listing.render_rate}


def text(format: Any, *entries: tuple[Service, list[Destination] | None], info: Info | None = None) -> str:
    return "".join(format(Report(entries, info=info)))


def lines(format: Any, *entries: tuple[Service, list[Destination] | None]) -> list[str]:
    """Without the title."""
    found = text(format, *entries).splitlines()
    return found if format is rules.render else found[2:]


def of_capture(kernel: str, format: Any) -> str:
    with capture_path(kernel).open("rb") as file, Client(transport=Replay(file)) as client:
        return "".join(format(Report(client.dump(), info=client.info())))


# Texts that ipvsadm printed.


@pytest.mark.parametrize("kernel", KERNELS)
def test_stats_are_the_bytes_that_ipvsadm_printed(kernel: str) -> None:
    """With --exact, which makes no difference below 10**8."""
    assert of_capture(kernel, listing.render_stats) == printed(kernel, "stats.txt")


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_list_is_what_ipvsadm_printed_but_for_ended_connections(kernel: str) -> None:
    def without_inactive(listed: str) -> str:
        return re.sub(r"(?m)^(  -> \S+ +\w+ +\d+ +\d+ +)\d+ +$", r"\1", listed)

    found, said = of_capture(kernel, listing.render_list), printed(kernel, "list.txt")
    assert without_inactive(found) == without_inactive(said)
    assert [len(line) for line in found.splitlines()] == [len(line) for line in said.splitlines()]


@pytest.mark.parametrize("kernel", KERNELS)
def test_rates_stand_in_the_columns_of_ipvsadm(kernel: str) -> None:
    """The rates themselves had fallen when ipvsadm printed them."""
    found, said = of_capture(kernel, listing.render_rate).splitlines(), printed(kernel, "rate.txt").splitlines()
    assert found[:3] == said[:3]
    assert [line[:33] for line in found] == [line[:33] for line in said]
    assert [len(line) for line in found] == [len(line) for line in said]


@pytest.mark.parametrize("kernel", KERNELS)
def test_rules_are_what_ipvsadm_printed_with_thresholds(kernel: str) -> None:
    found = of_capture(kernel, rules.render)
    assert found.replace(" -x 1000 -y 500", "") == printed(kernel, "save.txt") != found


# Columns that no capture has. The expected texts are put together from ipvsadm's own format strings.


@pytest.mark.parametrize(
    ("number", "printed"),
    [
        (0, "        0"),
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (2**32, "    4294M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (99_999_999_999_999, "   99999G"),
        (100_000_000_000_000, "     100T"),
        (2**64 - 1, "18446744T"),
    ],
)
def test_large_numbers_are_rounded_down_to_a_letter(number: int, printed: str) -> None:
    stats = testing.stats(**dict.fromkeys(testing.stats().__match_args__, number))
    entry = (replace(TCP, stats=stats), [replace(DEST, stats=stats)])
    for line in lines(listing.render_stats, entry):
        assert line[33:] == printed * 5
    for line in lines(listing.render_rate, entry):
        assert line[33:] == f" {number:8}" * 3 + printed * 2


def test_each_number_is_in_its_column() -> None:
    stats = testing.stats(**{name: number for number, name in enumerate(testing.stats().__match_args__, 1)})
    entry = (replace(TCP, stats=stats), [replace(DEST, stats=stats)])
    for line in lines(listing.render_stats, entry):
        assert line[33:].split() == ["1", "2", "3", "4", "5"]
    for line in lines(listing.render_rate, entry):
        assert line[33:].split() == ["6", "7", "8", "9", "10"]


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_a_capture_without_the_version_has_no_first_line(format: Any) -> None:
    known = text(format, (TCP, [DEST]), info=Info("1.2.1", 4096))
    assert known == "IP Virtual Server version 1.2.1 (size=4096)\n" + text(format, (TCP, [DEST]))


@pytest.mark.parametrize("format", [*FORMATS.values(), rules.render])
def test_services_alone_are_lines_of_services_alone(format: Any) -> None:
    assert len(lines(format, (TCP, None), (replace(TCP, port=81), None))) == 2


V6 = testing.service(address="2001:db8::1")
MARK = testing.service(fwmark=7)
MARK6 = testing.service(fwmark=7, address_family="inet6")
PERSISTENT = ServiceFlags.HASHED | ServiceFlags.PERSISTENT
SCHED = [ServiceFlags.SCHED1, ServiceFlags.SCHED2, ServiceFlags.SCHED3]
ALL = SCHED[0] | SCHED[1] | SCHED[2]


@pytest.mark.parametrize(
    ("service", "listed", "rule"),
    [
        (TCP, "TCP  10.0.0.1:80 rr", "-t 10.0.0.1:80 -s rr"),
        (replace(TCP, protocol="udp", port=0), "UDP  10.0.0.1:0 rr", "-u 10.0.0.1:0 -s rr"),
        (replace(TCP, protocol="sctp"), "SCTP 10.0.0.1:80 rr", "--sctp-service 10.0.0.1:80 -s rr"),
        (replace(TCP, protocol="47"), "?    10.0.0.1:80 rr", "--xxx-service 10.0.0.1:80 -s rr"),
        (V6, "TCP  [2001:db8::1]:80 rr", "-t [2001:db8::1]:80 -s rr"),
        (MARK, "FWM  7 rr", "-f 7 -s rr"),
        (MARK6, "FWM  7 IPv6 rr", "-f 7 -6 -s rr"),
        (replace(TCP, flags=PERSISTENT, timeout=60), "TCP  10.0.0.1:80 rr persistent 60", "-t 10.0.0.1:80 -s rr -p 60"),
        (
            replace(TCP, flags=PERSISTENT, timeout=60, netmask=20),
            "TCP  10.0.0.1:80 rr persistent 60 mask 255.255.240.0",
            "-t 10.0.0.1:80 -s rr -p 60 -M 255.255.240.0",
        ),
        (
            replace(TCP, flags=PERSISTENT, timeout=60, netmask=0),
            "TCP  10.0.0.1:80 rr persistent 60 mask 0.0.0.0",
            "-t 10.0.0.1:80 -s rr -p 60 -M 0.0.0.0",
        ),
        (
            replace(V6, flags=PERSISTENT, timeout=4294967295, netmask=32),
            "TCP  [2001:db8::1]:80 rr persistent 4294967295 mask 32",
            "-t [2001:db8::1]:80 -s rr -p 4294967295 -M 32",
        ),
        (replace(TCP, timeout=60, netmask=20), "TCP  10.0.0.1:80 rr", "-t 10.0.0.1:80 -s rr"),
        (
            replace(TCP, flags=PERSISTENT | ServiceFlags.ONEPACKET | ALL, timeout=1, persistence_engine="sip"),
            "TCP  10.0.0.1:80 rr (flag-1,flag-2,flag-3) persistent 1 pe sip ops",
            "-t 10.0.0.1:80 -s rr -p 1 --pe sip -o -b flag-1,flag-2,flag-3",
        ),
        (replace(TCP, persistence_engine="sip"), "TCP  10.0.0.1:80 rr", "-t 10.0.0.1:80 -s rr --pe sip"),
        (replace(TCP, flags=ServiceFlags.ONEPACKET), "TCP  10.0.0.1:80 rr ops", "-t 10.0.0.1:80 -s rr -o"),
        (
            replace(TCP, scheduler="sh", flags=ALL),
            "TCP  10.0.0.1:80 sh (sh-fallback,sh-port)",
            "-t 10.0.0.1:80 -s sh -b sh-fallback,sh-port",
        ),
        (
            replace(TCP, scheduler="mh", flags=ServiceFlags.SCHED2),
            "TCP  10.0.0.1:80 mh (mh-port)",
            "-t 10.0.0.1:80 -s mh -b mh-port",
        ),
        # Here ipvsadm prints rules that it does not read: "-b " and "-f -2147483647".
        (replace(TCP, scheduler="sh", flags=SCHED[2]), "TCP  10.0.0.1:80 sh ()", "-t 10.0.0.1:80 -s sh -b flag-3"),
        (testing.service(fwmark=2**31 + 1), "FWM  -2147483647 rr", "-f 2147483649 -s rr"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_service_is_named_and_described_as_ipvsadm_does(service: Service, listed: str, rule: str) -> None:
    assert lines(listing.render_list, (service, [])) == [listed]
    assert lines(rules.render, (service, [])) == ["-A " + rule]


TUNNEL = replace(DEST, forwarding="tunnel")


@pytest.mark.parametrize(
    ("destination", "word", "rule"),
    [
        (DEST, "Masq   ", "-m -w 1"),
        (replace(DEST, forwarding="local"), "Local  ", "-g -w 1"),
        (replace(DEST, forwarding="direct"), "Route  ", "-g -w 1"),
        (replace(DEST, forwarding="bypass"), "(null) ", "(null) -w 1"),
        (TUNNEL, "Tunnel ", "-i -w 1 --tun-type ipip"),
        (replace(TUNNEL, tunnel_type="gre"), "Tunnel ", "-i -w 1 --tun-type gre --tun-nocsum"),
        (
            replace(TUNNEL, tunnel_type="gre", tunnel_flags=TunnelFlags.CSUM),
            "Tunnel ",
            "-i -w 1 --tun-type gre --tun-csum",
        ),
        (
            replace(TUNNEL, tunnel_type="gue", tunnel_port=6080, tunnel_flags=TunnelFlags.REMCSUM),
            "Tunnel ",
            "-i -w 1 --tun-type gue --tun-port 6080 --tun-remcsum",
        ),
        (replace(TUNNEL, tunnel_type="9"), "Tunnel ", "-i -w 1"),
        (replace(DEST, upper_threshold=100, lower_threshold=50), "Masq   ", "-m -w 1 -x 100 -y 50"),
        (replace(DEST, upper_threshold=100), "Masq   ", "-m -w 1 -x 100 -y 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_real_server_is_described_as_ipvsadm_does(destination: Destination, word: str, rule: str) -> None:
    assert (
        lines(listing.render_list, (TCP, [destination]))[1]
        == f"  -> {'192.0.2.1:80':28} {word} 1      0          0         "
    )
    assert lines(rules.render, (TCP, [destination]))[1] == f"-a -t 10.0.0.1:80 -r 192.0.2.1:80 {rule}"


def test_columns_of_a_real_server_are_as_wide_as_ipvsadms() -> None:
    """printf's "  -> %-28s %-7s %-6d %-10u %-10u"."""
    busy = replace(DEST, weight=-1, active_connections=2**32 - 1, inactive_connections=12)
    (_, line) = lines(listing.render_list, (TCP, [busy]))
    assert line == "  -> %-28s %-7s %-6d %-10u %-10u" % ("192.0.2.1:80", "Masq", -1, 2**32 - 1, 12)  # noqa: UP031
    long = replace(DEST, address_family="inet6", address="2001:db8:1111:2222:3333:4444:5555:6666")
    (_, line) = lines(listing.render_list, (TCP, [long]))
    assert line.startswith("  -> [2001:db8:1111:2222:3333:4444:5555:6666]:80 Masq ")


# The order.


IN_ORDER = [
    testing.service(protocol="tcp", address="9.0.0.1", port=9),
    testing.service(protocol="tcp", address="10.0.0.1", port=8),
    testing.service(protocol="tcp", address="10.0.0.1", port=80),
    testing.service(protocol="tcp", address="172.16.0.1", port=1),
    testing.service(protocol="tcp", address="200.0.0.1", port=1),
    testing.service(protocol="udp", address="9.0.0.1", port=1),
    testing.service(protocol="sctp", address="9.0.0.1", port=1),
    testing.service(protocol="tcp", address="2001:db8::9", port=1),
    testing.service(protocol="tcp", address="2001:db8::10", port=1),
    testing.service(protocol="tcp", address="fe80::1", port=1),
    testing.service(fwmark=7),
    testing.service(fwmark=7, address_family="inet6"),
    testing.service(fwmark=10),
    testing.service(fwmark=2**31 + 1),
]
POOL_IN_ORDER = [
    testing.destination(address=address, port=port)
    for address, port in [
        ("9.0.0.1", 80),
        ("10.0.0.1", 9),
        ("10.0.0.1", 10),
        ("200.0.0.1", 1),
        ("2001:db8::9", 1),
        ("2001:db8::10", 1),
    ]
]


@pytest.mark.parametrize("format", [*FORMATS.values(), rules.render])
def test_services_and_real_servers_stand_in_numeric_order(format: Any) -> None:
    entries = [(service, POOL_IN_ORDER) for service in IN_ORDER]
    shuffled = [(service, POOL_IN_ORDER[::-1]) for service in IN_ORDER[::-1]]
    expected = list(itertools.chain.from_iterable(lines(format, entry) for entry in entries))
    assert lines(format, *shuffled) == expected
    names = [re.split(r" +", line.strip())[1] for line in lines(listing.render_stats, (TCP, POOL_IN_ORDER[::-1]))[1:]]
    assert names == [listing.endpoint(each.address, each.port) for each in POOL_IN_ORDER]
