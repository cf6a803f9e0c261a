"""Generic netlink: messages, requests, dumps and the families that a kernel has.

A datagram holds messages; a message is a struct nlmsghdr (include/uapi/linux/netlink.h) and, in generic netlink, a
struct genlmsghdr (include/uapi/linux/genetlink.h) and attributes. The kernel answers a request with one message, and a
dump with many, ended by NLMSG_DONE; NLMSG_ERROR may come instead of either, at any time.

This file knows no family but nlctrl, which lists all the others, and does no I/O: a `Connection` speaks through a
`transport` (transport.py for a socket, capture.py for a file), so a test or a capture can stand in for the kernel.
"""

from errno import ECANCELED
from struct import Struct

from ._dataclass import dataclass
from .attrs import Nest, text, u16, u32
from .errors import DecodeError, netlink_error
from .transport import BUFFER_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .transport import Transport

NLMSGHDR = Struct("=IHHII")  # nlmsg_len, nlmsg_type, nlmsg_flags, nlmsg_seq, nlmsg_pid
GENLMSGHDR = Struct("=BBH")  # cmd, version, reserved
HEADERS = Struct("=IHHIIBBH")  # both
DONE = Struct("=IHHIIi")  # a plain end of a dump, with its errno
ERRNO = Struct("=i")  # what NLMSG_ERROR and NLMSG_DONE begin with: 0 or a negative errno

MAX_ERRNO = 4095  # include/linux/err.h

