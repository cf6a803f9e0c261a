"""Output that fails, at every moment: the exit status, at most one line on stderr, and nothing half done.

The programs run without the variables of this environment, since PYTHONUNBUFFERED hides most of these faults.
"""

import fcntl
import io
import os
import re
import resource
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import netlink
import pytest
from conftest import ROOT, cannot, capture_path

from ipvsnl.cli import main

CAPTURE = str(capture_path("linux-6.1"))
PYENV = Path.home() / ".pyenv/versions"
PYTHONS = [sys.executable, "/usr/bin/python3", *map(str, sorted(PYENV.glob("[23].*/bin/python")))]
OLD = [python for python in PYTHONS if re.search(r"/(2\.\d+|3\.[0-8])\.\d+/", python)]
NEW = [python for python in PYTHONS if python not in OLD and os.path.exists(python)]
PRINTING = {
    "line": ["--replay", CAPTURE],
    "services only": ["--services-only", "--replay", CAPTURE],
    "json": ["-f", "json", "--replay", CAPTURE],
    "prometheus": ["-f", "prometheus", "--replay", CAPTURE],
    "execd": ["--execd", "--replay", CAPTURE],
    "help": ["--help"],
    "version": ["--version"],
}
DUMPS = ["line", "json", "prometheus", "execd"]
Program = Callable[..., "subprocess.Popen[str]"]
ENVIRONMENTS: "list[dict[str, str]]" = [{}, {"PYTHONUNBUFFERED": "1"}]


@pytest.fixture(params=ENVIRONMENTS, ids=["buffered", "unbuffered"])
def program(request: pytest.FixtureRequest) -> Iterator[Program]:
    """`program(*arguments)` starts the command line, by default with a newline on stdin and both outputs in pipes."""
    pipe, processes = subprocess.PIPE, []

    def start(*arguments: str, python: str = sys.executable, **options: Any) -> "subprocess.Popen[str]":
        settings = {"cwd": ROOT, "env": request.param, "text": True, "stdout": pipe, "stderr": pipe, **options}
        if "stdin" not in options:
            reading, writing = os.pipe()
            os.write(writing, b"\n")
            os.close(writing)
            settings["stdin"] = reading
        processes.append(subprocess.Popen([python, "-m", "ipvsnl", *arguments], **settings))
        if "stdin" not in options:
            os.close(reading)
        return processes[-1]

    yield start
    for process in processes:
        with process:
            process.kill()


def outcome(process: "subprocess.Popen[str]") -> "tuple[int, str]":
    stderr = process.communicate(timeout=60)[1]
    return process.returncode, stderr


def full() -> int:
    if not os.path.exists("/dev/full"):
        cannot("there is no /dev/full here")
    return os.open("/dev/full", os.O_WRONLY)


def without_reader() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def hung_up() -> int:
    """A terminal that has gone: EIO."""
    master, slave = os.openpty()
    os.close(master)
    return slave


def read_only() -> int:
    return os.open(os.devnull, os.O_RDONLY)


FAILING = {
    "full": (full, 1, "ipvsnl: writing the output: No space left on device\n"),
    "hung up": (hung_up, 1, "ipvsnl: writing the output: Input/output error\n"),
    "read-only": (read_only, 1, "ipvsnl: writing the output: Bad file descriptor\n"),
    "without reader": (without_reader, 0, ""),
}


@pytest.mark.parametrize("fault", FAILING)
@pytest.mark.parametrize("what", PRINTING)
def test_output_that_fails_is_one_line_and_the_right_status(what: str, fault: str, program: Program) -> None:
    make, status, stderr = FAILING[fault]
    descriptor = make()
    process = program(*PRINTING[what], stdout=descriptor)
    os.close(descriptor)
    assert outcome(process) == (status, stderr)


@pytest.mark.parametrize("python", NEW)
@pytest.mark.parametrize("what", ["services only", "help"])
def test_output_that_fails_is_the_same_on_each_python(what: str, python: str, program: Program) -> None:
    descriptor = full()
    process = program(*PRINTING[what], stdout=descriptor, python=python)
    os.close(descriptor)
    assert outcome(process) == (1, "ipvsnl: writing the output: No space left on device\n")


