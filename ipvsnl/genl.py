"""Speak generic netlink: messages, requests, dumps and the families of a kernel.

A datagram holds messages. A message is a struct nlmsghdr (include/uapi/linux/netlink.h) and, in generic netlink, a
struct genlmsghdr (include/uapi/linux/genetlink.h) and attributes. The kernel replies to a request with one message. It
replies to a dump with many, and NLMSG_DONE ends them. NLMSG_ERROR may replace either, at any time.

This file knows no family but nlctrl, which lists the families, and does no I/O. A `Connection` sends and receives over
a `transport`: a socket (transport.py), or a replacement for the kernel, such as a capture.
"""

import os
from collections.abc import Iterator
from errno import EBADF, ECANCELED
from struct import Struct

from ._dataclass import dataclass
from ._typing import typing
from .attrs import Nest, text, u16, u32
from .errors import DecodeError, DumpInterruptedError, netlink_error
from .transport import BUFFER_SIZE, Transport
from .transport import NLM_F_DUMP as NLM_F_DUMP

NLMSGHDR = Struct("=IHHII")  # nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
GENLMSGHDR = Struct("=BBH")  # cmd, version, reserved
HEADERS = Struct("=IHHIIBBH")  # both
DONE = Struct("=IHHIIi")  # NLMSG_DONE with its errno and no more
ERRNO = Struct("=i")  # the first payload of NLMSG_ERROR and NLMSG_DONE: 0 or a negative errno

MAX_ERRNO = 4095  # include/linux/err.h

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
NLM_F_ACK = 0x04  # reply to a request that succeeds as well
NLM_F_DUMP_INTR = 0x10  # in any message of a dump: entries changed during the dump
NLM_F_CAPPED = 0x100  # in an error: the request is quoted without its payload (NETLINK_CAP_ACK)
NLM_F_ACK_TLVS = 0x200  # in an error: attributes follow (NETLINK_EXT_ACK)

NLMSG_NOOP = 1
NLMSG_ERROR = 2
NLMSG_DONE = 3

GENL_ID_CTRL = 0x10
CTRL_CMD_NEWFAMILY = 1
CTRL_CMD_GETFAMILY = 3
CTRL_ATTRS = Nest("CTRL_ATTR", {1: ("FAMILY_ID", u16), 2: ("FAMILY_NAME", text), 3: ("VERSION", u32)})
ERROR_ATTRS = Nest("NLMSGERR_ATTR", {1: ("MSG", text)})


@dataclass
class Message:
    """One netlink message. `port` is nlmsg_pid, and `payload` is what follows the struct nlmsghdr."""

    type: int
    flags: int
    seq: int
    port: int
    payload: bytes

    def command(self) -> int:
        """Return the command, which is in the struct genlmsghdr."""
        if len(self.payload) < GENLMSGHDR.size:
            raise DecodeError(f"a generic netlink message has {len(self.payload)} bytes, but its header alone has 4")
        return self.payload[0]

    def attributes(self) -> bytes:
        """Return what follows the struct genlmsghdr."""
        return self.payload[GENLMSGHDR.size :]


@dataclass
class Family:
    """A generic netlink family. Its name is fixed, but the kernel assigns a new id at each registration."""

    id: int
    name: str
    version: int


