"""What the standard library lacks for these tests: namespaces, capabilities, and a function run in another process.

setns(2) and unshare(2) are in Python since 3.12, capset(2) is not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
CAP_NET_ADMIN = 12
NOBODY = 65534

_PR_SET_KEEPCAPS = 8
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


def run(*command: str, text: str = "") -> str:
    """What a command prints that must end well and have no complaint."""
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), f"{' '.join(command)}: {done.returncode} {done.stderr}"
    return done.stdout


@contextlib.contextmanager
def network_namespace() -> Iterator[None]:
    """This thread, and whatever it starts meanwhile, in a new network namespace that has lo."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        run("ip", "link", "set", "lo", "up")
        yield
    finally:
        _check(_libc.setns(home, CLONE_NEWNET))
        os.close(home)


def enter_user_namespace(*, and_network: bool) -> None:
    """Makes this process, for good, the root of a new user namespace, and of a network namespace that belongs to it."""
    _check(_libc.unshare(CLONE_NEWUSER | (CLONE_NEWNET if and_network else 0)))
    Path("/proc/self/uid_map").write_text("0 0 1")


def become_nobody(*capabilities: int) -> None:
    """Gives up root for good, and all capabilities but these."""
    _check(_libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0))
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    bits = sum(1 << capability for capability in capabilities)
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable, first the low words and then the high ones.
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)(bits, bits, 0, 0, 0, 0)))


def effective_capabilities() -> int:
    """Those of this process, as a bit set."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:"))
    return int(line.split()[1], 16)


def in_child(action: Callable[[], T]) -> T:
    """What the function returns, or raises, in a process of its own: what it does to itself does not last."""
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            result: tuple[bool, object] = True, action()
        except BaseException as error:
            result = False, error
        os.write(there, pickle.dumps(result))
        os._exit(0)
    os.close(there)
    with open(here, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    fine, value = pickle.loads(data)
    if not fine:
        raise value
    return value  # type: ignore[no-any-return]


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
