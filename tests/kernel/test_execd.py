"""--execd on a real kernel: each newline brings what IPVS is then, and IPVS may come and go meanwhile."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from director import VIP, configure, eventually
from linux import run

Execd = subprocess.Popen[str]


@pytest.fixture
def execd() -> Iterator[Execd]:
    command = [sys.executable, "-m", "ipvsnl", "--execd", "-f", "json"]  # of JSON each dump is one line
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT, text=True) as process:
        yield process
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def answer(execd: Execd) -> str:
    """The line that a newline brings, be it a dump or an error."""
    execd.stdin.write("\n")
    execd.stdin.flush()
    return execd.stdout.readline()


def dumped(execd: Execd) -> int:
    """How many services the next dump has."""
    line = answer(execd)
    assert line.startswith('{"services": '), line + execd.stdout.read()
    return len(json.loads(line)["services"])


def test_each_newline_brings_what_is_there_then(namespace: None, execd: Execd) -> None:
    assert dumped(execd) == 0
    configure(f"-A -t {VIP}:80 -s rr\n")
    assert dumped(execd) == 1
    run("ipvsadm", "-C")
    assert dumped(execd) == 0


def test_the_module_may_come_and_go(disposable_kernel: None, execd: Execd) -> None:
    def unload() -> bool:
        """False while the services of earlier tests are still being given up, or use schedulers."""
        gc.collect()  # clients of earlier tests that nobody closed
        lines = Path("/proc/modules").read_text().splitlines()
        names = sorted((line.split()[0] for line in lines if line.startswith("ip_vs")), reverse=True)
        return not names or not subprocess.run(["modprobe", "--remove", *names], stderr=subprocess.DEVNULL).returncode

    eventually(unload, seconds=240)  # deleted real servers stay in the trash for two to three minutes
    assert "modprobe ip_vs" in answer(execd)
    configure("-A -f 47 -s rr\n")
    assert dumped(execd) == 1
    run("ipvsadm", "-C")
    eventually(unload, seconds=240)  # deleted real servers stay in the trash for two to three minutes
    assert answer(execd).startswith("ipvsnl: ")
    configure("-A -f 47 -s rr\n-A -f 48 -s rr\n")
    assert dumped(execd) == 2
