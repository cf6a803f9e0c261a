"""--execd: a dump for each newline on stdin, as telegraf's inputs.execd asks for one. What a kernel adds to that is in
tests/kernel/test_execd.py.
"""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace

import netlink
import pytest
from conftest import ROOT, capture_path, run

from ipvsnl.cli import main

CAPTURE = str(capture_path("linux-6.1"))
ENTRIES = [(netlink.service(), [netlink.destination()]), (netlink.fwmark_service(47), [])]
Install = Callable[[netlink.ScriptedKernel], None]
Output = pytest.CaptureFixture[str]


class Reopened(netlink.IPVSKernel):
    """One that is there again for the next socket."""

    def close(self) -> None: ...


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """`stdin(b"...")` is what main() will read there, until its end."""
    return lambda data: monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))


def test_each_dump_is_there_before_the_next_newline() -> None:
    command = [sys.executable, "-m", "ipvsnl", "--execd", "--replay", CAPTURE]
    dump = run("--replay", CAPTURE).stdout
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) as process:
        assert process.stdin and process.stdout and process.stderr
        for _ in range(3):
            process.stdin.write("\n")
            assert "".join(process.stdout.readline() for _ in dump.splitlines()) == dump
        process.stdin.close()
        assert (process.stdout.read(), process.stderr.read(), process.wait(timeout=60)) == ("", "", 0)


@pytest.mark.parametrize("given, dumps", [(b"", 0), (b"\n", 1), (b"\n\n\n", 3), (b"a word\n\xff\n", 2), (b"\nrest", 1)])
def test_one_dump_a_newline(given: bytes, dumps: int, stdin: Callable[[bytes], None], capsys: Output) -> None:
    stdin(given)
    assert main(["--execd", "-f", "json", "--replay", CAPTURE]) == 0
    assert capsys.readouterr().out.count("\n") == dumps


def test_all_dumps_go_through_one_socket(
    stdin: Callable[[bytes], None], kernel_socket: Install, capsys: Output
) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    stdin(b"\n\n")
    assert main(["--execd", "--services-only"]) == 0
    assert capsys.readouterr().out.count("\n") == 4
    families, *dumps = kernel.asked()
    assert families[:2] == (netlink.NLCTRL, netlink.GETFAMILY)
    assert dumps == [(netlink.IPVS, netlink.GET_SERVICE, True)] * 2
    assert kernel.closed


def test_each_dump_has_its_own_time(
    stdin: Callable[[bytes], None], kernel_socket: Install, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1, 2])
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    kernel_socket(netlink.IPVSKernel(ENTRIES[1:]))
    stdin(b"\n\n")
    main(["--execd"])
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]


def test_nothing_is_opened_before_the_first_newline(stdin: Callable[[bytes], None], kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(loaded=False)
    kernel_socket(kernel)
    stdin(b"")
    assert main(["--execd"]) == 0
    assert kernel.requests == []


def test_a_failed_dump_is_one_line_and_the_next_begins_anew(
    stdin: Callable[[bytes], None], kernel_socket: Install, capsys: Output
) -> None:
    """The second dump fails when its first service is already read: none of it is printed."""
    dumps = 0

    def special(request: netlink.Request) -> "list[netlink.Reply] | None":
        nonlocal dumps
        dumps += request.command == netlink.GET_SERVICE
        if request.command == netlink.GET_DEST and dumps == 2:
            return [netlink.refusal(errno.ENOBUFS, request=request.raw, seq=request.seq)]
        return None

    kernel = Reopened(ENTRIES, special=special)
    kernel_socket(kernel)
    stdin(b"\n\n\n")
    assert main(["--execd", "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert [len(json.loads(line)["services"]) for line in out.splitlines()] == [2, 2]
    assert err.startswith("ipvsnl: ") and err.count("\n") == 1
    assert [family for family, _, _ in kernel.asked()].count(netlink.NLCTRL) == 2


def test_a_kernel_without_ipvs_is_one_line_a_newline(
    stdin: Callable[[bytes], None], kernel_socket: Install, capsys: Output
) -> None:
    kernel_socket(Reopened(loaded=False))
    stdin(b"\n\n")
    assert main(["--execd"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.count("modprobe ip_vs") == err.count("\n") == 2


def test_a_closed_stdin_is_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["--execd"]) == 0


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(
            "--execd",
            *("--replay", CAPTURE),
            capture_output=False,
            input="\n\n",
            stdout=writing,
            stderr=subprocess.PIPE,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
