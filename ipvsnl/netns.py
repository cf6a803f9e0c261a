"""Other network namespaces, each of which has an IPVS of its own.

A socket stays in the namespace in which it was opened, so it is enough to be there for that one moment. A namespace is
a matter of the thread (setns(2)): a thread of its own goes there, opens the socket and ends. Whoever asked never leaves
home, whatever fails and whenever; there is no way back that could fail, and no need for /proc.
"""

import errno
import os
from threading import Thread

from .errors import netlink_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, TypeVar

    T = TypeVar("T")

NAMES = "/run/netns"  # where ip-netns(8) keeps the namespaces that have a name
CLONE_NEWNET = 0x40000000

PRIVILEGE = "this needs CAP_SYS_ADMIN, too, and for another user's process in /proc CAP_SYS_PTRACE"
HINTS = {
    errno.EPERM: PRIVILEGE,
    errno.EACCES: PRIVILEGE,
    errno.ENOENT: "ip netns lists the names; a path has a slash in it",
    errno.EINVAL: "{path} is no network namespace: give a name of ip netns, or a path such as /proc/PID/ns/net",
    errno.ENOSYS: "this Python has neither os.setns (3.12) nor ctypes: start it there, nsenter --net={path} ipvsnl",
}


def call_inside(netns: "str | int", action: "Callable[[], T]") -> "T":
    """What `action` returns or raises, called in another network namespace: a name of ip netns, any path, or the
    descriptor of one. What keeps it from going there is a NetlinkError."""
    returned: list[T] = []
    raised: list[BaseException] = []

    def go() -> None:
        try:
            _enter(netns)
            returned.append(action())
        except BaseException as error:  # of every kind: all belong to the caller
            raised.append(error)

    thread = Thread(target=go)
    try:
        thread.start()
    except RuntimeError:  # which is how Python says it
        raise netlink_error(errno.EAGAIN, f"starting a thread for the network namespace {netns}") from None
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def _enter(netns: "str | int") -> None:
    """Moves this thread, for good."""
    path = netns if isinstance(netns, int) or "/" in netns else f"{NAMES}/{netns}"
    try:
        if isinstance(path, int):
            _setns(path)
            return
        namespace = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # whatever it is, opening it does not wait
        try:
            _setns(namespace)
        finally:
            os.close(namespace)
    except OSError as error:
        todo = HINTS.get(error.errno or 0, "").format(path=path) or None
        raise netlink_error(error.errno or 0, f"entering the network namespace {netns}", todo=todo) from None


def _setns(namespace: int) -> None:
    if hasattr(os, "setns"):  # since Python 3.12
        os.setns(namespace, CLONE_NEWNET)
        return
    try:
        import ctypes
    except ImportError:  # minimal Pythons lack it
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
