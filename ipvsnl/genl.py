"""Generic netlink: messages, requests, dumps and the families that a kernel has.

A datagram holds messages; a message is a struct nlmsghdr (include/uapi/linux/netlink.h) and, in generic netlink, a
struct genlmsghdr (include/uapi/linux/genetlink.h) and attributes. The kernel answers a request with one message, and a
dump with many, ended by NLMSG_DONE; NLMSG_ERROR may come instead of either, at any time.

This file knows no family but nlctrl, which lists all the others, and does no I/O: a `Connection` speaks through a
`transport` (transport.py for a socket, capture.py for a file), so a test or a capture can stand in for the kernel.
"""

from struct import Struct

from .attrs import Nest, text, u16, u32
from .dataclass import dataclass
from .errors import DecodeError, NetlinkError, netlink_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Callable

    from .transport import Transport

    Take = Callable[[bytes, int, int, int], int]

NLMSGHDR = Struct("=IHHII")  # nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
GENLMSGHDR = Struct("=BBH")  # cmd, version, reserved
ERRNO = Struct("=i")  # what NLMSG_ERROR and NLMSG_DONE begin with: 0 or a negative errno

MAX_ERRNO = 4095  # include/linux/err.h

NLM_F_REQUEST = 0x01
NLM_F_DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
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
    """One netlink message: `port` is nlmsg_pid, `payload` all that follows the struct nlmsghdr."""

    type: int
    flags: int
    seq: int
    port: int
    payload: bytes

    def command(self) -> int:
        """The generic netlink command, cmd of the struct genlmsghdr."""
        if len(self.payload) < GENLMSGHDR.size:
            raise DecodeError(f"a generic netlink message with {len(self.payload)} bytes, its header alone has 4")
        return self.payload[0]

    def attributes(self) -> bytes:
        """What follows the struct genlmsghdr."""
        return self.payload[GENLMSGHDR.size :]


@dataclass
class Family:
    """A generic netlink family as nlctrl lists it: the id is given anew at each registration, the name is fixed."""

    id: int
    name: str
    version: int


