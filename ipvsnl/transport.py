"""The way to the kernel: a generic netlink socket. The only file that does network I/O.

`Transport` is what a connection needs of whatever answers it. capture.py has two more: one that answers from a file,
and one that writes down what another one says.
"""

import errno
import os
from contextlib import suppress

from ._typing import typing
from .errors import NotAvailableError, netlink_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Protocol
else:
    Protocol = object  # importing typing would cost each start of the program


class Transport(Protocol):
    """Datagrams there and back. Failures are OSError. Only `another` may be missing."""

    port: int  # nlmsg_pid of what belongs to this conversation

    @property
    def room(self) -> int:
        """How many bytes the datagram that was received last could have had; 0 if nobody knows."""

    def send(self, request: bytes) -> None: ...

    def recv_into(self, buffer: bytearray) -> int:
        """Waits for the next datagram, puts it into a buffer of BUFFER_SIZE bytes, and returns its length."""

    def drain(self) -> None:
        """Throws away all that is there, without waiting: the rest of an answer that was given up."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def another(self, offer: int) -> "typing.Optional[Transport]":
        """One more to the same kernel, which offers it buffers of so many bytes (NetlinkSocket). None, as without
        this method, where there is no kernel that could be asked again: what was answered is then all there is."""


NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10  # quote only the header of a refused request
NETLINK_EXT_ACK = 11  # say in words why it was refused
SIOCGSKNS = 0x894C  # which network namespace a socket is in (include/uapi/linux/sockios.h)
MSG_TRUNC = 0x20  # tell the true length of what did not fit (include/linux/socket.h)

# The kernel makes each datagram of a dump as large as the largest buffer that this socket has offered before, but no
# larger than LARGEST_ROOM (16 KiB before Linux 4.9: windows.py), and no smaller than a page or 8 KiB without a struct
# skb_shared_info: LEAST_ROOM (netlink_recvmsg() and netlink_dump() in net/netlink/af_netlink.c).
BUFFER_SIZE = 65536
LARGEST_ROOM = 32768 - 768
LEAST_ROOM = 4096 - 768

# It also fills with zeros what it allocates, before it writes a list into that and once more for the end of the list:
# for a short list that is most of the work. This offer is just not too large for kmalloc's 8 KiB.
SMALL_OFFER = 8192 - 320

MESSAGE = 512  # no message of a list is larger: what has room for that was not ended for want of room

# Seconds to wait for a datagram that is not there. The kernel makes them inside send() and recv(): while it does, or
# waits there for the mutex of IPVS, neither this nor a signal counts.
TIMEOUT = 5.0


_forks = 0


def forks() -> int:
    """How many there were on the way from the first process to this one; to ask for its number is a system call."""
    return _forks


def _count_fork() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


class NetlinkSocket:
    """A socket to the generic netlink of one network namespace: of `netns`, a name of ip netns, a path or a descriptor,
    or of that in which it is opened.

    `timeout` is how long to wait for a datagram that is not there, seconds, less than 2**31 / 1000; None is for ever.
    `offer` is how large a buffer to offer, until a datagram has shown that there is more to say than fits.
    """

    def __init__(
        self,
        timeout: "typing.Optional[float]" = TIMEOUT,
        netns: "typing.Union[str, int, None]" = None,
        offer: int = BUFFER_SIZE,
    ) -> None:
        import socket  # not at the top: a replay needs none of it, and importing it is a tenth of a replay's time

        if not hasattr(socket, "AF_NETLINK"):
            raise NotAvailableError("IPVS is a part of Linux, and this system is not: read a capture with --replay")
        if timeout is not None and not 0 < timeout * 1000 <= 2**31 - 1:  # what poll(2) can wait, milliseconds
            raise ValueError(f"a timeout of {timeout} seconds is none, or of more than 24 days; None waits for ever")
        self._timeout, self._netns, self._offer, self._forks = timeout, netns, offer, _forks
        self.room = self._next_room = LEAST_ROOM
        self._socket = _open() if netns is None else _open_inside(netns)
        try:
            self._set_up()
        except OSError as error:
            self._socket.close()
            raise netlink_error(error.errno or 0, "setting up a generic netlink socket") from None
        self.port: int = self._socket.getsockname()[0]

    def _set_up(self) -> None:
        self._socket.setblocking(False)  # recv_into() waits, where there is need; settimeout() would before each call
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

    def recv_into(self, buffer: bytearray) -> int:
        if self._forks != _forks:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        offer = self._offer
        try:
            size = self._socket.recv_into(buffer, offer, MSG_TRUNC)
        except BlockingIOError:  # seldom: the kernel has mostly answered by the time send() returns
            self._wait()
            size = self._socket.recv_into(buffer, offer, MSG_TRUNC)
        # This datagram was made before; the next one, if there is more to come, was made just now.
        self.room, self._next_room = self._next_room, offer if offer < LARGEST_ROOM else LARGEST_ROOM
        if size > self.room - MESSAGE:
            self._offer = BUFFER_SIZE
        if size > offer:  # MSG_TRUNC returns the true length of what did not fit
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return size

    def _wait(self) -> None:
        """Until there is something to receive. Not by SO_RCVTIMEO, which begins anew after each signal (PEP 475)."""
        from select import POLLIN, poll

        waiting = poll()
        try:
            waiting.register(self._socket, POLLIN)
        except ValueError:  # it has been closed just now
            raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None
        if not waiting.poll(None if self._timeout is None else self._timeout * 1000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def drain(self) -> None:
        while self._forks == _forks:
            try:
                self._socket.recv(1)  # takes a whole datagram
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # EAGAIN, at its end; what else there may be the next request meets
                    return

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def another(self, offer: int) -> "NetlinkSocket":
        """One more in the same network namespace, wherever the calling thread and the name have gone since."""
        if self._forks != _forks or self._socket.fileno() < 0:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            namespace = _namespace(self._socket)
        except OSError as error:
            if error.errno not in (errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP):
                raise
            return NetlinkSocket(self._timeout, self._netns, offer)  # before Linux 4.9 a socket does not tell
        try:
            other = NetlinkSocket(self._timeout, None, offer)
            if _is_in(other, namespace):
                return other
            other.close()
            return NetlinkSocket(self._timeout, namespace, offer)
        finally:
            os.close(namespace)


def put(datagram: bytes, buffer: bytearray) -> int:
    """What recv_into() does where the datagram is there already."""
    size = len(datagram)
    if size > len(buffer):
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    buffer[:size] = datagram
    return size


def _open() -> "socket.socket":
    import socket

    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    except OSError as error:
        raise netlink_error(error.errno or 0, "opening a generic netlink socket") from None


def _namespace(opened: "socket.socket") -> int:
    """A file descriptor of the network namespace in which this socket was opened."""
    try:
        from fcntl import ioctl  # seldom needed
    except ImportError:  # in most Pythons it is a file, for which there may be no descriptor left
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE)) from None
    return ioctl(opened.fileno(), SIOCGSKNS)


def _is_in(opened: NetlinkSocket, namespace: int) -> bool:
    try:
        own = _namespace(opened._socket)
    except OSError:
        opened.close()
        raise
    try:
        return os.path.samestat(os.fstat(own), os.fstat(namespace))
    finally:
        os.close(own)


def _open_inside(netns: "str | int") -> "socket.socket":
    try:
        from .netns import call_inside  # seldom needed, and it needs threads
    except OSError as error:  # no descriptor left to read it with
        raise netlink_error(error.errno or 0, "reading netns.py") from None
    return call_inside(netns, _open)
