"""The way to the kernel: a generic netlink socket. The only file that does network I/O.

`Transport` is what a connection needs of whatever answers it. capture.py has two more: one that answers from a file,
and one that writes down what another one says.
"""

import errno
import os
import socket
from contextlib import suppress
from struct import pack

from .errors import NotAvailableError, netlink_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Transport(Protocol):
        """Datagrams there and back. Failures are OSError."""

        port: int  # nlmsg_pid of what belongs to this conversation

        def send(self, request: bytes) -> None: ...

        def recv(self) -> bytes: ...

        def fileno(self) -> int: ...

        def close(self) -> None: ...

        def another(self) -> "Transport | None":
            """One more to the same kernel, whose datagrams end elsewhere. None, as without this method, where there is
            no kernel that could be asked again: what was answered is then all there is."""


NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10  # quote only the header of a refused request
SIOCGSKNS = 0x894C  # which network namespace a socket is in (include/uapi/linux/sockios.h)
NETLINK_EXT_ACK = 11  # say in words why it was refused

# netlink_recvmsg() remembers the largest buffer that it was offered and fills datagrams up to that, at most 32 KiB.
BUFFER_SIZE = 65536
# What another() offers first. The datagrams from such a socket end half-way in those from one that was in use before.
SMALL_BUFFER_SIZE = 12288

TIMEOUT = 5.0  # seconds; the kernel answers in microseconds, unless its mutex is held by a very long list of changes


_forks = 0  # how many there were on the way from the first process to this one


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class NetlinkSocket:
    """A socket to the generic netlink of one network namespace: of `netns`, a name of ip netns or a path, or of that in
    which it is opened.

    `timeout` is how long one recv() waits, seconds; None is for ever.
    """

    def __init__(self, timeout: "float | None" = TIMEOUT, netns: "str | None" = None) -> None:
        if not hasattr(socket, "AF_NETLINK"):
            raise NotAvailableError("IPVS is a part of Linux, and this system is not: read a capture with --replay")
        if timeout is not None and not 0 < timeout < 2**31:
            raise ValueError(f"a timeout of {timeout} seconds is none; None waits for ever")
        self._timeout, self._netns, self._forks = timeout, netns, _forks
        self._socket = _open() if netns is None else _open_inside(netns)
        try:
            self._set_up(timeout)
        except OSError as error:
            self._socket.close()
            raise netlink_error(error.errno or 0, "setting up a generic netlink socket") from None
        self.port: int = self._socket.getsockname()[0]
        self._buffer = memoryview(bytearray(BUFFER_SIZE))  # once: the kernel fills it, and nothing else is touched
        self._size = BUFFER_SIZE  # how much of it is offered next

    def _set_up(self, timeout: "float | None") -> None:
        self._socket.setblocking(True)  # whatever the program has set by socket.setdefaulttimeout()
        if timeout is not None:
            # Not settimeout(): that makes Python poll() before each call, two more system calls for each dump.
            seconds, microseconds = divmod(max(round(timeout * 1_000_000), 1), 1_000_000)  # 0 would be for ever
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, pack("@ll", seconds, microseconds))
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            with suppress(OSError):  # before Linux 4.3 and 4.12: errors then come without words
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        # A connected netlink socket takes datagrams from that port alone, here the kernel's: no other process can
        # slip in an answer (netlink_getsockbyportid() in net/netlink/af_netlink.c).
        self._socket.connect((0, 0))

    def send(self, request: bytes) -> None:
        if self._forks != _forks:  # a child that read its parent's answers would take them away
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._socket.send(request)

    def recv(self) -> bytes:
        try:
            size = self._socket.recv_into(self._buffer, self._size, socket.MSG_TRUNC)
        except BlockingIOError:  # how SO_RCVTIMEO ends
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        offered, self._size = self._size, BUFFER_SIZE
        if size > offered:  # MSG_TRUNC returns the true length of what did not fit
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return bytes(self._buffer[:size])

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def another(self) -> "NetlinkSocket":
        """One more in the same network namespace, wherever the calling thread and the name have gone since."""
        try:
            namespace = _namespace(self._socket)
        except OSError:  # before Linux 4.9 a socket does not tell
            other = NetlinkSocket(self._timeout, self._netns)
        else:
            try:
                other = NetlinkSocket(self._timeout)
                if not _is_in(other._socket, namespace):
                    other.close()
                    other = NetlinkSocket(self._timeout, f"/proc/self/fd/{namespace}")
            finally:
                os.close(namespace)
        other._size = SMALL_BUFFER_SIZE
        return other


def _open() -> "socket.socket":
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    except OSError as error:
        raise netlink_error(error.errno or 0, "opening a generic netlink socket") from None


def _namespace(opened: "socket.socket") -> int:
    """A file descriptor of the network namespace in which this socket was opened."""
    from fcntl import ioctl  # seldom needed

    return ioctl(opened.fileno(), SIOCGSKNS)


def _is_in(opened: "socket.socket", namespace: int) -> bool:
    own = _namespace(opened)
    try:
        return os.path.samestat(os.fstat(own), os.fstat(namespace))
    finally:
        os.close(own)


def _open_inside(netns: str) -> "socket.socket":
    from .netns import call_inside  # seldom needed, and it needs threads

    return call_inside(netns, _open)
