"""What the world does to the command line: full disks, signals, strange files. One line, and the right status."""

import fcntl
import os
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import netlink
import pytest
from conftest import ROOT, capture_path, run

from ipvsnl.cli import main

CAPTURE = capture_path("linux-6.1")
needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")


def assert_one_line(stderr: str, *words: str) -> None:
    assert stderr.startswith("ipvsnl: ") and stderr.count("\n") == 1
    assert all(word in stderr for word in words), stderr


@needs_dev_full
def test_a_recording_on_a_full_disk_fails_and_names_the_file(kernel_socket, capsys) -> None:  # type: ignore[no-untyped-def]
    kernel_socket(netlink.IPVSKernel([(netlink.service(), [])]))
    assert main(["--record", "/dev/full"]) == 1
    assert_one_line(capsys.readouterr().err, "/dev/full", "No space left")
    assert os.path.exists("/dev/full")


@pytest.mark.parametrize("name", ["file.pcap", "link to file.pcap"])
def test_a_recording_that_cannot_be_written_whole_is_emptied(  # type: ignore[no-untyped-def]
    kernel_socket, capsys, tmp_path: Path, name: str
) -> None:
    resource = pytest.importorskip("resource")
    kernel_socket(netlink.IPVSKernel([(netlink.service(), [])]))
    (tmp_path / "link to file.pcap").symlink_to("file.pcap")
    old, usual = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        assert main(["--record", str(tmp_path / name)]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, usual)
    assert_one_line(capsys.readouterr().err, "file.pcap", "too large")
    assert (tmp_path / "file.pcap").read_bytes() == b""


def test_a_namespace_that_is_none_leaves_an_older_recording_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file.pcap"
    path.write_bytes(CAPTURE.read_bytes())
    done = run("--record", path, "--netns", tmp_path / "none")
    assert done.returncode == 1
    assert_one_line(done.stderr, "none")
    assert path.read_bytes() == CAPTURE.read_bytes()


def test_a_recording_takes_the_place_of_an_older_one(kernel_socket, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    kernel_socket(netlink.IPVSKernel([(netlink.service(), [])]))
    path = tmp_path / "file.pcap"
    path.write_bytes(bytes(100_000))
    assert main(["--record", str(path)]) == 0
    assert main(["--replay", str(path)]) == 0


def test_a_recording_to_a_pipe_without_reader_fails_after_the_dump(  # type: ignore[no-untyped-def]
    kernel_socket, capsys, tmp_path: Path
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK)]

    def stop_reading(request: netlink.Request) -> None:
        while readers:
            os.close(readers.pop())

    kernel_socket(netlink.IPVSKernel([(netlink.service(), [])], special=stop_reading))
    assert main(["--record", str(path)]) == 1
    out, err = capsys.readouterr()
    assert_one_line(err, str(path), "Broken pipe")
    assert out.startswith("ipvs_virtual_server,") and out.count("\n") == 1


def test_a_stdin_that_cannot_be_read_is_one_line_that_names_it() -> None:
    with open(os.devnull, "w") as unreadable:
        done = run("--execd", "--replay", CAPTURE, stdin=unreadable)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "stdin")


def test_a_dump_that_failed_is_recorded_too(kernel_socket, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """It is what a report of the failure needs."""
    kernel_socket(netlink.IPVSKernel([(netlink.service(AF=netlink.u16(1)), [])]))
    path = tmp_path / "file.pcap"
    assert main(["--record", str(path)]) == 1
    assert netlink.pack([(netlink.SVC["AF"], netlink.u16(1))]) in path.read_bytes()


class Interrupting(netlink.IPVSKernel):
    """Sends this process a signal instead of the n-th datagram."""

    def __init__(self, after: int, number: int) -> None:
        super().__init__([(netlink.service(), [netlink.destination()])])
        self.left, self.number = after, number

    def recv(self) -> bytes:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), self.number)
        return super().recv()