@pytest.mark.parametrize("what", PRINTING)
def test_a_closed_stdout_is_one_line_and_status_1(what: str, program: Program) -> None:
    process = program(*PRINTING[what], preexec_fn=lambda: os.close(1))
    assert outcome(process) == (1, "ipvsnl: writing the output: it is closed\n")


def test_a_closed_stdout_leaves_an_older_recording(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_text("older")
    assert outcome(program("--record", str(path), preexec_fn=lambda: os.close(1)))[0] == 1
    assert path.read_text() == "older"


@pytest.mark.parametrize("what", PRINTING)
def test_a_closed_stderr_changes_nothing_if_all_is_well(what: str, program: Program) -> None:
    expected = program(*PRINTING[what]).communicate()[0]
    process = program(*PRINTING[what], preexec_fn=lambda: os.close(2))
    assert process.communicate()[0] == expected != ""
    assert process.returncode == 0


ERRORS = {  # arguments and status
    "wrong arguments": (["--bogus"], 2),
    "no file": (["--replay", "/none"], 1),
    "no capture": (["--replay", __file__], 1),
    "no capture, execd": (["--execd", "--replay", __file__], 0),
}


@pytest.mark.parametrize("fault", FAILING)
@pytest.mark.parametrize("error", ERRORS)
def test_a_stderr_that_fails_does_not_change_the_status(error: str, fault: str, program: Program) -> None:
    arguments, status = ERRORS[error]
    descriptor = FAILING[fault][0]()
    process = program(*arguments, stderr=descriptor)
    os.close(descriptor)
    assert process.communicate()[0] == ""
    assert process.returncode == status


@pytest.mark.parametrize("error", ERRORS)
def test_a_closed_stderr_does_not_change_the_status(error: str, program: Program) -> None:
    arguments, status = ERRORS[error]
    process = program(*arguments, preexec_fn=lambda: os.close(2))
    assert process.communicate()[0] == ""
    assert process.returncode == status


@pytest.mark.parametrize("python", NEW)
def test_a_full_stderr_is_the_same_on_each_python(python: str, program: Program) -> None:
    descriptor = full()
    process = program("--bogus", stderr=descriptor, python=python)
    os.close(descriptor)
    assert process.wait(timeout=60) == 2


@pytest.mark.parametrize("what", PRINTING)
def test_two_outputs_that_fail_are_status_1(what: str, program: Program) -> None:
    descriptor = full()
    process = program(*PRINTING[what], stdout=descriptor, stderr=descriptor)
    os.close(descriptor)
    assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("what", DUMPS)
def test_a_disk_that_fills_in_the_middle_is_one_line(what: str, program: Program, tmp_path: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    with (tmp_path / "file").open("w") as file:
        process = program(*PRINTING[what], stdout=file, preexec_fn=limit)
        assert outcome(process) == (1, "ipvsnl: writing the output: File too large\n")


def small_pipe() -> "tuple[int, int]":
    """A pipe that takes a page, less than any dump has."""
    reading, writing = os.pipe()
    if fcntl.fcntl(writing, 1031, os.sysconf("SC_PAGE_SIZE")) > 4096:  # F_SETPIPE_SZ, which Python 3.9 has no name for
        cannot("pipes are larger than a dump here")
    return reading, writing


def wait_until_full(pipe: int) -> None:
    """Until its writer can do nothing but wait."""
    for _ in range(600):
        if int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder) == 4096:
            return
        time.sleep(0.05)
    raise AssertionError("the pipe is not full")


@pytest.mark.parametrize("what", DUMPS)
def test_a_stdout_that_does_not_block_loses_nothing(what: str, program: Program) -> None:
    expected = program(*PRINTING[what]).communicate()[0]
    reading, writing = small_pipe()
    os.set_blocking(writing, False)
    process = program(*PRINTING[what], stdout=writing)
    wait_until_full(writing)
    time.sleep(0.1)  # long enough to give up
    os.close(writing)
    with open(reading) as file:
        assert file.read() == expected
    assert outcome(process) == (0, "")


def test_a_stderr_that_does_not_block_loses_nothing(program: Program) -> None:
    reading, writing = small_pipe()
    os.set_blocking(writing, False)
    os.write(writing, b"x" * 4096)
    process = program("--bogus", stderr=writing)
    os.close(writing)
    time.sleep(0.2)  # long enough to give up
    with open(reading) as file:
        assert file.read() == "x" * 4096 + "ipvsnl: option --bogus not recognized (see --help)\n"
    assert process.wait(timeout=60) == 2


def default_interrupt() -> None:
    """SIGINT ends the program even if the tests run in the background, for which shells ignore it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("what", DUMPS)
def test_an_interrupt_while_stdout_blocks_is_status_130(what: str, program: Program) -> None:
    reading, writing = small_pipe()
    process = program(*PRINTING[what], stdout=writing, preexec_fn=default_interrupt)
    wait_until_full(writing)
    process.send_signal(signal.SIGINT)
    assert outcome(process) == (130, "ipvsnl: interrupted\n")
    os.close(reading)
    os.close(writing)


def test_an_interrupt_while_stderr_blocks_is_status_130(program: Program) -> None:
    reading, writing = small_pipe()
    os.write(writing, b"x" * 4096)
    process = program("--bogus", stderr=writing, preexec_fn=default_interrupt)
    wait_until_it_waits(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    os.close(reading)
    os.close(writing)


def wait_until_it_waits(process: int) -> None:
    """Until the process has slept for a fifth of a second."""
    asleep = 0
    while asleep < 10:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        asleep = asleep + 1 if state == "S" else 0
        time.sleep(0.02)


INTERRUPTED = """
import sys
sys.path[:0] = ["tests", "."]
from interrupts import interrupt
from ipvsnl.cli import main
import ipvsnl.formats.{module}, ipvsnl.capture

def act():
    if main({arguments!r}) == 130:
        raise KeyboardInterrupt

count = sum(1 for _ in interrupt(act, "cli", "_stdio"))
sys.stderr.write(f"{{count}}")
"""


@pytest.mark.parametrize("what, module", [("line", "line_protocol"), ("json", "json_document")])
def test_an_interrupt_at_any_instruction_is_status_130(what: str, module: str) -> None:
    code = INTERRUPTED.format(module=module, arguments=PRINTING[what])
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={}
    )
    *lines, count = done.stderr.splitlines()
    assert set(lines) == {"ipvsnl: interrupted"}, done.stderr
    assert int(count) - 10 < len(lines) <= int(count) > 300  # a few come before main() has begun


# Whole or not at all.


def failing_after(services: int) -> netlink.IPVSKernel:
    """A kernel that refuses the real servers of a later service."""
    pool = [netlink.destination(PORT=netlink.be16(port)) for port in range(1, 21)]
    entries = [(netlink.service(PORT=netlink.be16(port)), pool) for port in range(1, 41)]  # in one datagram
    asked = []

    def special(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type == netlink.IPVS and request.command == netlink.GET_DEST:
            asked.append(request)
            if len({request.attributes for request in asked}) > services:
                return [netlink.refusal(22, request=request.raw, seq=request.seq)]
        return None

    return netlink.IPVSKernel(entries, special=special)


@pytest.mark.parametrize("format", ["json", "prometheus"])
def test_a_dump_that_fails_halfway_prints_nothing(format: str, kernel_socket: Any, capsys: Any) -> None:
    kernel_socket(failing_after(30))
    assert main(["-f", format]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_a_dump_that_fails_halfway_has_printed_whole_lines(kernel_socket: Any, capsys: Any) -> None:
    kernel_socket(failing_after(30))
    assert main([]) == 1
    out, err = capsys.readouterr()
    lines = out.splitlines(keepends=True)
    assert len(lines) > 300 and err.count("\n") == 1
    assert {len(line.split(" ")) for line in lines} == {3} and lines[-1].endswith("\n")


def test_text_that_cannot_be_encoded_leaves_no_half_document() -> None:
    code = """
import sys
from ipvsnl._stdio import OutputError, write
def pieces():
    for _ in range(100):
        yield "x" * 10000
    yield "\\u00e9"
try:
    write(sys.stdout, pieces(), whole=True)
except OutputError as error:
    sys.exit(f"{error}")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True
    )
    assert done.stdout == ""
    assert done.stderr == "ascii lacks '\\xe9': set PYTHONIOENCODING=utf-8\n"


