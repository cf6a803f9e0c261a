"""Netlink as bytes, made with nothing but struct, so that no decoder is tested with its own encoder; a kernel that
answers from a script; and pcap records.

The layouts are those of netlink(7) and pcap-savefile(5), the numbers those of include/uapi/linux/{netlink,genetlink,
ip_vs}.h. An attribute is a pair (type, payload), its payload bytes or a list of attributes, so that a test can
rearrange a whole tree before `pack()` turns it to bytes.
"""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from typing import Any, NamedTuple, Union

Tree = list[tuple[int, Any]]  # [(type, payload)], where a payload is bytes or a Tree
Reply = Union[bytes, OSError]

BYTE_ORDER = sys.byteorder
PORT = 4711  # of the client that a scripted kernel talks to

NLM_F_REQUEST, NLM_F_MULTI, NLM_F_ACK, NLM_F_DUMP = 0x01, 0x02, 0x04, 0x300
NLM_F_DUMP_INTR, NLM_F_CAPPED, NLM_F_ACK_TLVS = 0x10, 0x100, 0x200
NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE = 1, 2, 3
NLA_F_NESTED, NLA_F_NET_BYTEORDER = 0x8000, 0x4000

NLCTRL, NEWFAMILY, GETFAMILY = 0x10, 1, 3
IPVS = 0x20  # the id that the scripted kernel gives to IPVS; real ones differ
NEW_SERVICE, SET_SERVICE, DEL_SERVICE, GET_SERVICE, NEW_DEST, SET_DEST, DEL_DEST, GET_DEST = range(1, 9)
NEW_DAEMON, DEL_DAEMON, GET_DAEMON, SET_CONFIG, GET_CONFIG, SET_INFO, GET_INFO, ZERO, FLUSH = range(9, 18)

CMD_SERVICE, CMD_DEST, CMD_DAEMON = 1, 2, 3


def _numbered(names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), 1)}


SVC = _numbered("AF PROTOCOL ADDR PORT FWMARK SCHED_NAME FLAGS TIMEOUT NETMASK STATS PE_NAME STATS64")
DEST = _numbered(
    "ADDR PORT FWD_METHOD WEIGHT U_THRESH L_THRESH ACTIVE_CONNS INACT_CONNS PERSIST_CONNS STATS ADDR_FAMILY STATS64 "
    "TUN_TYPE TUN_PORT TUN_FLAGS"
)
DAEMON = _numbered("STATE MCAST_IFN SYNC_ID SYNC_MAXLEN MCAST_GROUP MCAST_GROUP6 MCAST_PORT MCAST_TTL")
STATS_PAD = 11
NO_STATS = (0,) * 10


def u8(value: int) -> bytes:
    return struct.pack("=B", value)


def u16(value: int) -> bytes:
    return struct.pack("=H", value)


def u32(value: int) -> bytes:
    return struct.pack("=I", value)


def s32(value: int) -> bytes:
    return struct.pack("=i", value)


def u64(value: int) -> bytes:
    return struct.pack("=Q", value)


def be16(value: int) -> bytes:
    return struct.pack(">H", value)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def address(value: str) -> bytes:
    """A union nf_inet_addr."""
    return socket.inet_pton(socket.AF_INET6 if ":" in value else socket.AF_INET, value).ljust(16, b"\0")


def pack(tree: Tree, nested: int = NLA_F_NESTED) -> bytes:
    """The attributes as bytes; `nested` is what the types of those that hold others are marked with."""
    return b"".join(
        attribute(type, payload) if isinstance(payload, bytes) else attribute(type | nested, pack(payload, nested))
        for type, payload in tree
    )


def attribute(type: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), type) + payload + bytes(-len(payload) % 4)


