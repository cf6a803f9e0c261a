"""Send requests to the kernel, and receive datagrams: a generic netlink socket. No other file does network I/O.

`Transport` is what genl.Connection needs. A socket is one; a capture file or a kernel for tests can be another.
"""

import errno
import os
import sys
from contextlib import suppress

from . import netns as namespaces
from ._typing import Protocol, socket, typing
from .errors import NotAvailableError, netlink_error


class Transport(Protocol):
    """Send and receive datagrams. Failures are OSError. Only `another` may be missing."""

    port: int  # nlmsg_pid of the messages that belong to this socket

    @property
    def room(self) -> int:
        """Return how many bytes the datagram that was received last could hold, at least; 0 if unknown."""

    def send(self, request: bytes) -> None: ...

    def recv_into(self, buffer: bytearray) -> int:
        """Wait for the next datagram, put it into a buffer of BUFFER_SIZE bytes, and return its length."""

    def drain(self) -> None:
        """Discard all datagrams that wait, without waiting for more: the rest of a reply that is not wanted."""

    def fileno(self) -> int: ...

    def close(self) -> None: ...

    def another(self, offer: int, largest: int = ...) -> "typing.Optional[Transport]":
        """Open one more to the same kernel, which offers buffers of so many bytes (NetlinkSocket).

        Return None, or lack this method, if no kernel can be asked again: each dump is then read once.
        """


NETLINK_GENERIC = 16
SOL_NETLINK = 270
NETLINK_CAP_ACK = 10  # quote only the header of a refused request
NETLINK_EXT_ACK = 11  # send a text with an error
NLM_F_DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
MSG_TRUNC = 0x20  # return the true length of a datagram that did not fit (include/linux/socket.h)

SOL_SOCKET, SO_MEMINFO = 1, 55  # how much memory the datagrams that wait take (include/uapi/asm-generic/socket.h)

# The kernel allocates for each datagram of a dump as many bytes as the largest buffer that recv() on this socket was
# called with before, but at most 32 KiB. Without an offer, and if that allocation fails, it allocates a page, or 8 KiB
# if pages are larger. struct skb_shared_info takes up to 768 bytes at the end of each block. (netlink_recvmsg() and
# netlink_dump() in net/netlink/af_netlink.c)
BUFFER_SIZE = 65536
SHARED_INFO = 768
LARGEST_ROOM = 32768 - SHARED_INFO
LEAST_ROOM = 4096 - SHARED_INFO

# Before Linux 4.12 there is no SO_MEMINFO. It is then assumed that no allocation failed, and that datagrams have at
# most 16 KiB, which is the kernel's limit before 4.9.
ASSUMED_ROOM = 16384 - SHARED_INFO

# The kernel fills each buffer with zeros, two for each dump. For a short dump that is most of the work. This offer fits
# kmalloc's 8 KiB. The kernel finds such a block even if memory is fragmented; 32 KiB need eight pages in a row.
SMALL_OFFER = 8192 - 320

MESSAGE = 512  # no message is larger: if a datagram could hold that many bytes more, the dump ended with it

DRAINED = 1000  # datagrams that drain() discards: a dump of a list that grows all the time may never end

# Seconds to wait for a datagram. The kernel fills datagrams inside send() and recv(). While it works there, or waits
# for a mutex, neither this timeout nor a signal has an effect.
TIMEOUT = 5.0