@pytest.fixture
def sigint() -> Iterator[None]:
    """Is not ignored, as it may be where the tests run in the background."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("after", range(6))  # the families, the services and the real servers, each with its end
def test_a_recording_that_was_interrupted_is_no_whole_one(kernel_socket, tmp_path: Path, after: int) -> None:  # type: ignore[no-untyped-def]
    kernel_socket(Interrupting(after, signal.SIGINT))
    path = tmp_path / "file.pcap"
    assert main(["--record", str(path)]) == 130
    assert main(["--replay", str(path)]) == 1


@pytest.mark.parametrize("after", range(6))
def test_a_recording_that_was_killed_is_empty(kernel_socket, tmp_path: Path, after: int) -> None:  # type: ignore[no-untyped-def]
    kernel_socket(Interrupting(after, signal.SIGTERM))
    path = tmp_path / "file.pcap"
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            main(["--record", str(path)])
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGTERM
    assert path.read_bytes() == b""


def test_a_replay_of_a_directory_is_one_line(tmp_path: Path) -> None:
    done = run("--replay", tmp_path)
    assert done.returncode == 1
    assert_one_line(done.stderr, str(tmp_path), "directory")


def test_a_replay_of_a_gigabyte_of_zeros_is_one_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    done = run("--replay", path, timeout=10)
    assert done.returncode == 1
    assert_one_line(done.stderr, "pcap")


def test_a_capture_with_a_gigabyte_of_zeros_behind_it_is_one_line_at_once(tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(CAPTURE.read_bytes())
    with path.open("r+b") as file:
        file.truncate(1 << 30)
    done = run("--replay", path, timeout=10)
    assert done.returncode == 1
    assert_one_line(done.stderr, "damaged")


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_it_without_a_traceback(number: int, status: int, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    process = replaying(path, number)
    fifo = opened_for_writing(path)
    os.write(fifo, CAPTURE.read_bytes()[:4])
    wait_until_more_is_awaited(process.pid, fifo)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    os.close(fifo)
    assert process.returncode == status
    assert stderr in ("", "ipvsnl: interrupted\n")


def test_a_fifo_that_nobody_writes_to_is_waited_for_until_a_signal(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    process = replaying(path, signal.SIGINT)
    wait_until_it_sleeps(process.pid)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, "ipvsnl: interrupted\n")


def replaying(path: Path, number: int) -> "subprocess.Popen[str]":
    """The program, which this signal ends. Whoever started the tests may have had SIGINT ignored, as shells do for what
    runs in the background."""
    return subprocess.Popen(
        [sys.executable, "-m", "ipvsnl", "--replay", path],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    )


def wait_until_it_sleeps(process: int) -> None:
    """And has done nothing for half a second."""
    status, since = "", time.monotonic()
    for _ in range(1200):
        before, status = status, Path(f"/proc/{process}/status").read_text()
        if status != before or "State:\tS" not in status:
            since = time.monotonic()
        elif time.monotonic() - since > 0.5:
            return
        time.sleep(0.05)
    raise AssertionError(f"{process} does not sleep")


def wait_until_more_is_awaited(reader: int, pipe: int) -> None:
    """Until the reader has taken all that is in the pipe, and sleeps. A signal before that may come where Python has
    looked for signals and not yet begun to read: it is then not seen before the read ends."""
    for _ in range(600):
        left = int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)
        state = Path(f"/proc/{reader}/stat").read_text().rpartition(")")[2].split()[0]
        if left == 0 and state == "S":
            return
        time.sleep(0.1)
    raise AssertionError(f"{reader} does not wait for more")


def opened_for_writing(fifo: Path) -> int:
    """Opens it as soon as somebody reads it."""
    for _ in range(600):
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # ENXIO: nobody does
            time.sleep(0.1)
    raise AssertionError(f"nobody reads {fifo}")


@pytest.fixture
def capture_with_an_accent(tmp_path: Path) -> Path:
    """With a scheduler whose name is not ASCII."""
    path = tmp_path / "accent.pcap"
    path.write_bytes(CAPTURE.read_bytes().replace(b"rr\0", "é\0".encode()))
    return path


NO_UTF8 = [
    {"PYTHONIOENCODING": "ascii"},
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
]


@pytest.mark.parametrize("environment", NO_UTF8, ids=str)
def test_output_that_the_encoding_of_stdout_does_not_have_is_one_line(
    environment: "dict[str, str]", capture_with_an_accent: Path
) -> None:
    done = run("--replay", capture_with_an_accent, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert_one_line(done.stderr, "writing the output", "set PYTHONIOENCODING=utf-8")
    remedy = {**environment, "PYTHONIOENCODING": "utf-8"}
    done = run("--replay", capture_with_an_accent, env=remedy, encoding="utf-8")
    assert (done.returncode, "sched=é" in done.stdout) == (0, True)


@pytest.mark.parametrize("format, written", [("line", "é"), ("json", "\\u00e9"), ("prometheus", "é")])
def test_output_needs_no_locale(format: str, written: str, capture_with_an_accent: Path) -> None:
    """Without one Python writes UTF-8."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
    done = run("--replay", capture_with_an_accent, "-f", format, env=environment, encoding="utf-8")
    assert (done.returncode, done.stderr) == (0, "")
    assert written in done.stdout


def test_of_two_formats_the_last_one_counts(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["-f", "line", "--format", "json", "--replay", str(CAPTURE)]) == 0
    assert capfd.readouterr().out.startswith("{")
    assert main(["--format", "json", "-f", "line", "--replay", str(CAPTURE)]) == 0
    assert capfd.readouterr().out.startswith("ipvs_virtual_server,")


@pytest.mark.parametrize("path", ["", "no\nsuch file"])
def test_an_odd_path_is_one_line(path: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--replay", path]) == 1
    said = capfd.readouterr().err
    assert said.startswith("ipvsnl: ") and said.count("\n") == 1 and "output" not in said