def stats(values: Iterable[int], wide: bool = False) -> Tree:
    """IPVS_STATS_ATTR_* from ten numbers in the kernel's order: connections, packets and bytes in and out, then the
    rates likewise. The first three and the rates have 32 bits, unless `wide`."""
    sizes = [u64] * 10 if wide else [u32, u32, u32, u64, u64, u32, u32, u32, u32, u32]
    order = list(values)
    return [(number + 1, size(value)) for number, (size, value) in enumerate(zip(sizes, order))]


def service(changes: "dict[str, Any] | None" = None, **more: Any) -> Tree:
    """The attributes of an IPVS_CMD_NEW_SERVICE: of TCP 10.0.0.1:80 with scheduler rr, with `changes` by name; None
    leaves one out."""
    values: dict[str, Any] = {
        "AF": u16(2),
        "PROTOCOL": u16(6),
        "ADDR": address("10.0.0.1"),
        "PORT": be16(80),
        "FWMARK": None,
        "SCHED_NAME": text("rr"),
        "PE_NAME": None,
        "FLAGS": u32(2) + u32(0xFFFFFFFF),
        "TIMEOUT": u32(0),
        "NETMASK": b"\xff\xff\xff\xff",
        "STATS": stats(NO_STATS),
        "STATS64": stats(NO_STATS, wide=True),
    }
    values.update(changes or {}, **more)
    return [(CMD_SERVICE, [(SVC[name], value) for name, value in values.items() if value is not None])]


def fwmark_service(mark: int, family: int = 2, **changes: Any) -> Tree:
    """A fwmark service has no protocol, address or port."""
    netmask = b"\xff\xff\xff\xff" if family == 2 else u32(128)
    none = {"PROTOCOL": None, "ADDR": None, "PORT": None}
    return service({**none, "AF": u16(family), "FWMARK": u32(mark), "NETMASK": netmask, **changes})


def destination(changes: "dict[str, Any] | None" = None, **more: Any) -> Tree:
    """The attributes of an IPVS_CMD_NEW_DEST: of 192.0.2.1:8080 by masquerade with weight 1, with `changes`."""
    values: dict[str, Any] = {
        "ADDR": address("192.0.2.1"),
        "PORT": be16(8080),
        "FWD_METHOD": u32(0),
        "WEIGHT": s32(1),
        "TUN_TYPE": u8(0),
        "TUN_PORT": be16(0),
        "TUN_FLAGS": u16(0),
        "U_THRESH": u32(0),
        "L_THRESH": u32(0),
        "ACTIVE_CONNS": u32(0),
        "INACT_CONNS": u32(0),
        "PERSIST_CONNS": u32(0),
        "ADDR_FAMILY": u16(2),
        "STATS": stats(NO_STATS),
        "STATS64": stats(NO_STATS, wide=True),
    }
    values.update(changes or {}, **more)
    return [(CMD_DEST, [(DEST[name], value) for name, value in values.items() if value is not None])]


def everywhere(tree: Tree, change: Callable[[Tree], Tree]) -> Tree:
    """The tree with `change` made to the list of attributes at each level."""
    return change([(type, p if isinstance(p, bytes) else everywhere(p, change)) for type, p in tree])


def message(
    type: int,
    payload: bytes = b"",
    *,
    command: "int | None" = None,
    flags: int = NLM_F_MULTI,
    seq: int = 1,
    port: int = PORT,
) -> bytes:
    """A netlink message; with a command, a generic netlink message."""
    if command is not None:
        payload = struct.pack("=BBH", command, 1, 0) + payload
    return struct.pack("=IHHII", 16 + len(payload), type, flags, seq, port) + payload + bytes(-len(payload) % 4)


def done(error: int = 0, words: "str | None" = None, **header: int) -> bytes:
    """NLMSG_DONE, the end of a dump; with `words`, an extended acknowledgement."""
    tlvs = attribute(1, text(words)) if words is not None else b""
    return message(NLMSG_DONE, s32(-error) + tlvs, flags=NLM_F_MULTI | (NLM_F_ACK_TLVS if tlvs else 0), **header)