class Connection:
    """Requests and dumps over one transport, one at a time.

    `request()` and `dump()` read a whole reply. To read it by datagrams, call `begin()`. While the end of the reply is
    `awaited`, call `receive()`, and for each datagram call `message()` until it returns None. The unread part of the
    datagram is in `buffer`, from `offset` to `end`. Connections may share a buffer if each datagram is read to its end
    before another one is received.
    """

    def __init__(self, transport: Transport, buffer: "typing.Optional[bytearray]" = None) -> None:
        self.transport = transport
        self.buffer = buffer or bytearray(BUFFER_SIZE)
        self.offset = self.end = 0
        self.seq = 0  # of the last request, and of each message that replies to it
        self.awaited = False  # more of the reply may come; an error does not change that
        self._process = os.getpid()

    def check_process(self, doing: str) -> None:
        """Raise NetlinkError (EBADF) in a forked child, which would take replies away from its parent."""
        if self._process != os.getpid():
            raise netlink_error(EBADF, doing)

    def request(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> bytes:
        """Send a request, and return the attributes of the reply: one message, with the command `reply`."""
        self.begin(family, 0, command, attributes, doing)
        while self.awaited:
            self.receive(doing)
            message = self.message(doing)
            if message:
                self.awaited = False
                return expect(message, family, reply, doing).attributes()
        raise DecodeError(f"{doing}: the kernel sent the end of a dump instead of a message")

    def dump(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> "Iterator[Message]":
        """Yield each message of a dump.

        Raise DumpInterruptedError if the kernel says that entries changed during the dump (NLM_F_DUMP_INTR). The dump
        may then lack entries or repeat some.
        """
        self.begin(family, NLM_F_DUMP, command, attributes, doing)
        seq = self.seq
        while self.awaited:
            self.receive(doing)
            while message := self.message(doing):
                yield expect(message, family, reply, doing)
                if self.seq != seq:
                    todo = "another request was sent before the end of this dump: read one after the other"
                    raise netlink_error(ECANCELED, doing, todo=todo)

    def families(self, name: str = "") -> list[Family]:
        """Return all families that this kernel has now, or the one of this name. This loads no module."""
        dump = self.dump(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, b"", reply=CTRL_CMD_NEWFAMILY, doing="listing the families")
        # Only messages that contain the name are decoded, because families have many attributes.
        candidates = [message for message in dump if name.encode() in message.payload]
        found = [_decode_family(message.attributes()) for message in candidates]
        return [family for family in found if name in ("", family.name)]

    def load_family(self, name: str) -> Family:
        """Return one family by name. If there is none, raise NetlinkError with ENOENT.

        The kernel loads the module that declares the family, even for a caller without privilege (ctrl_getfamily() in
        net/netlink/genetlink.c).
        """
        doing = f"reading the family {name}"
        wanted = CTRL_ATTRS.encode({"FAMILY_NAME": name})
        return _decode_family(
            self.request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, wanted, reply=CTRL_CMD_NEWFAMILY, doing=doing)
        )

    def begin(self, family: int, flags: int, command: int, attributes: bytes, doing: str) -> None:
        """Send a request; `flags` is NLM_F_DUMP for a dump, else 0."""
        self.check_process(doing)
        transport = self.transport
        if self.awaited:
            # The kernel runs one dump a socket, and refuses a second one with EBUSY (netlink_dump_start()). The rest of
            # an unread dump needs no waiting, because each recv() fills the next datagram. EBUSY may still come after a
            # dump that stopped because memory was short (ENOBUFS of netlink_dump()). Receiving it continues that dump,
            # and the next request drains the rest.
            transport.drain()
        self.seq = seq = self.seq % 0xFFFFFFFF + 1
        self.awaited = True  # before send(), because a signal handler may raise at any point
        try:
            transport.send(request(family, NLM_F_REQUEST | flags, seq, transport.port, command, attributes))
        except OSError as error:
            raise netlink_error(error.errno or 0, doing) from None

    def receive(self, doing: str) -> None:
        """Receive the next datagram."""
        self.check_process(doing)
        try:
            self.end = self.transport.recv_into(self.buffer)
        except OSError as error:
            raise netlink_error(error.errno or 0, doing) from None
        self.offset = 0
        if self.end == DONE.size:  # nearly every dump ends so; message() handles all other ends
            plain = DONE.size, NLMSG_DONE, NLM_F_MULTI, self.seq, self.transport.port, 0
            if DONE.unpack_from(self.buffer) == plain:
                self.offset, self.awaited = self.end, False

    def message(self, doing: str) -> "typing.Optional[Message]":
        """Return the next message of this datagram that replies to the last request. Skip all other messages.

        Return None at the end of the datagram. At the end of the reply, also set `awaited` to False. Raise an error
        that the kernel sent.
        """
        while self.offset < self.end:
            offset, self.offset = self.offset, self.end  # if this message is malformed, the next has no known offset
            message, self.offset = message_at(self.buffer, offset, self.end)
            if message.seq != self.seq or message.port != self.transport.port or message.type == NLMSG_NOOP:
                continue
            if message.flags & NLM_F_DUMP_INTR:
                raise DumpInterruptedError([], f"{doing}: the kernel says that entries changed during the dump")
            if message.type not in (NLMSG_DONE, NLMSG_ERROR):
                return message
            errno, ext_ack = result(message)
            if errno:
                raise netlink_error(errno, doing, ext_ack)
            self.awaited = False
            self.offset = self.end
        return None


def messages(datagram: bytes) -> "Iterator[Message]":
    """Yield the messages of one datagram."""
    offset = 0
    while offset < len(datagram):
        message, offset = message_at(datagram, offset, len(datagram))
        yield message


def message_at(datagram: "typing.Union[bytes, bytearray]", offset: int, end: int) -> "tuple[Message, int]":
    """Return the message at this offset of a datagram that ends at `end`, and the offset of the next."""
    left = end - offset
    if left < NLMSGHDR.size:
        raise DecodeError(f"{left} stray bytes after the last message of a datagram")
    length, type, flags, seq, port = NLMSGHDR.unpack_from(datagram, offset)
    if not NLMSGHDR.size <= length <= left:
        raise DecodeError(f"a message of type {type} says {length} bytes, {left} are left")
    payload = bytes(datagram[offset + NLMSGHDR.size : offset + length])
    return Message(type, flags, seq, port, payload), offset + length + -length % 4  # NLMSG_ALIGN


def request(type: int, flags: int, seq: int, port: int, command: int, attributes: bytes) -> bytes:
    """Return a generic netlink message as bytes."""
    return HEADERS.pack(HEADERS.size + len(attributes), type, flags, seq, port, command, 1, 0) + attributes


def result(message: Message) -> "tuple[int, typing.Optional[str]]":
    """Return the errno of an NLMSG_ERROR or NLMSG_DONE, 0 for success, and the kernel's text or None."""
    if len(message.payload) < ERRNO.size:
        raise DecodeError(f"the end of a reply has {len(message.payload)} bytes, but an errno alone has 4")
    errno = -ERRNO.unpack_from(message.payload)[0]
    if not 0 <= errno <= MAX_ERRNO:
        raise DecodeError(f"the end of a reply carries {-errno}, which is no negative errno")
    if not message.flags & NLM_F_ACK_TLVS:
        return errno, None
    offset = ERRNO.size
    if message.type == NLMSG_ERROR:  # struct nlmsgerr quotes the header of the request, and unless capped the payload
        quoted = NLMSGHDR.size
        if not message.flags & NLM_F_CAPPED and errno:
            quoted = int(u32.decode(message.payload[offset : offset + u32.struct.size]))
        offset += quoted + -quoted % 4
    return errno, ERROR_ATTRS.decode(message.payload[offset:]).get("MSG")


def expect(message: Message, family: int, reply: int, doing: str) -> Message:
    """Return the message. Raise DecodeError if it has another family or command."""
    if message.type != family or message.command() != reply:
        raise DecodeError(f"{doing}: a message of type {message.type} that is not the reply {reply} of family {family}")
    return message


def _decode_family(attributes: bytes) -> Family:
    values = CTRL_ATTRS.decode(attributes)
    return Family(values["FAMILY_ID"], values["FAMILY_NAME"], values["VERSION"])