WRITE_A_LOT = """
import sys
from ipvsnl._stdio import write

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1])

pieces = ("%06d" % number * 1500 + chr(10) for number in range(4000))
before = peak()
write(sys.stdout, pieces, whole=True)
sys.stderr.write(str(peak() - before))
"""
A_LOT = "".join(f"{number:06}" * 1500 + "\n" for number in range(4000))


def write_a_lot(folder: "Path | str", limit: int = resource.RLIM_INFINITY) -> int:
    """See that 36 MB come through, and return how many KiB of memory that took."""
    done = subprocess.run(
        [sys.executable, "-c", WRITE_A_LOT],
        cwd=ROOT,
        env={"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.stdout == A_LOT
    return int(done.stderr)


def test_a_whole_document_takes_no_more_than_3_mib(tmp_path: Path) -> None:
    assert write_a_lot(tmp_path) < 3 << 10
    assert list(tmp_path.iterdir()) == []


def test_without_a_folder_for_a_file_memory_holds_the_document(tmp_path: Path) -> None:
    assert write_a_lot(tmp_path / "none") > 30 << 10


def test_after_a_disk_is_full_memory_holds_the_rest(tmp_path: Path) -> None:
    assert 14 << 10 < write_a_lot(tmp_path, limit=20_000_001) < 24 << 10


# Callers that replaced the standard streams.


def test_a_callers_stream_takes_the_output() -> None:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert main(["-f", "json", "--replay", CAPTURE]) == 0
        assert main(["--bogus"]) == 2
    assert out.getvalue().startswith("{") and out.getvalue().endswith("}\n")
    assert err.getvalue().count("\n") == 1


def test_a_callers_stream_that_is_closed_is_status_1(capsys: Any) -> None:
    out = io.StringIO()
    out.close()
    with redirect_stdout(out):
        assert main(["--version"]) == 1
    assert capsys.readouterr().err.startswith("ipvsnl: writing the output: ")


def test_what_a_caller_printed_comes_first() -> None:
    code = "from ipvsnl.cli import main; print('first'); main(['--version'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.stdout.splitlines()[0] == "first" and done.stdout.count("\n") == 2


def test_utf_16_begins_with_one_byte_order_mark(program: Program) -> None:
    env = {"PYTHONIOENCODING": "utf-16"}
    text = program(*PRINTING["prometheus"], env=env, text=False).communicate()[0].decode("utf-16")  # type: ignore[attr-defined]
    assert text == program(*PRINTING["prometheus"]).communicate()[0] and "\ufeff" not in text


# Pythons that are too old.


TOO_OLD = "ipvsnl: this needs Python 3.9 or later, and runs on Python "
SIMULATED = "import sys; sys.version_info = (3, 8, 18); import ipvsnl"


@pytest.mark.parametrize(
    "command", [[python, "-B", "-m", "ipvsnl"] for python in OLD] + [[sys.executable, "-c", SIMULATED]]
)
def test_an_old_python_is_one_line(command: "list[str]") -> None:
    done = subprocess.run(command, cwd=ROOT, env={}, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(TOO_OLD)


def test_an_import_by_an_old_python_is_an_import_error() -> None:
    code = "import sys; sys.version_info = (3, 8, 18); sys.argv[0] = 'agent'\n"
    code += "try: import ipvsnl\nexcept ImportError as error: print(error)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={}, capture_output=True, text=True)
    assert done.stdout == f"{TOO_OLD}3.8\n"