def refusal(error: int, words: "str | None" = None, request: bytes = b"", capped: bool = True, **header: int) -> bytes:
    """NLMSG_ERROR about a request; with `words`, an extended acknowledgement. `capped` quotes only its header."""
    request = request or message(IPVS, command=GET_SERVICE, flags=NLM_F_REQUEST)
    tlvs = attribute(1, text(words)) if words is not None else b""
    flags = (NLM_F_CAPPED if capped else 0) | (NLM_F_ACK_TLVS if tlvs else 0)
    return message(NLMSG_ERROR, s32(-error) + (request[:16] if capped else request) + tlvs, flags=flags, **header)


def family(id: int, name: str) -> bytes:
    """The attributes of a family as nlctrl lists it, with those that ipvsnl does not need."""
    operations: Tree = [(1, [(1, u32(GET_SERVICE)), (2, u32(0x0B))])]
    return pack([(2, text(name)), (1, u16(id)), (3, u32(1)), (4, u32(0)), (5, u32(9)), (6, operations)])


def messages(datagram: bytes) -> Iterator[bytes]:
    """The messages of a datagram, each whole."""
    while datagram:
        length = header(datagram)[0]
        yield datagram[:length]
        datagram = datagram[length + -length % 4 :]


def attributes(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each attribute, without what types of nested ones are marked with."""
    while payload:
        length, type = struct.unpack_from("=HH", payload)
        yield type & ~(NLA_F_NESTED | NLA_F_NET_BYTEORDER), payload[4:length]
        payload = payload[length + -length % 4 :]


class Request(NamedTuple):
    """A request that reached the kernel."""

    type: int
    flags: int
    seq: int
    port: int
    command: int
    attributes: bytes
    raw: bytes

    @property
    def is_dump(self) -> bool:
        return self.flags & NLM_F_DUMP == NLM_F_DUMP


def parse_request(raw: bytes) -> Request:
    length, type, flags, seq, port, command = struct.unpack_from("=IHHIIB", raw)
    assert length == len(raw)
    return Request(type, flags, seq, port, command, raw[20:], raw)


class ScriptedKernel:
    """A transport whose other end is a function: `answer(request)` gives the datagrams that come back for a request.

    An OSError among them is raised in its turn. Whoever waits for more than there is gets a timeout.
    """

    port = PORT
    room = 32000

    def __init__(self, answer: Callable[[Request], Iterable[Reply]]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self.queue: list[Reply] = []
        self.closed = False

    def send(self, request: bytes) -> None:
        if self.closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self.requests.append(parse_request(request))
        self.queue.extend(self.answer(self.requests[-1]))

    def recv_into(self, buffer: bytearray) -> int:
        datagram = self.recv()
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def recv(self) -> bytes:
        if not self.queue:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        reply = self.queue.pop(0)
        if isinstance(reply, OSError):
            raise reply
        return reply

    def drain(self) -> None:
        self.queue.clear()

    def fileno(self) -> int:
        return 1234

    def close(self) -> None:
        self.closed = True

    def asked(self) -> list[tuple[int, int, bool]]:
        """(family, command, whether a dump) of each request so far."""
        return [(request.type, request.command, request.is_dump) for request in self.requests]


class IPVSKernel(ScriptedKernel):
    """A kernel with IPVS: `entries` are services with their real servers, as attribute trees. What `special` gives for
    a request, if not None, goes before everything else."""

    def __init__(
        self,
        entries: "Iterable[tuple[Tree, list[Tree]]]" = (),
        *,
        special: Callable[[Request], "Iterable[Reply] | None"] = lambda request: None,
        loaded: bool = True,
    ) -> None:
        super().__init__(self._answer)
        self.entries = list(entries)
        self.special = special
        self.loaded = loaded

    def _answer(self, request: Request) -> Iterable[Reply]:
        special = self.special(request)
        if special is not None:
            return special
        to = {"seq": request.seq, "port": request.port}
        if request.type == NLCTRL:
            return self._families(request, to)
        assert request.type == IPVS, "only nlctrl and IPVS are there"
        if request.is_dump:
            command, trees = self._dump(request)
            parts = [message(IPVS, pack(tree), command=command, **to) for tree in trees]
            return [*([b"".join(parts)] if parts else []), done(**to)]
        if request.command == GET_SERVICE:
            for service, _ in self.entries:
                if is_key_of(request.attributes, service):
                    return [message(IPVS, pack(service), command=NEW_SERVICE, flags=0, **to)]
            return [refusal(errno.ESRCH, request=request.raw, **to)]
        command, tree = {GET_INFO: (SET_INFO, INFO), GET_CONFIG: (SET_CONFIG, CONFIG)}[request.command]
        return [message(IPVS, pack(tree), command=command, flags=0, **to)]

    def _dump(self, request: Request) -> tuple[int, list[Tree]]:
        if request.command == GET_SERVICE:
            return NEW_SERVICE, [service for service, _ in self.entries]
        if request.command == GET_DAEMON:
            return NEW_DAEMON, []
        assert request.command == GET_DEST, request.command
        pools = [pool for service, pool in self.entries if is_key_of(request.attributes, service)]
        return NEW_DEST, pools[0] if pools else []  # as the kernel does for a service that it does not have

    def _families(self, request: Request, to: dict[str, int]) -> Iterable[Reply]:
        known = [(NLCTRL, "nlctrl"), (0x15, "thermal_event")] + [(IPVS, "IPVS")] * self.loaded
        if request.is_dump:
            return [
                b"".join(message(NLCTRL, family(*each), command=NEWFAMILY, **to) for each in known),
                done(**to),
            ]
        for id, name in known:
            if attribute(2, text(name)) == request.attributes:
                return [message(NLCTRL, family(id, name), command=NEWFAMILY, flags=0, **to)]
        return [refusal(errno.ENOENT, request=request.raw, **to)]


class DumpingKernel(IPVSKernel):
    """A kernel that keeps a dump as netlink does (netlink_dump_start(), netlink_recvmsg() in net/netlink/af_netlink.c):
    it fills one datagram, and the next one when something has been received; it has one dump a socket, and answers
    EBUSY to a second. Where it cannot fill one, an OSError in its place, it says so once and stops until something is
    received."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rest: list[Reply] = []

    def send(self, request: bytes) -> None:
        asked = parse_request(request)
        if not asked.is_dump:
            super().send(request)
        elif self._rest:
            self.queue.append(refusal(errno.EBUSY, request=request, seq=asked.seq, port=asked.port))
        else:
            received_late, self.queue = self.queue, []
            super().send(request)
            self._rest, self.queue = self.queue, received_late
            self._fill()

    def _fill(self) -> None:
        if self._rest:
            failed = isinstance(self._rest[0], OSError)
            self.queue.insert(0 if failed else len(self.queue), self._rest.pop(0))

    def recv(self) -> bytes:
        datagram = super().recv()
        self._fill()
        return datagram

    def drain(self) -> None:
        while self.queue:
            try:
                self.recv()
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return

    def another(self, offer: int, largest: int = 0) -> "DumpingKernel":
        return DumpingKernel(self.entries)


INFO: Tree = [(1, u32(0x010201)), (2, u32(4096))]
CONFIG: Tree = [(4, u32(900)), (5, u32(120)), (6, u32(300))]


def is_key_of(key: bytes, service: Tree) -> bool:
    """Whether a request about a service is about this one: it has its family, and its fwmark, or protocol, address and
    port."""
    ((command, attributes),) = service
    tree = [(command, [(type, payload) for type, payload in attributes if type <= SVC["FWMARK"]])]
    return key in (pack(tree), pack(tree, nested=0))


class FakeSocket:
    """What a ScriptedKernel looks like to whoever opens a netlink socket."""

    def __init__(self, kernel: ScriptedKernel) -> None:
        self.kernel = kernel
        self.file = open(os.devnull, "rb")  # noqa: SIM115  # what is no socket does not tell its namespace

    def setsockopt(self, *args: object) -> None: ...

    def getsockopt(self, level: int, option: int) -> int:
        raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))

    def setblocking(self, flag: bool) -> None: ...

    def bind(self, address: tuple[int, int]) -> None: ...

    def connect(self, address: tuple[int, int]) -> None: ...

    def getsockname(self) -> tuple[int, int]:
        return self.kernel.port, 0

    def send(self, request: bytes) -> int:
        self.kernel.send(request)
        return len(request)

    def recv(self, size: int, flags: int = 0) -> bytes:
        return self.kernel.recv()  # with MSG_TRUNC, more than `size` if there is more

    def recv_into(self, buffer: memoryview, size: int = 0, flags: int = 0) -> int:
        datagram = self.kernel.recv()
        fits = datagram[: size or len(buffer)]
        buffer[: len(fits)] = fits
        return len(datagram)

    def fileno(self) -> int:
        return -1 if self.file.closed else self.file.fileno()

    def close(self) -> None:
        self.file.close()
        self.kernel.close()


