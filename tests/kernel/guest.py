"""One command in one virtual machine: a kernel boots with this machine's file system as its root, runs it, and is gone.

virtme-ng does the work. What the guest writes goes to an overlay in its own memory, but for one temporary folder that
both sides share: there the guest leaves the command's output and exit status, because without udev in the guest
virtme-ng brings back neither. The console is kept for the day when no status comes.

QEMU always emulates, though KVM is faster: there are machines whose /dev/kvm makes virtual machines which then hang,
and a boot that takes ten seconds everywhere is better than one that depends on the machine.
"""

from __future__ import annotations

import codecs
import collections
import contextlib
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import kernels

HIDDEN = ("/run/", "/var/cache/", "/var/lib/", "/var/log/", "/var/tmp/")  # in the guest these folders are new and empty
CONSOLE_LINES = 60  # of its end are kept: enough for a kernel's last words


class Guest:
    """A virtual machine that runs a command of this machine, in a folder of this machine.

    Call `poll()` now and then until it is true. Then `status` is the command's, or 1 where the guest had none to give,
    and `problem` says how it ended. `close()` ends the guest at any time and removes all that it left. `qemu` is
    options for QEMU, beside those that make the machine.
    """

    def __init__(
        self, image: Path, command: Sequence[str], cwd: Path, time_limit: float, qemu: Sequence[str] = ()
    ) -> None:
        self.release = kernels.release(image)
        self.status = 1
        self.problem = ""
        self.seconds = 0.0
        self._started = time.monotonic()
        self._time_limit = time_limit
        self._temporary = tempfile.TemporaryDirectory(prefix="ipvsnl-guest-")
        self._folder = Path(self._temporary.name)
        self._output = open(self._folder / "output", "w+b")  # noqa: SIM115 (close() closes it)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._console: collections.deque[str] = collections.deque([""], maxlen=CONSOLE_LINES)
        # The file `status` appears with its content: it is never read half-written.
        (self._folder / "script").write_text(
            f"cd {shlex.quote(str(cwd))} && {shlex.join(command)} > {self._folder}/output 2>&1 < /dev/null\n"
            f"echo $? > {self._folder}/status.new && mv {self._folder}/status.new {self._folder}/status\n"
        )
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # vng is beside python, and its parts beside vng
        machine = ["--disable-kvm", "--force-9p", "--verbose", "--user=root", "--cpus=1", "--memory=1G"]
        if str(cwd).startswith(HIDDEN):
            machine.append(f"--rodir={cwd}")
        if qemu:
            machine.append(f"--qemu-opts={' '.join(qemu)}")
        self._process = subprocess.Popen(
            ["vng", *machine, f"--run={image}", f"--rwdir={self._folder}", f"--exec=sh {self._folder}/script"],
            cwd=self._folder,
            env={**os.environ, "PATH": path, "TMPDIR": str(self._folder)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own, which close() ends and ctrl-C does not reach
        )
        assert self._process.stdout is not None
        self._console_pipe = self._process.stdout.fileno()
        os.set_blocking(self._console_pipe, False)

    def poll(self) -> bool:
        """True when the command or the guest has ended."""
        gone = self._process.poll() is not None  # asked first: whatever the guest has left is then there
        self.seconds = time.monotonic() - self._started
        self._read_console()
        if (self._folder / "status").exists():
            self.status = int((self._folder / "status").read_text())
            return True
        if gone:
            self.problem = f"the virtual machine ended before the command\n{self._console_end()}"
        elif self.seconds > self._time_limit:
            self.problem = f"not done after {self._time_limit:g} s, and ended\n{self._console_end()}"
        return bool(self.problem)

    def read(self) -> str:
        """What the command has written since the last call."""
        return self._decode(self._output.read())

    def peek(self) -> str:
        """Return all that the command has written, and leave read() where it is."""
        return (self._folder / "output").read_text(errors="replace")

    def close(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=5)
        self._output.close()
        self._temporary.cleanup()

    def _read_console(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._console_pipe, 65536):
                first, *rest = data.decode("utf-8", "replace").replace("\r", "").split("\n")
                self._console[-1] += first
                self._console.extend(rest)

    def _console_end(self) -> str:
        return "\n".join(["the end of its console:", *(f"    {line}" for line in self._console)])
