"""Open sockets in other network namespaces.

A socket stays in the namespace in which it was opened, so it is enough to be there for that moment. A namespace belongs
to a thread (setns(2)). A new thread enters it, opens the socket and ends. The calling thread never leaves its own
namespace, whatever fails. There is no way back that could fail, and no need for /proc.
"""

import errno
import os
from collections.abc import Callable

from ._typing import T, socket, typing
from .errors import netlink_error

NAMES = "/run/netns"  # where ip-netns(8) keeps the namespaces that have a name
CLONE_NEWNET = 0x40000000
SIOCGSKNS = 0x894C  # which network namespace a socket is in (include/uapi/linux/sockios.h)

PRIVILEGE = "this also needs CAP_SYS_ADMIN, and for another user's process in /proc CAP_SYS_PTRACE"
REMEDIES = {
    errno.EPERM: PRIVILEGE,
    errno.EACCES: PRIVILEGE,
    errno.ENOENT: "ip netns lists the names; a path has a slash in it",
    errno.EINVAL: "{path} is no network namespace: give a name of ip netns, or a path such as /proc/PID/ns/net",
    errno.ENOSYS: "this Python has neither os.setns (3.12) nor ctypes: start it with nsenter --net={path}",
}


def open_beside(
    opened: "socket.socket", open_one: "Callable[[], socket.socket]", netns: "typing.Union[str, int, None]"
) -> "socket.socket":
    """Open one more socket in the network namespace of `opened`, which was opened in `netns`.

    The calling thread is tried first, which needs no privilege.
    """
    try:
        namespace = _namespace(opened)
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
            raise
        return call_inside(netns, open_one)  # before Linux 4.9 a socket does not tell
    try:
        other = open_one()
        if _is_in(other, namespace):
            return other
        other.close()
        return call_inside(namespace, open_one)
    finally:
        os.close(namespace)


def _namespace(opened: "socket.socket") -> int:
    """Return a file descriptor of the network namespace of this socket."""
    try:
        from fcntl import ioctl  # not at the top: other systems lack it
    except ImportError:  # in most Pythons it is a file, for which there may be no descriptor left
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None
    return ioctl(opened.fileno(), SIOCGSKNS)


def _is_in(opened: "socket.socket", namespace: int) -> bool:
    """Tell whether this socket is in this namespace. Close it if nobody can tell."""
    try:
        own = _namespace(opened)
    except OSError:
        opened.close()
        raise
    try:
        return os.path.samestat(os.fstat(own), os.fstat(namespace))
    finally:
        os.close(own)


def call_inside(netns: "typing.Union[str, int, None]", action: "Callable[[], T]") -> T:
    """Call `action` in a network namespace, and return or raise what it does.

    `netns` is a name of ip netns, a path or a descriptor; None is the namespace of the calling thread. If the namespace
    cannot be entered, raise NetlinkError.
    """
    if netns is None:
        return action()
    try:
        from threading import Thread  # not at the top: most callers stay where they are
    except OSError as error:  # no descriptor is left to read that module
        raise netlink_error(error.errno or 0, f"starting a thread for the network namespace {netns}") from None
    returned: list[T] = []
    raised: list[BaseException] = []

    def go() -> None:
        try:
            _enter(netns)
            returned.append(action())
        except BaseException as error:  # the caller gets all of them
            raised.append(error)

    thread = Thread(target=go)
    try:
        thread.start()
    except RuntimeError:  # Python's error if no thread can be started
        raise netlink_error(errno.EAGAIN, f"starting a thread for the network namespace {netns}") from None
    thread.join()
    if raised:
        raise raised[0]
    return returned[0]


def _enter(netns: "typing.Union[str, int]") -> None:
    """Move this thread into a namespace, for good."""
    path = netns if isinstance(netns, int) or "/" in netns else f"{NAMES}/{netns}"
    try:
        if isinstance(path, int):
            _setns(path)
            return
        namespace = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a FIFO would wait
        try:
            _setns(namespace)
        finally:
            os.close(namespace)
    except OSError as error:
        todo = REMEDIES.get(error.errno or 0, "").format(path=path) or None
        raise netlink_error(error.errno or 0, f"entering the network namespace {netns}", todo=todo) from None


def _setns(namespace: int) -> None:
    if hasattr(os, "setns"):  # since Python 3.12
        os.setns(namespace, CLONE_NEWNET)
        return
    try:
        import ctypes
    except ImportError:  # python3-minimal lacks it
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS)) from None
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