# Captures: the file header, and records that each are a header, 16 bytes before the datagram, and the datagram.

MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D
LINKTYPE_NETLINK = 253


def pcap(records: Iterable[bytes], *, magic: int = MICROSECONDS, link_type: int = 253, order: str = "=") -> bytes:
    return struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link_type) + b"".join(records)


def record(
    datagram: bytes, *, seconds: int = 1, fraction: int = 0, true_size: "int | None" = None, protocol: int = 16
) -> bytes:
    packet = struct.pack(">HH10xH", 4, 824, protocol) + datagram
    size = len(packet)
    return struct.pack("=IIII", seconds, fraction, size, size if true_size is None else true_size) + packet


def records(capture: bytes) -> list[bytes]:
    """The records of a capture, each whole."""
    found, offset = [], 24
    while offset < len(capture):
        (size,) = struct.unpack_from("=I", capture, offset + 8)
        found.append(capture[offset : offset + 16 + size])
        offset += 16 + size
    return found


def datagram(record: bytes) -> bytes:
    return record[32:]


def time_of(record: bytes) -> int:
    """Nanoseconds, of a record in a capture with microseconds."""
    seconds, microseconds = struct.unpack_from("=II", record)
    return seconds * 1_000_000_000 + microseconds * 1000


def header(datagram: bytes) -> tuple[int, int, int, int, int]:
    """Length, type, flags, sequence number and port of a datagram's first message."""
    length, type, flags, seq, port = struct.unpack_from("=IHHII", datagram)
    return length, type, flags, seq, port


def readdress(
    datagram: bytes, *, seq: "int | None" = None, port: "int | None" = None, family: "int | None" = None
) -> bytes:
    """The datagram with another sequence number, port or IPVS family in each of its messages."""
    copy, offset = bytearray(datagram), 0
    while offset < len(copy):
        length, type, flags, old_seq, old_port = struct.unpack_from("=IHHII", copy, offset)
        type = type if type <= NLCTRL or family is None else family
        new = old_seq if seq is None else seq, old_port if port is None else port
        struct.pack_into("=IHHII", copy, offset, length, type, flags, *new)
        offset += length + -length % 4
    return bytes(copy)


def replies_to(capture: bytes, *, command: int) -> list[bytes]:
    """The datagrams after the first IPVS request of this command in a capture, up to the next request."""
    datagrams = iter([datagram(each) for each in records(capture)])
    for each in datagrams:
        if is_request(each) and header(each)[1] > NLCTRL and each[16] == command:
            return list(takewhile(lambda reply: not is_request(reply), datagrams))
    raise AssertionError(f"no request of command {command}")


def is_request(datagram: bytes) -> bool:
    return bool(header(datagram)[2] & NLM_F_REQUEST)
