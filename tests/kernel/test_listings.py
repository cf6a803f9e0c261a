"""Listings and rules of random configurations: the lines of ipvsadm, and rules that ipvsadm -R restores."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from director import REAL, VIP, configure, eventually, set_up_addresses, set_up_void, talk
from linux import run

from ipvsnl import Client
from ipvsnl.formats import Report, listing, rules

FORMATS: dict[str, tuple[Any, list[str]]] = {
    "list": (listing.render_list, ["-Ln"]),
    "stats": (listing.render_stats, ["-Ln", "--stats"]),
    "rate": (listing.render_rate, ["-Ln", "--rate"]),
    "rules": (rules.render, ["-Sn"]),
}
SCHEDULERS = ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"]
FLAGS = {"sh": ["sh-fallback", "sh-port"], "mh": ["mh-fallback", "mh-port"]}
TUNNELS = ["ipip", *(f"{kind} --tun-{sum}" for kind in ("gre", "gue --tun-port 6080") for sum in ("nocsum", "csum"))]


def ipvsnl(format: str) -> str:
    with Client() as client:
        return "".join(FORMATS[format][0](Report(client.dump(), info=client.info())))


def ipvsadm(format: str) -> str:
    return run("ipvsadm", *FORMATS[format][1])


class Configuration:
    """Random rules. Where addresses are not wild, no two of one list differ by 2**31 or more, so that ipvsadm sorts
    them by number."""

    def __init__(self, seed: int, wild: bool) -> None:
        self.random = random.Random(seed)
        self.wild = wild

    def rules(self) -> str:
        names = sorted({self.name() for _ in range(self.random.choice([1, 5, 40]))})
        return "".join(line for name in names for line in self.service(name))

    def name(self) -> str:
        kind = self.random.choice(["-t", "-u", "--sctp-service", "-f"])
        if kind == "-f":
            return f"-f {self.number(1, 2**31)}{self.random.choice(['', ' -6'])}"
        return f"{kind} {self.endpoint(self.random.random() < 0.3)}"

    def number(self, least: int, most: int) -> int:
        return self.random.choice([least, self.random.randrange(least, most), most - 1])

    def endpoint(self, six: bool) -> str:
        port = self.number(1, 65536)
        if six:
            return f"[2001:db8:2::{self.random.randrange(1, 0xFFFF):x}]:{port}"
        first = self.random.choice([1, 100, 172, 200, 223]) if self.wild else 192
        return f"{first}.0.2.{self.random.randrange(2, 255)}:{port}"

    def service(self, name: str) -> Iterator[str]:
        scheduler = self.random.choice(SCHEDULERS)
        words = ["-A", name, "-s", scheduler]
        six = "[" in name or name.endswith("-6")
        if self.random.random() < 0.5:
            words += ["-p", str(self.number(1, 86400 * 31))]
            if self.random.random() < 0.5:
                masks = ["1", "64", "127"] if six else ["0.0.0.0", "255.255.254.0", "255.255.255.254"]
                words += ["-M", self.random.choice(masks)]
            if self.random.random() < 0.3:
                words += ["--pe", "sip"]
        if name.startswith(("-u", "-f")) and self.random.random() < 0.3:
            words += ["-o"]
        flags = [flag for flag in FLAGS.get(scheduler, ["flag-1", "flag-2", "flag-3"]) if self.random.random() < 0.3]
        if flags:
            words += ["-b", ",".join(flags)]
        yield " ".join(words) + "\n"
        pool = {}
        for _ in range(self.random.choice([0, 1, 3, 12])):
            tunnel = self.random.random() < 0.4
            real = self.endpoint(six if not tunnel else self.random.random() < 0.5)
            pool[real.rpartition(":")[0]] = real, tunnel  # the port of one without -m is that of the service
        for real, tunnel in pool.values():
            yield f"-a {name} -r {real} {self.forwarding(tunnel, six)}{self.thresholds()}\n"

    def forwarding(self, tunnel: bool, six: bool) -> str:
        how = f"-i --tun-type {self.random.choice(TUNNELS)}" if tunnel else self.random.choice(["-m", "-g"])
        return f"{how} -w {self.number(0, 65536)}"

    def thresholds(self) -> str:
        if self.random.random() < 0.7:
            return ""
        upper = self.number(1, 2**31)
        return f" -x {upper} -y {self.random.randrange(0, upper + 1)}"


def blocks(text: str) -> list[list[str]]:
    """The title and the services, each with its real servers sorted, in an order that is nobody's."""
    found: list[list[str]] = [[]]
    for line in text.splitlines():
        if not line.startswith(("  -> ", "-a ")):
            found.append([])
        found[-1].append(line)
    return sorted([*block[:1], *sorted(block[1:])] for block in found)


def without_thresholds(text: str) -> str:
    return re.sub(r" -x \d+ -y \d+$", "", text, flags=re.MULTILINE)


@pytest.fixture(params=range(12))
def configuration(request: pytest.FixtureRequest, namespace: None) -> Configuration:
    """Set up, in a namespace that has just this."""
    set_up_void()
    run("ip", "route", "add", "default", "dev", "void")
    run("ip", "-6", "route", "add", "default", "dev", "void")
    made = Configuration(request.param, wild=request.param % 2 == 1)
    configure(made.rules())
    return made


def test_every_line_is_ipvsadms(configuration: Configuration) -> None:
    order: Callable[[str], object] = blocks if configuration.wild else str.splitlines
    for format in FORMATS:
        found, said = without_thresholds(ipvsnl(format)), ipvsadm(format)
        assert order(found) == order(said), format


def test_ipvsadm_restores_everything_from_the_rules(configuration: Configuration) -> None:
    saved, thresholds = ipvsnl("rules"), run("ipvsadm", "-Ln", "--thresholds")
    run("ipvsadm", "-C")
    configure(saved)
    assert ipvsnl("rules") == saved
    assert blocks(run("ipvsadm", "-Ln", "--thresholds")) == blocks(thresholds)


def test_ipvsadm_restores_what_it_cannot_restore_from_its_own_rules(namespace: None) -> None:
    configure("-A -f 4294967295 -6 -s rr\n-A -f 2147483648 -s sh -b flag-3\n")
    saved = ipvsnl("rules")
    run("ipvsadm", "-C")
    configure(saved)
    assert ipvsnl("rules") == saved
    assert ipvsadm("list").splitlines()[3:] == ["FWM  -2147483648 sh ()", "FWM  -1 IPv6 rr"]


def test_counters_and_rates_of_traffic_are_ipvsadms(namespace: None) -> None:
    set_up_addresses()
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL}:8080 -m -w 1\n")
    open_one = talk("tcp", (VIP, 80), (REAL, 8080))
    for _ in range(50):
        burst = talk("tcp", (VIP, 80), (REAL, 8080))
        burst.exchange(bytes(1000), bytes(20000))
        burst.close()
    eventually(lambda: re.search(r":80 +51 ", ipvsadm("stats")))  # the estimator has added it up

    def same(format: str) -> bool:
        """Compare if ipvsadm prints the same before and after. Rates fall every two seconds."""
        before, found, after = ipvsadm(format), ipvsnl(format), ipvsadm(format)
        assert found == after or before != after
        return before == after

    for format in FORMATS:
        eventually(lambda format=format: same(format))  # type: ignore[misc]
    assert re.search(r" [1-9]\d+ +[1-9]\d+\n", ipvsnl("rate"))
    open_one.close()
