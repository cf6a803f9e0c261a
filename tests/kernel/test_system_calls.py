"""What a dump does to the machine, and what apply() costs, seen by strace: each system call, each file opened."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from director import configure
from linux import run

ROOT = Path(__file__).resolve().parents[2]
SERVICES = 5

# What a dump imports when it is first needed is imported before, so that just the dump is seen.
SCRIPT = f"""
import fcntl, os, socket, sys
sys.path.insert(0, {str(ROOT)!r})
from ipvsnl import cli
from ipvsnl.formats import Report, line_protocol
os.access("/the-dump-begins", 0)
status = cli.main(sys.argv[1:])
os.access("/the-dump-ends", 0)
sys.exit(status)
"""
ADDITIONS = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig, plan
pool = [DestinationConfig("192.0.2.1", port, forwarding="masquerade") for port in range(1, 21)]
desired = [(ServiceConfig("tcp", "10.0.1.1", port, scheduler="rr"), pool) for port in range(1, 501)]
with Admin() as admin:
    changes = plan([], desired)
    os.access("/the-dump-begins", 0)
    admin.apply(changes)
    os.access("/the-dump-ends", 0)
"""
NETLINK = {"socket", "setsockopt", "bind", "connect", "getsockname", "getsockopt", "sendto", "recvfrom", "close"}
PROCESS = {"getpid"}  # a forked child uses no socket of its parent
CLOCK = {"clock_gettime"}  # the time of the dump, if the kernel trusts no clock that the vDSO can read
NAMESPACE = {
    "ioctl",
    "newfstatat",
    "fstat",
}  # SIOCGSKNS: which network namespace the first socket is in, for the second
OUTPUT = {"write"}
MEMORY = {"brk", "mmap", "munmap", "mremap", "madvise"}


def traced(tmp_path: Path, script: str = SCRIPT) -> list[tuple[str, str]]:
    """(name, arguments) of the system calls of one dump, or between the same marks of another script."""
    log = tmp_path / "strace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(log), sys.executable, "-B", "-c", script],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    calls = re.findall(r"^\d+ +(\w+)\((.*)$", log.read_text(), re.MULTILINE)
    marks = [number for number, (_, said) in enumerate(calls) if "/the-dump-" in said]
    return calls[marks[0] + 1 : marks[1]]


@pytest.fixture(autouse=True)
def services() -> None:
    rules = [f"-A -t 10.0.0.{n}:80 -s rr\n-a -t 10.0.0.{n}:80 -r 192.0.2.1:80 -m\n" for n in range(1, SERVICES + 1)]
    configure("".join(rules))


def test_a_dump_makes_these_system_calls_and_no_others(tmp_path: Path) -> None:
    """No file is opened, no program executed, no thread or process made, and no socket opened but for netlink."""
    calls = traced(tmp_path)
    assert {name for name, _ in calls} - NETLINK - PROCESS - CLOCK - NAMESPACE - OUTPUT - MEMORY == set()
    assert {said.split(",")[0] for name, said in calls if name == "socket"} == {"AF_NETLINK"}
    requests = {said.split(", ")[1] for name, said in calls if name == "ioctl"}
    assert requests <= {"SIOCGSKNS", "FIONBIO"}  # the latter is setblocking()


def test_a_service_costs_one_send_and_two_receives(tmp_path: Path) -> None:
    count = Counter(name for name, _ in traced(tmp_path))
    # In addition: the list of families, the list of services, and one short answer for the second socket.
    assert count["sendto"] == SERVICES + 3
    assert 2 * SERVICES + 5 <= count["recvfrom"] <= 2 * SERVICES + 8  # the families take two or more datagrams
    assert count["socket"] == 2


def test_a_hundred_additions_cost_one_send_and_one_receive(tmp_path: Path) -> None:
    """10,000 real servers in 500 services are 105 datagrams, and none is lost."""
    run("ipvsadm", "--clear")
    calls = traced(tmp_path, ADDITIONS)
    count = Counter(name for name, _ in calls)
    assert (count["sendto"], count["recvfrom"], count["getpid"]) == (105, 105, 1)
    assert set(count) <= {"sendto", "recvfrom", "getpid"} | MEMORY
    listed = run("ipvsadm", "-Ln")
    assert (listed.count("\nTCP  10.0.1.1:"), listed.count("\n  -> 192.0.2.1:")) == (500, 10_000)