class Connection:
    """Requests and dumps over one transport, one at a time."""

    def __init__(self, transport: "Transport") -> None:
        self.transport = transport
        self._seq = 0
        self._dumping = False  # a dump was begun and its end not yet read
        self._datagram, self._offset = b"", 0  # what was received last, and how much of it is read

    def request(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> bytes:
        """The attributes of the one message that answers, which must be of command `reply`."""
        self._send(family, 0, command, attributes, doing)
        for message in self._replies(doing):
            return _expect(message, family, reply, doing).attributes()
        raise DecodeError(f"{doing}: the kernel ended a dump where one message belongs")

    def dump(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> "Iterator[Message]":
        """Each message of a dump, until its end."""
        self._send(family, NLM_F_DUMP, command, attributes, doing)
        for message in self._replies(doing):
            yield _expect(message, family, reply, doing)

    def datagrams(
        self, family: int, command: int, attributes: bytes, *, reply: int, doing: str, take: "Take"
    ) -> "Iterator[Message | None]":
        """As dump(), but begun at once; and None between the messages of one datagram and of the next. `take` may read
        some messages first: it is called with a datagram, an offset, and the sequence number and port of answers, and
        returns the offset of the first message that it leaves to us."""
        self._send(family, NLM_F_DUMP, command, attributes, doing)
        messages = self._messages(doing, take)
        return (message and _expect(message, family, reply, doing) for message in messages)

    def families(self) -> list[Family]:
        """All families that this kernel has now. Listing them makes the kernel load no module."""
        dump = self.dump(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, b"", reply=CTRL_CMD_NEWFAMILY, doing="listing the families")
        return [_family(message.attributes()) for message in dump]

    def load_family(self, name: str) -> Family:
        """One family by name. Asking so makes the kernel load the module that has it, even for a caller without any
        privilege (ctrl_getfamily() in net/netlink/genetlink.c); an unknown name is ENOENT. A module that does not say
        which family it has is not found so: ip_vs on Linux 5.10, while on 6.1 it is."""
        doing = f"asking for the family {name}"
        attributes = CTRL_ATTRS.encode({"FAMILY_NAME": name})
        return _family(
            self.request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attributes, reply=CTRL_CMD_NEWFAMILY, doing=doing)
        )

    def _send(self, family: int, flags: int, command: int, attributes: bytes, doing: str) -> None:
        while self._dumping:
            # The kernel keeps one dump a socket and answers EBUSY to a second (netlink_dump_start()): read what is left
            # of one that was given up. Where its end does not come, it is for the kernel to say whether it is busy.
            try:
                for _ in self._replies("reading the rest of a dump that was given up"):
                    pass
            except DecodeError:
                continue
            except NetlinkError:
                break
        self._seq = self._seq % 0xFFFFFFFF + 1
        message = request(family, NLM_F_REQUEST | flags, self._seq, self.transport.port, command, attributes)
        try:
            self.transport.send(message)
        except OSError as error:
            raise netlink_error(error.errno or 0, doing) from None
        self._dumping = flags == NLM_F_DUMP
        self._datagram, self._offset = b"", 0

    def _replies(self, doing: str) -> "Iterator[Message]":
        """The messages that answer the last request; others, such as late answers to an earlier one, are skipped."""
        return (message for message in self._messages(doing) if message)

    def _messages(self, doing: str, take: "Take | None" = None) -> "Iterator[Message | None]":
        """The same, and None after each datagram but the last."""
        while True:
            if self._offset >= len(self._datagram):
                if self._datagram:
                    yield None
                try:
                    self._datagram, self._offset = self.transport.recv(), 0
                except OSError as error:
                    raise netlink_error(error.errno or 0, doing) from None
            datagram, offset = self._datagram, self._offset
            if take:
                self._offset = take(datagram, offset, self._seq, self.transport.port)
                if self._offset > offset:
                    continue
            self._offset = len(datagram)  # what follows a message that can't be read can't be found
            message, self._offset = message_at(datagram, offset)
            if message.seq != self._seq or message.port != self.transport.port or message.type == NLMSG_NOOP:
                continue
            if message.type in (NLMSG_DONE, NLMSG_ERROR):
                self._dumping = False
                errno, ext_ack = result(message)
                if errno:
                    raise netlink_error(errno, doing, ext_ack)
                return
            yield message


def messages(datagram: bytes) -> "Iterator[Message]":
    """The messages of one datagram."""
    offset = 0
    while offset < len(datagram):
        message, offset = message_at(datagram, offset)
        yield message


def message_at(datagram: bytes, offset: int) -> "tuple[Message, int]":
    """The message at this offset of a datagram, and the offset of the next."""
    left = len(datagram) - offset
    if left < NLMSGHDR.size:
        raise DecodeError(f"{left} stray bytes after the last message of a datagram")
    length, type, flags, seq, port = NLMSGHDR.unpack_from(datagram, offset)
    if not NLMSGHDR.size <= length <= left:
        raise DecodeError(f"a message of type {type} says {length} bytes, {left} are left")
    payload = datagram[offset + NLMSGHDR.size : offset + length]
    return Message(type, flags, seq, port, payload), offset + length + -length % 4  # NLMSG_ALIGN


def request(type: int, flags: int, seq: int, port: int, command: int, attributes: bytes) -> bytes:
    """A generic netlink message as bytes."""
    length = NLMSGHDR.size + GENLMSGHDR.size + len(attributes)
    return NLMSGHDR.pack(length, type, flags, seq, port) + GENLMSGHDR.pack(command, 1, 0) + attributes


def result(message: Message) -> "tuple[int, str | None]":
    """The errno, 0 for success, of an NLMSG_ERROR or NLMSG_DONE, and the kernel's text about it, if it sent one."""
    if len(message.payload) < ERRNO.size:
        raise DecodeError(f"the end of an answer has {len(message.payload)} bytes, an errno alone has 4")
    errno = -ERRNO.unpack_from(message.payload)[0]
    if not 0 <= errno <= MAX_ERRNO:
        raise DecodeError(f"the end of an answer carries {-errno}, which is no negative errno")
    if not message.flags & NLM_F_ACK_TLVS:
        return errno, None
    offset = ERRNO.size
    if message.type == NLMSG_ERROR:  # struct nlmsgerr quotes the request: its header, and its payload unless capped
        quoted = NLMSGHDR.size
        if not message.flags & NLM_F_CAPPED and errno:
            quoted = int(u32.decode(message.payload[offset : offset + u32.struct.size]))
        offset += quoted + -quoted % 4
    return errno, ERROR_ATTRS.decode(message.payload[offset:]).get("MSG")


def _expect(message: Message, family: int, reply: int, doing: str) -> Message:
    if message.type != family or message.command() != reply:
        raise DecodeError(f"{doing}: a message of type {message.type} that is not the reply {reply} of family {family}")
    return message


def _family(attributes: bytes) -> Family:
    values = CTRL_ATTRS.decode(attributes)
    return Family(values["FAMILY_ID"], values["FAMILY_NAME"], values["VERSION"])