NLM_F_REQUEST = 0x01
NLM_F_MULTI = 0x02
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
    """Requests and dumps over one transport, one at a time.

    `request()` and `dump()` are whole conversations. Whoever wants each datagram as it comes calls `begin()`, and while
    the answer is `awaited` `receive()`, and for each datagram `message()` until there is none; from `offset` to `end`
    of `buffer` is what is not yet read of it. Connections may share a buffer, if each datagram is read to its end
    before another one is received.
    """

    def __init__(self, transport: "Transport", buffer: "bytearray | None" = None) -> None:
        self.transport = transport
        self.buffer = buffer or bytearray(BUFFER_SIZE)  # what was received last, in the same place each time
        self.offset = self.end = 0
        self.seq = 0  # of the last request, and so of what answers it
        self.awaited = False  # whether more of the answer may come: not after its end, if that was a good one

    def request(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> bytes:
        """The attributes of the one message that answers, which must be of command `reply`."""
        self.begin(family, 0, command, attributes, doing)
        while self.awaited:
            self.receive(doing)
            message = self.message(doing)
            if message:
                self.awaited = False
                return expect(message, family, reply, doing).attributes()
        raise DecodeError(f"{doing}: the kernel ended a dump where one message belongs")

    def dump(self, family: int, command: int, attributes: bytes, *, reply: int, doing: str) -> "Iterator[Message]":
        """Each message of a dump, until its end."""
        self.begin(family, NLM_F_DUMP, command, attributes, doing)
        seq = self.seq
        while self.awaited:
            self.receive(doing)
            while message := self.message(doing):
                yield expect(message, family, reply, doing)
                if self.seq != seq:
                    todo = "another question was asked before the end of this dump: read one after the other"
                    raise netlink_error(ECANCELED, doing, todo=todo)

    def families(self, name: str = "") -> list[Family]:
        """All families that this kernel has now, or only that of this name. Listing them makes the kernel load no
        module."""
        dump = self.dump(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, b"", reply=CTRL_CMD_NEWFAMILY, doing="listing the families")
        # To look for the name first is quick; most of what the kernel tells of its families is of no interest.
        candidates = [message for message in dump if name.encode() in message.payload]
        found = [_family(message.attributes()) for message in candidates]
        return [family for family in found if name in ("", family.name)]

    def load_family(self, name: str) -> Family:
        """One family by name. Asking so makes the kernel load the module that has it, even for a caller without any
        privilege (ctrl_getfamily() in net/netlink/genetlink.c); an unknown name is ENOENT. A module that does not say
        which family it has is not found so: ip_vs on Linux 5.10, while on 6.1 it is."""
        doing = f"asking for the family {name}"
        attributes = CTRL_ATTRS.encode({"FAMILY_NAME": name})
        return _family(
            self.request(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attributes, reply=CTRL_CMD_NEWFAMILY, doing=doing)
        )

    def begin(self, family: int, flags: int, command: int, attributes: bytes, doing: str) -> None:
        """Send a request, for a dump with the flags NLM_F_DUMP."""
        transport = self.transport
        if self.awaited:
            # The kernel keeps one dump a socket, and answers EBUSY to a second (netlink_dump_start()). What is left of
            # one that was given up need not be waited for: a datagram is filled when the one before it is received.
            # EBUSY comes nevertheless after a dump that stopped for want of memory (ENOBUFS of netlink_dump()). It is
            # received like a datagram, and so sets that dump going again, whose rest is then read here.
            transport.drain()
        self.seq = seq = self.seq % 0xFFFFFFFF + 1
        self.awaited = True  # before it is sent: a signal may end this at any point
        try:
            transport.send(request(family, NLM_F_REQUEST | flags, seq, transport.port, command, attributes))
        except OSError as error:
            raise netlink_error(error.errno or 0, doing) from None

    def receive(self, doing: str) -> None:
        """Wait for the next datagram."""
        try:
            self.end = self.transport.recv_into(self.buffer)
        except OSError as error:
            raise netlink_error(error.errno or 0, doing) from None
        self.offset = 0
        if self.end == DONE.size:  # how nearly every dump ends; every other end message() reads
            plain = DONE.size, NLMSG_DONE, NLM_F_MULTI, self.seq, self.transport.port, 0
            if DONE.unpack_from(self.buffer) == plain:
                self.offset, self.awaited = self.end, False

    def message(self, doing: str) -> "Message | None":
        """The next message of this datagram that answers the last request; others, such as late answers to an earlier
        one, are skipped. None at the datagram's end, and at the answer's, of which no more is `awaited` then. What the
        kernel ended it with, if not well, is raised."""
        while self.offset < self.end:
            offset, self.offset = self.offset, self.end  # what follows a message that can't be read can't be found
            message, self.offset = message_at(self.buffer, offset, self.end)
            if message.seq != self.seq or message.port != self.transport.port or message.type == NLMSG_NOOP:
                continue
            if message.type not in (NLMSG_DONE, NLMSG_ERROR):
                return message
            errno, ext_ack = result(message)
            if errno:
                raise netlink_error(errno, doing, ext_ack)
            self.awaited = False
            self.offset = self.end
        return None


def messages(datagram: bytes) -> "Iterator[Message]":
    """The messages of one datagram."""
    offset = 0
    while offset < len(datagram):
        message, offset = message_at(datagram, offset, len(datagram))
        yield message


def message_at(datagram: "bytes | bytearray", offset: int, end: int) -> "tuple[Message, int]":
    """The message at this offset of a datagram that goes on to `end`, and the offset of the next."""
    left = end - offset
    if left < NLMSGHDR.size:
        raise DecodeError(f"{left} stray bytes after the last message of a datagram")
    length, type, flags, seq, port = NLMSGHDR.unpack_from(datagram, offset)
    if not NLMSGHDR.size <= length <= left:
        raise DecodeError(f"a message of type {type} says {length} bytes, {left} are left")
    payload = bytes(datagram[offset + NLMSGHDR.size : offset + length])
    return Message(type, flags, seq, port, payload), offset + length + -length % 4  # NLMSG_ALIGN


def request(type: int, flags: int, seq: int, port: int, command: int, attributes: bytes) -> bytes:
    """A generic netlink message as bytes."""
    return HEADERS.pack(HEADERS.size + len(attributes), type, flags, seq, port, command, 1, 0) + attributes


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


def expect(message: Message, family: int, reply: int, doing: str) -> Message:
    """The message, which must be of this family and command."""
    if message.type != family or message.command() != reply:
        raise DecodeError(f"{doing}: a message of type {message.type} that is not the reply {reply} of family {family}")
    return message


def _family(attributes: bytes) -> Family:
    values = CTRL_ATTRS.decode(attributes)
    return Family(values["FAMILY_ID"], values["FAMILY_NAME"], values["VERSION"])