class NetlinkSocket:
    """A socket to the generic netlink of one network namespace.

    `timeout` is how many seconds to wait for a datagram, less than 2**31 / 1000; None waits for ever. `netns` is the
    namespace: a name of ip netns, a path or a descriptor; None is that of the calling thread. `offer` is how large a
    buffer to offer at first. After a datagram that may have been full the socket offers `largest` bytes. `beside` is a
    socket that was opened in `netns`: open this one in the same namespace, even if the name now means another.
    """

    def __init__(
        self,
        timeout: "typing.Optional[float]" = TIMEOUT,
        netns: "typing.Union[str, int, None]" = None,
        offer: int = BUFFER_SIZE,
        largest: int = BUFFER_SIZE,
        beside: "typing.Optional[socket.socket]" = None,
    ) -> None:
        if not hasattr(socket, "AF_NETLINK"):
            raise NotAvailableError("netlink is a part of Linux, and this system is not Linux")
        is_number = isinstance(timeout, (int, float))
        if timeout is not None and not (is_number and 0 < timeout * 1000 <= 2**31 - 1):  # what poll(2) can wait
            most = (2**31 - 1) // 1000
            raise ValueError(f"a timeout of {timeout!r} seconds: it is more than 0 and at most {most}, or None")
        self._timeout, self._netns, self._offer, self._largest = timeout, netns, offer, largest
        self._process = os.getpid()
        self.room = 0
        self._offered = LEAST_ROOM  # how many bytes the kernel tries to allocate for the next datagram, at least
        self._enough = 4096  # the smallest block with that many bytes
        self._asks = True  # for the room of the next datagram
        self._socket = (
            namespaces.call_inside(netns, _open) if beside is None else namespaces.open_beside(beside, _open, netns)
        )
        try:
            self._set_up()
        except OSError as error:
            self._socket.close()
            raise netlink_error(error.errno or 0, "setting up a generic netlink socket") from None
        self.port: int = self._socket.getsockname()[0]

    def _set_up(self) -> None:
        self._socket.setblocking(False)  # recv_into() waits if it must; settimeout() would wait before each call
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            with suppress(OSError):  # before Linux 4.3 and 4.12: errors then come without a text
                self._socket.setsockopt(SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        # A connected netlink socket takes datagrams from that port alone, here the kernel's: no other process can
        # insert a reply (netlink_getsockbyportid() in net/netlink/af_netlink.c).
        self._socket.connect((0, 0))

    def send(self, request: bytes) -> None:
        self._asks = bool(NLM_F_DUMP & int.from_bytes(request[6:8], sys.byteorder))  # in nlmsg_flags
        self._socket.send(request)

    def recv_into(self, buffer: bytearray) -> int:
        offer = self._offer
        try:
            room = self._room_of_next() if self._asks else 0
            size = self._socket.recv_into(buffer, offer, MSG_TRUNC)
        except BlockingIOError:  # rare: the kernel has nearly always replied when send() returns
            self._wait()
            room = self._room_of_next() if self._asks else 0
            size = self._socket.recv_into(buffer, offer, MSG_TRUNC)
        self.room = room
        if offer > self._offered:  # the kernel knew it when it filled the next datagram, which was just now
            self._offered = min(offer, LARGEST_ROOM)
            self._enough = 1 << self._offered.bit_length()
        if self._asks:
            self._asks = size + MESSAGE > room  # after a datagram that was not full nothing of interest follows
            if self._asks:
                self._offer = self._largest
        if size > offer:  # MSG_TRUNC returns the true length of a datagram that did not fit
            self._offer = self._largest
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        return size

    def _room_of_next(self) -> int:
        """Return how many bytes the datagram that waits could hold, at least."""
        try:
            memory = self._socket.getsockopt(SOL_SOCKET, SO_MEMINFO)  # the first number is sk_rmem_alloc
        except OSError:
            return min(self._offered, ASSUMED_ROOM)
        # That is a block, whose size is a power of two, and a struct sk_buff, which is smaller. Only the block of a
        # reply that belongs to no dump may be smaller than a page.
        if memory >= self._enough:
            return self._offered
        block: int = 1 << memory.bit_length() >> 1
        return max(block - SHARED_INFO, LEAST_ROOM)

    def _wait(self) -> None:
        """Wait until there is something to receive. SO_RCVTIMEO would start again after each signal (PEP 475)."""
        from select import POLLIN, poll

        waiting = poll()
        try:
            waiting.register(self._socket, POLLIN)
        except ValueError:  # another thread has just closed it
            raise _closed() from None
        if not waiting.poll(None if self._timeout is None else self._timeout * 1000):
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))

    def drain(self) -> None:
        if self._process != os.getpid():
            return
        for _ in range(DRAINED):
            try:
                self._socket.recv(1)  # takes a whole datagram
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # EAGAIN if nothing is left; the next request meets all else
                    return

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def another(self, offer: int, largest: int = BUFFER_SIZE) -> "NetlinkSocket":
        """Open one more in the same network namespace, even if the calling thread or the name has moved to another."""
        if self._process != os.getpid() or self._socket.fileno() < 0:
            raise _closed()
        return NetlinkSocket(self._timeout, self._netns, offer, largest, self._socket)


def _closed() -> OSError:
    return OSError(errno.EBADF, os.strerror(errno.EBADF))


def put(datagram: bytes, buffer: bytearray) -> int:
    """Do what recv_into() does with a datagram that is already there."""
    size = len(datagram)
    if size > len(buffer):
        raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
    buffer[:size] = datagram
    return size


def _open() -> "socket.socket":
    try:
        return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
    except OSError as error:
        raise netlink_error(error.errno or 0, "opening a generic netlink socket") from None
