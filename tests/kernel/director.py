"""A load balancer on one machine: IPVS configured by ipvsadm, traffic through it, and what ipvsadm and ipvsnl say.

Virtual servers, clients and the real servers that answer are all on lo: whatever a client sends to a virtual server
passes IPVS on its way out, and so does the answer. Both ends are sockets of one thread, so nothing waits but for the
kernel. Real servers that are elsewhere are behind the interface `void`, which swallows everything.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import ipvsadm
from linux import run

from ipvsnl import cli

T = TypeVar("T")
Entry = dict[str, Any]
Address = tuple[str, int]

KERNEL = tuple(int(number) for number in re.findall(r"\d+", os.uname().release)[:2])

# The virtual server, and a real server that answers.
VIP, VIP6 = "10.99.0.1", "2001:db8:99::1"
REAL, REAL6 = "10.99.1.1", "2001:db8:99:1::1"

PROTOCOLS = {
    "tcp": (socket.SOCK_STREAM, socket.IPPROTO_TCP),
    "udp": (socket.SOCK_DGRAM, socket.IPPROTO_UDP),
    "sctp": (socket.SOCK_STREAM, 132),
}


def set_up_addresses() -> None:
    commands = f"""\
address add {VIP}/24 dev lo
address add {REAL}/24 dev lo
address add {VIP6}/64 dev lo nodad
address add {REAL6}/64 dev lo nodad
"""
    run("ip", "-batch", "-", text=commands)


def set_up_void() -> None:
    """Makes real servers in 192.0.2.0/24 and 2001:db8:2::/64 reachable, though there are none."""
    commands = """\
link add void type dummy
link set void up multicast on
address add 192.0.2.1/24 dev void
address add 2001:db8:2::1/64 dev void nodad
"""
    run("ip", "-batch", "-", text=commands)


def configure(rules: str) -> None:
    """Adds services and real servers, one ipvsadm command a line, as `ipvsadm -S` writes them."""
    run("ipvsadm", "-R", text=rules)


class Talk(NamedTuple):
    """A client and a real server, each with its socket."""

    client: socket.socket
    server: socket.socket

    def exchange(self, request: bytes, reply: bytes) -> None:
        self.client.sendall(request)
        received = b""
        while len(received) < len(request):
            data, sender = self.server.recvfrom(65536)
            received += data
        if self.server.type == socket.SOCK_DGRAM:
            self.server.connect(sender)
        self.server.sendall(reply)
        received = b""
        while len(received) < len(reply):
            received += self.client.recv(65536)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def talk(protocol: str, virtual: Address, real: Address, mark: int = 0) -> Talk:
    """A client connected to the virtual server, and thereby to this real server, as far as UDP is ever connected. Its
    packets carry the firewall mark."""
    server = _socket(protocol, real)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(real)
    if protocol == "udp":
        return Talk(client(protocol, virtual, mark), server)
    server.listen()
    with server:
        return Talk(client(protocol, virtual, mark), server.accept()[0])


def client(protocol: str, virtual: Address, mark: int = 0) -> socket.socket:
    client = _socket(protocol, virtual)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, mark)
    client.connect(virtual)
    return client


def _socket(protocol: str, address: Address) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, *PROTOCOLS[protocol])
    made.settimeout(10)  # that a fault ends the test, not the run
    return made


class Between:
    """Equals each number from one to another."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def __eq__(self, number: object) -> bool:
        return isinstance(number, int) and self.least <= number <= self.most

    def __repr__(self) -> str:
        return f"{self.least} to {self.most}"


def with_listing(read: Callable[[], T]) -> tuple[T, list[Entry]]:
    """What `read` returns, and all that ipvsadm prints of services and real servers, in its order, under the names of
    the JSON document. There must be no traffic. Rates fall then by themselves, every two seconds, so ipvsadm is asked
    for them before and after."""
    before, value, after = rates(), read(), rates()
    commands = [[], ["--stats", "--exact"], ["--thresholds"], ["--persistent-conn"]]
    listings = [ipvsadm.services(run("ipvsadm", "-Ln", *options)) for options in commands]
    for most, least in zip(entries(before), entries(after)):
        most["stats"] = {name: Between(least["stats"][name], most["stats"][name]) for name in most["stats"]}
    return value, ipvsadm.merge(before, *listings, ipvsadm.rules(run("ipvsadm", "-Sn")))


def rates() -> list[Entry]:
    return ipvsadm.services(run("ipvsadm", "-Ln", "--rate", "--exact"))


def entries(services: list[Entry]) -> list[Entry]:
    """The services, each with its real servers after it."""
    return [entry for service in services for entry in (service, *service["destinations"])]


def eventually(condition: Callable[[], object], seconds: float = 30) -> None:
    """Waits for what the kernel does in its own time.

    Counters belong to that: each processor counts for itself, and every two seconds the estimator adds that up to
    what the kernel tells (ip_vs_read_cpu_stats() in net/netfilter/ipvs/ip_vs_est.c). How many connections there are,
    active, inactive and persistent, it tells as it is now.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def ipvsnl(*arguments: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of the command line, called as a function."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main(list(arguments))
    return status, out.getvalue(), err.getvalue()


def printed(*arguments: str) -> str:
    """What the command line prints that must end well and have no complaint."""
    status, out, err = ipvsnl(*arguments)
    assert (status, err) == (0, "")
    return out
