"""What a dump costs, counted instead of timed, so that it is the same everywhere: requests, datagrams, live objects."""

import gc
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import netlink
import pytest
from conftest import ROOT, cannot, capture_path

from ipvsnl import Client, Destination, _dump, genl
from ipvsnl._fastpath import Layout, Matrix
from ipvsnl.formats import Report, line_protocol

SERVICES, DESTS = 30, 20
ENTRIES = [
    (
        netlink.service(PORT=netlink.be16(service)),
        [netlink.destination(PORT=netlink.be16(dest)) for dest in range(1, DESTS + 1)],
    )
    for service in range(1, SERVICES + 1)
]


class Counting(netlink.IPVSKernel):
    """A kernel that counts the datagrams and bytes that are received, and has as many sockets as one likes."""

    def __init__(self) -> None:
        super().__init__(ENTRIES)
        self.datagrams = 0
        self.sockets: list[Counting] = []

    def recv_into(self, buffer: bytearray) -> int:
        self.datagrams += 1
        return super().recv_into(buffer)

    def another(self, *offers: int) -> "Counting":
        self.sockets.append(Counting())
        return self.sockets[-1]


def test_n_services_take_n_and_one_dumps_each_received_in_two_datagrams() -> None:
    kernel = Counting()
    with Client(transport=kernel) as client:
        begun, received = len(kernel.requests), kernel.datagrams  # the families, to find IPVS
        assert len(list(client.dump())) == SERVICES
    (pools,) = kernel.sockets
    assert kernel.asked()[begun:] == [(netlink.IPVS, netlink.GET_SERVICE, True)]
    assert kernel.datagrams - received == 2
    # One short answer first, from which the kernel learns what this socket offers.
    assert pools.asked() == [
        (netlink.IPVS, netlink.GET_INFO, False),
        *[(netlink.IPVS, netlink.GET_DEST, True)] * SERVICES,
    ]
    assert pools.datagrams == 1 + 2 * SERVICES


def test_the_services_alone_take_one_dump_and_one_socket() -> None:
    kernel = Counting()
    with Client(transport=kernel) as client:
        begun = len(kernel.requests)
        client.services()
        assert kernel.asked()[begun:] == [(netlink.IPVS, netlink.GET_SERVICE, True)]
    assert kernel.sockets == []


def live_destinations() -> int:
    return sum(type(each) is Destination for each in gc.get_objects())


def test_a_dump_asks_for_the_real_servers_of_a_service_when_its_turn_comes() -> None:
    kernel = Counting()
    with Client(transport=kernel) as client:
        entries = client.dump()
        for turn in range(1, 4):
            next(entries)
            assert len(kernel.sockets[0].requests) == 1 + turn


@pytest.mark.parametrize("format", ["objects", "lines"])
def test_while_streaming_no_more_than_two_pools_of_real_servers_are_alive(format: str) -> None:
    with Client(transport=Counting()) as client:
        gc.collect()
        before = live_destinations()  # of other tests
        pieces: Iterator[object] = client.dump()
        if format == "lines":
            pieces = line_protocol.render(Report(client.dump()))
        most = max(live_destinations() for _ in pieces) - before
    assert 0 < most <= 2 * DESTS


MIXED = [
    netlink.service(PORT=netlink.be16(port), SCHED_NAME=netlink.text(("rr", "wlc", "lblcr", "sh")[port % 4]))
    for port in range(1, 81)
]


