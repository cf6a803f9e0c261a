"""--execd: a dump for each newline on stdin, as telegraf's inputs.execd asks for one. What a kernel adds to that is in
tests/kernel/test_execd.py.
"""

import errno
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import netlink
import pytest
from conftest import ROOT, capture_path, run, run_python

from ipvsnl.cli import main

CAPTURE = str(capture_path("linux-6.1"))
ENTRIES = [(netlink.service(), [netlink.destination()]), (netlink.fwmark_service(47), [])]
Install = Callable[[netlink.ScriptedKernel], None]
Output = pytest.CaptureFixture[str]


class Reopened(netlink.IPVSKernel):
    """One that is there again for the next socket."""

    def close(self) -> None: ...


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`stdin("...")` is what main() will read there, until its end."""
    return lambda text: monkeypatch.setattr("sys.stdin", io.StringIO(text))


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


GIVEN = [("", 0), ("\n", 1), ("\n\n\n", 3), ("a word\n\xff\n", 2), ("\nrest", 1), ("x" * 100_000 + "\n", 1)]


@pytest.mark.parametrize("given, dumps", GIVEN, ids=range(len(GIVEN)))
def test_one_dump_a_newline(given: str, dumps: int, stdin: Callable[[str], None], capsys: Output) -> None:
    stdin(given)
    assert main(["--execd", "-f", "json", "--replay", CAPTURE]) == 0
    assert capsys.readouterr().out.count("\n") == dumps


@pytest.mark.parametrize("given, dumps", GIVEN, ids=range(len(GIVEN)))
def test_one_dump_a_newline_of_a_pipe(given: str, dumps: int) -> None:
    done = run("--execd", "-f", "json", "--replay", CAPTURE, input=given, encoding="latin-1", env={})
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, dumps, "")


def test_a_stdin_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    command = [sys.executable, "-m", "ipvsnl", "--execd", "-f", "json", "--replay", CAPTURE]
    with subprocess.Popen(command, cwd=ROOT, stdin=reading, stdout=subprocess.PIPE, env={}) as process:
        os.close(reading)
        assert process.stdout
        for _ in range(3):
            time.sleep(0.3)  # long enough to give up
            os.write(writing, b"\n")
            assert process.stdout.readline().startswith(b"{")
        os.close(writing)
        assert (process.stdout.read(), process.wait(timeout=60)) == (b"", 0)


def test_input_without_a_newline_takes_no_memory(tmp_path: Path) -> None:
    code = f"""
import sys
from ipvsnl.cli import main
main(["--execd", "--replay", {CAPTURE!r}])
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(line.split()[1])
"""
    (tmp_path / "long").touch()
    os.truncate(tmp_path / "long", 300 << 20)
    with open(os.devnull) as nothing, (tmp_path / "long").open() as long:
        least, peak = [int(run_python(code, stdin=stdin, env={})) for stdin in (nothing, long)]
    assert peak - least < 3 << 10  # KiB


def test_all_dumps_go_through_one_socket(stdin: Callable[[str], None], kernel_socket: Install, capsys: Output) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    stdin("\n\n")
    assert main(["--execd", "--services-only"]) == 0
    assert capsys.readouterr().out.count("\n") == 4
    families, *dumps = kernel.asked()
    assert families[:2] == (netlink.NLCTRL, netlink.GETFAMILY)
    assert dumps == [(netlink.IPVS, netlink.GET_SERVICE, True)] * 2
    assert kernel.closed


def test_each_dump_has_its_own_time(
    stdin: Callable[[str], None], kernel_socket: Install, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([1, 2])
    monkeypatch.setattr("time.time_ns", lambda: next(times))
    kernel_socket(netlink.IPVSKernel(ENTRIES[1:]))
    stdin("\n\n")
    main(["--execd"])
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()] == ["1", "2"]


def test_nothing_is_opened_before_the_first_newline(stdin: Callable[[str], None], kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(loaded=False)
    kernel_socket(kernel)
    stdin("")
    assert main(["--execd"]) == 0
    assert kernel.requests == []


def test_a_failed_dump_is_one_line_and_the_next_begins_anew(
    stdin: Callable[[str], None], kernel_socket: Install, capsys: Output
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
    stdin("\n\n\n")
    assert main(["--execd", "-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert [len(json.loads(line)["services"]) for line in out.splitlines()] == [2, 2]
    assert err.startswith("ipvsnl: ") and err.count("\n") == 1
    assert [family for family, _, _ in kernel.asked()].count(netlink.NLCTRL) == 2


def test_a_kernel_without_ipvs_is_one_line_a_newline(
    stdin: Callable[[str], None], kernel_socket: Install, capsys: Output
) -> None:
    kernel_socket(Reopened(loaded=False))
    stdin("\n\n")
    assert main(["--execd"]) == 0
    out, err = capsys.readouterr()
    assert out == "" and err.count("modprobe ip_vs") == err.count("\n") == 2


def test_a_closed_stdin_is_one_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(["--execd"]) == 0
