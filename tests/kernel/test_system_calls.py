"""What a dump does to the machine, seen by strace: each system call that it makes, each file that it opens."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

import pytest
from director import configure

ROOT = Path(__file__).resolve().parents[2]
SERVICES = 5

# Everything is imported before, as far as it is imported at all; what is done lazily is part of the dump.
SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from ipvsnl import cli
os.access("/the-dump-begins", 0)
status = cli.main(sys.argv[1:])
os.access("/the-dump-ends", 0)
sys.exit(status)
"""
NETLINK = {"socket", "setsockopt", "bind", "connect", "getsockname", "sendto", "recvfrom"}
NAMESPACE = {"ioctl"}  # SIOCGSKNS: which network namespace the first socket is in, for the second
OUTPUT = {"write"}
FILES = {"openat", "read", "close", "lseek", "newfstatat", "fstat", "stat", "getdents64", "readlink", "pread64"}
MEMORY = {"brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "futex"}
STDLIB = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


def traced(tmp_path: Path, *arguments: str) -> list[tuple[str, str]]:
    """(name, arguments) of the system calls of one dump."""
    log = tmp_path / "strace"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(log), sys.executable, "-B", "-c", SCRIPT, *arguments],
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
    """No program is executed, no thread or process made, no module loaded, and no socket opened but for netlink."""
    calls = traced(tmp_path)
    assert {name for name, _ in calls} - NETLINK - NAMESPACE - OUTPUT - FILES - MEMORY == set()
    assert {said.split(",")[0] for name, said in calls if name == "socket"} == {"AF_NETLINK"}
    assert all("SIOCGSKNS" in said or "0x894c" in said.lower() for name, said in calls if name == "ioctl")


def test_a_dump_opens_no_file_but_parts_of_python_and_of_itself(tmp_path: Path) -> None:
    opened = [re.findall(r'"(.*?)"', said)[0] for name, said in traced(tmp_path) if name == "openat"]
    assert [path for path in opened if not path.startswith((*STDLIB, str(ROOT / "ipvsnl")))] == []


def test_a_service_costs_one_send_and_two_receives(tmp_path: Path) -> None:
    count = Counter(name for name, _ in traced(tmp_path))
    # Besides: the list of families, the list of services, and one short answer for the second socket.
    assert count["sendto"] == SERVICES + 3
    assert count["recvfrom"] <= 2 * SERVICES + 2 + 1 + 4  # the families take two to four datagrams
    assert count["socket"] == 2 or count["socket"] == 3  # strace shows one that Python closed at once, too