def test_services_that_are_not_alike_make_no_more_work_than_their_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With three lengths of names, of which two give messages of one size, no two neighbours are of one layout."""
    looks, matrices = 0, 0
    unpack, init = Layout.run, Matrix.__init__

    def run(self: Layout, buffer: memoryview, offset: int, most: int, seq: int, port: int) -> int:
        nonlocal looks
        found = unpack(self, buffer, offset, most, seq, port)
        looks += found + 1
        return found

    def made(self: Matrix, *arguments: object) -> None:
        nonlocal matrices
        matrices += 1
        init(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Layout, "run", run)
    monkeypatch.setattr(Matrix, "__init__", made)
    with Client(transport=netlink.IPVSKernel([(tree, []) for tree in MIXED])) as client:
        for _ in range(3):
            assert len(client.services()) == len(MIXED)
    assert looks <= 3 * 4 * len(MIXED)
    assert matrices <= 4


def test_the_fast_path_is_on_again_after_each_reload_of_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    family = netlink.IPVS
    careful, calls = _dump.DUMP_SERVICES.rows.row, 0

    def row(attributes: bytes) -> "tuple[object, ...]":
        nonlocal calls
        calls += 1
        return careful(attributes)

    monkeypatch.setattr(_dump.DUMP_SERVICES.rows, "row", row)
    kernel = netlink.IPVSKernel(ENTRIES)
    usual = kernel.answer

    def answer(request: netlink.Request) -> "list[netlink.Reply]":
        if request.type not in (netlink.NLCTRL, family):
            return [netlink.refusal(2, request=request.raw, seq=request.seq, port=request.port)]
        if request.type == netlink.NLCTRL:
            known = netlink.message(
                netlink.NLCTRL, netlink.family(family, "IPVS"), command=netlink.NEWFAMILY,
                seq=request.seq, port=request.port,
            )  # fmt: skip
            return [known, netlink.done(seq=request.seq, port=request.port)]
        replies = usual(request._replace(type=netlink.IPVS))
        return [netlink.readdress(each, family=family) for each in replies]  # type: ignore[arg-type]

    kernel.answer = answer
    with Client(transport=kernel) as client:
        for reload in range(8):
            family = 0x30 + reload
            assert len(client.services()) == SERVICES
            assert calls == reload + 1


def test_the_families_are_looked_through_for_a_name_before_any_is_read() -> None:
    connection = genl.Connection(netlink.IPVSKernel())
    assert [family.name for family in connection.families("IPVS")] == ["IPVS"]
    assert connection.families("IPV") == []


# Modules of the standard library that a replay may import, on Debian's Python and without the variables of this
# environment: each one costs time at every start. getopt brings gettext, re and warnings.
ALLOWED = {
    *("codecs", "collections", "contextlib", "copyreg", "enum", "errno", "functools", "getopt", "gettext"),
    *("importlib", "io", "itertools", "keyword", "operator", "os", "re", "reprlib", "struct", "time", "types"),
    "warnings",
    *("heapq", "sre_compile", "sre_constants", "sre_parse"),  # of collections and re before Python 3.11
}
IMPORTED = """
import os, sys
before = set(sys.modules)
from ipvsnl.cli import main
main(sys.argv[1:])
sys.stderr.write(" ".join({name.partition(".")[0] for name in set(sys.modules) - before}))
"""


@pytest.mark.parametrize("python", ["/usr/bin/python3", sys.executable])
def test_a_replay_imports_few_modules(python: str) -> None:
    if not os.path.exists(python):
        cannot(f"there is no {python}")
    command = [python, "-S", "-c", IMPORTED, "--replay", str(capture_path("linux-6.1"))]
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.stdout.count("\n") == 21
    imported = {name for name in done.stderr.split() if not name.startswith("_")}
    assert "ipvsnl" in imported
    assert imported - {"ipvsnl"} <= ALLOWED


@pytest.mark.parametrize(
    "arguments, status",
    [(["--help"], 0), (["2"], 0), (["0"], 2), (["-1"], 2), (["many"], 2), (["1", "2"], 2)],
    ids=str,
)
def test_the_startup_benchmark_needs_a_right_number(arguments: "list[str]", status: int) -> None:
    command = [sys.executable, "bench/startup.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == status
    assert "Traceback" not in done.stderr and (done.stdout or done.stderr)
    assert status or done.stderr == ""


def test_the_startup_benchmark_gives_milliseconds() -> None:
    done = subprocess.run([sys.executable, "bench/startup.py", "2"], cwd=ROOT, capture_output=True, text=True)
    figures = re.findall(r"^(python3 -c pass|replay of a small capture) +(\d+\.\d) ms$", done.stdout, re.MULTILINE)
    assert [name for name, _ in figures] == ["python3 -c pass", "replay of a small capture"]
    assert all(float(figure) > 1 for _, figure in figures)


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts descriptors in /proc")
def test_neither_descriptors_nor_memory_are_lost_by_many_dumps_and_faults() -> None:
    """tests/tools/soak.py does the same a hundred thousand times."""
    from tools import soak

    soak.run(200)
    before = soak.usage()
    soak.run(1000)
    descriptors, blocks = soak.usage()
    assert descriptors == before[0]
    assert blocks - before[1] < 500
