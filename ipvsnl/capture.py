"""Captures in place of the kernel: transports that write and read files.

`Recorder` writes what another transport sends and receives. `Replay` repeats what the kernel replied to any client,
such as ipvsadm or telegraf. The command and the service in a request identify it, not its bytes.

If services or real servers change, a client dumps them several times, until the dumps can be merged. The replay of a
recording repeats these dumps in the same order, so that the merged result is the same.
"""

import errno
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count

from . import _decode, _schema, genl, pcap
from ._dataclass import dataclass
from ._key import ServiceKey, spell_service
from ._typing import typing
from .errors import DecodeError
from .transport import MESSAGE, Transport, put

# What identifies a request: whether it is for a dump, the command, the service.
Request = tuple[bool, int, "typing.Optional[ServiceKey]"]

SERVICES: Request = (True, _schema.GET_SERVICE, None)  # the dump of all services
WHOLE_RUN = "record one whole run of an IPVS client, such as ipvsadm -Ln"
MOST_WAITING = 1000  # requests without a complete reply; a client has one


class Recorder:
    """A transport that uses another one, and writes each datagram to `file`, open for writing in binary mode."""

    def __init__(self, transport: Transport, file: "typing.BinaryIO", begin: bool = True) -> None:
        self._transport = transport
        self._file = file
        self.port = transport.port
        if begin:
            file.write(pcap.file_header())

    @property
    def room(self) -> int:
        """Return the room of the transport below."""
        return self._transport.room

    def send(self, request: bytes) -> None:
        self._file.write(pcap.record(time.time_ns(), pcap.FROM_US, request))
        self._transport.send(request)

    def recv_into(self, buffer: bytearray) -> int:
        size = self._transport.recv_into(buffer)
        self._file.write(pcap.record(time.time_ns(), pcap.TO_US, bytes(buffer[:size]), self.room))
        return size

    def drain(self) -> None:
        self._transport.drain()

    def fileno(self) -> int:
        return self._transport.fileno()

    def close(self) -> None:
        self._transport.close()

    def another(self, *offers: int) -> "typing.Optional[Recorder]":
        """Open another transport below, and write to the same file."""
        other = self._transport.another(*offers) if hasattr(self._transport, "another") else None
        return Recorder(other, self._file, begin=False) if other else None


@dataclass
class _Exchange:
    """A request and the datagrams of its reply. `number` counts requests in the capture.

    A dump is complete if the capture has its end, or a datagram with room for one more message.
    """

    number: int
    time: int
    family: int
    port: int
    request: Request
    reply: list[pcap.Record]
    complete: bool

    def is_recorded_dump(self) -> bool:
        """Return whether it is a dump that a Recorder wrote."""
        is_dump, _, _ = self.request
        return is_dump and self.reply[0].room is not None


class Replay:
    """A transport that receives, for each request, the first complete reply in a capture.

    `file` is open for reading in binary mode, and is read at once. A file without a complete dump of the services is a
    DecodeError, and so is a request without a reply in the capture. `time` is when the services were requested,
    nanoseconds since 1970.

    If a client repeats a dump, it receives the next one in the recording.
    """

    port = 0  # each reply gets the port of its request

    def __init__(self, file: "typing.BinaryIO") -> None:
        self._capture = capture = _Capture(pcap.read(file))
        self.time: int = capture.replies[SERVICES][0].time
        self.room = 0
        self._rest: list[pcap.Record] = []  # of the reply to the last request
        self._last: Request | None = None
        self._begun: tuple[Request, bool] | None = None  # the last request until its reply begins; is it a repeat?
        self._repeats: Request | None = None  # the request that the client of this socket repeats

    def send(self, request: bytes) -> None:
        self._request = next(genl.messages(request))
        self.drain()
        if self._request.type == genl.GENL_ID_CTRL:
            self._rest = [_lookup(self._capture.family)]
            return
        last = self._last = _identify(self._request)
        self._begun = last, last == self._repeats or last in self._capture.being_read.values()
        self._capture.being_read[self] = last

    def recv_into(self, buffer: bytearray) -> int:
        if self._begun:  # not in send(), because a capture lacks a dump that was begun and never received
            self._rest = self._capture.reply(*self._begun)
            self._begun = None
        if not self._rest:
            raise DecodeError("the capture ends before the reply does", WHOLE_RUN)
        record = self._rest.pop(0)
        self.room = record.room or 0
        if not self._rest:
            self.drain()
        return put(_addressed(record.datagram, self._request), buffer)

    def drain(self) -> None:
        self._rest, self._begun = [], None
        self._capture.being_read.pop(self, None)

    close = drain

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # there is no socket

    def another(self, *offers: int) -> "typing.Optional[Replay]":
        """Return another transport for the same capture if the recorded client had two sockets, else None."""
        if self._capture.sockets < 2:
            return None
        other = Replay.__new__(Replay)
        vars(other).update(vars(self), _rest=[], _begun=None, _last=None, _repeats=self._last)
        other.port = self._capture.opened = self._capture.opened + 1
        return other


class _Capture:
    """The exchanges in a capture, and which of them were replayed."""

    def __init__(self, records: Iterable[pcap.Record]) -> None:
        # By family and request.
        self._exchanges: dict[int, dict[Request, list[_Exchange]]] = defaultdict(lambda: defaultdict(list))
        self._waiting: dict[tuple[int, int], _Exchange] = {}  # without a complete reply, by sequence number and port
        self._numbers = count()
        self._named: set[int] = set()  # the ids of families with the name IPVS
        self._plausible: set[int] = set()  # the ids of families with a dump that looks like services
        for record in records:
            # Other clients may send anything. A broken message in a reply about IPVS raises an error in the replay.
            with suppress(DecodeError):
                self._read(record)
        self._waiting.clear()
        self.family = self._find_family()
        self.replies = self._exchanges[self.family]
        kept = [exchange for exchanges in self.replies.values() for exchange in exchanges]
        self.sockets = len({each.port for each in kept if each.reply[0].room is not None})  # of a Recorder
        self.opened = 0
        self.being_read: dict[Replay, Request] = {}
        self._replayed: dict[Request, int] = {}

    def _read(self, record: pcap.Record) -> None:
        """Read a datagram: requests, or the reply to one request."""
        replied = None
        for message in _messages(record.datagram):
            sender = message.seq, message.port
            if message.flags & genl.NLM_F_REQUEST:
                self._add(message, record.time)
            elif message.type != genl.NLMSG_NOOP and replied in (None, sender):
                replied = sender
                self._reply(message, record)

    def _add(self, message: genl.Message, time: int) -> None:
        """Add a request that waits for its reply."""
        sender = message.seq, message.port
        other = self._waiting.pop(sender, None)
        if other and message.port == 0:
            return  # two clients with port 0 cannot be told apart while both wait
        with suppress(DecodeError):  # a broken request has no reply that could be replayed
            number, request = next(self._numbers), _identify(message)
            self._waiting[sender] = _Exchange(number, time, message.type, message.port, request, [], False)
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]

    def _reply(self, message: genl.Message, record: pcap.Record) -> None:
        """Add a message of the kernel to the exchange that it belongs to, if there is one."""
        if message.type == genl.GENL_ID_CTRL and message.command() == genl.CTRL_CMD_NEWFAMILY:
            family = genl.CTRL_ATTRS.decode(message.attributes())
            if family["FAMILY_NAME"] == _schema.FAMILY_NAME:
                self._named.add(family["FAMILY_ID"])
        # A request may have port 0. The reply has the port that the kernel chose.
        for sender in ((message.seq, message.port), (message.seq, 0)):
            exchange = self._waiting.get(sender)
            if exchange and message.type in (exchange.family, genl.NLMSG_DONE, genl.NLMSG_ERROR):
                break
        else:
            return
        del self._waiting[sender]
        if message.type == genl.NLMSG_ERROR or (message.type == genl.NLMSG_DONE and genl.result(message)[0]):
            return  # an error or an acknowledgement
        is_first = not exchange.reply
        if is_first or exchange.reply[-1] is not record:
            exchange.reply.append(record)
        is_dump, _, _ = exchange.request
        has_ended = message.type == genl.NLMSG_DONE or not is_dump
        exchange.complete |= has_ended or len(record.datagram) + MESSAGE <= (record.room or 0)
        if not has_ended:
            self._waiting[message.seq, message.port] = exchange
        # The client of a Recorder may abandon a dump.
        if is_first if exchange.is_recorded_dump() else has_ended:
            self._keep(exchange)

    def _keep(self, exchange: _Exchange) -> None:
        """Keep all dumps of a Recorder in the order of their first datagrams. Of other requests keep the first."""
        if exchange.family == genl.GENL_ID_CTRL:
            return
        unknown = not self._named and exchange.family not in self._plausible
        if unknown and exchange.request == SERVICES and _has_services(exchange):
            self._plausible.add(exchange.family)
        exchanges = self._exchanges[exchange.family][exchange.request]
        exchanges.append(exchange)
        if not (exchange.is_recorded_dump() and exchanges[0].is_recorded_dump()):
            exchanges[:] = [min(exchanges, key=lambda each: each.number)]

    def _find_family(self) -> int:
        """Return the id of the IPVS family that was dumped first.

        If the capture does not name the family, the first dump decides in which every message is a service.
        """
        dumps = [self._exchanges[family][SERVICES] for family in self._named or self._plausible]
        complete = [exchanges for exchanges in dumps if any(each.complete for each in exchanges)]
        if not complete:
            raise DecodeError("the capture holds no IPVS dump, or none that is complete", WHOLE_RUN)
        return min(complete, key=lambda exchanges: exchanges[0].number)[0].family

    def reply(self, request: Request, repeats: bool) -> list[pcap.Record]:
        """Return the datagrams of the first reply to a request, or of the next if a client repeats a dump."""
        is_dump, command, _ = request
        if request not in self.replies:
            todo = "record a client that asks for that"
            if command == _schema.GET_DEST:
                todo = f"replay it with --services-only, or {WHOLE_RUN}"
            raise DecodeError(f"the capture does not hold {_spell(request)}", todo)
        exchanges = self.replies[request]
        number = self._replayed.get(request, -1) + 1 if is_dump and repeats else 0
        if number == len(exchanges):
            raise DecodeError(f"the capture holds too few dumps of {_spell(request)}", WHOLE_RUN)
        self._replayed[request] = number
        return exchanges[number].reply.copy()


def _messages(datagram: bytes) -> Iterator[genl.Message]:
    """Yield the messages of a datagram. Of a broken first message, yield the header."""
    if len(datagram) >= genl.NLMSGHDR.size:
        length, type, flags, seq, port = genl.NLMSGHDR.unpack_from(datagram)
        if not genl.NLMSGHDR.size <= length <= len(datagram):
            yield genl.Message(type, flags, seq, port, b"")
    yield from genl.messages(datagram)


def _lookup(family: int) -> pcap.Record:
    """Return the reply to a look-up of the family, because a capture may lack it."""
    values = {"FAMILY_ID": family, "FAMILY_NAME": _schema.FAMILY_NAME, "VERSION": 1}
    attributes = genl.CTRL_ATTRS.encode(values)
    message = genl.request(genl.GENL_ID_CTRL, 0, 0, 0, genl.CTRL_CMD_NEWFAMILY, attributes)
    done = genl.DONE.pack(genl.DONE.size, genl.NLMSG_DONE, 0, 0, 0, 0)
    return pcap.Record(0, message + done, None)


def _has_services(exchange: _Exchange) -> bool:
    with suppress(DecodeError):
        messages = [message for record in exchange.reply for message in genl.messages(record.datagram)]
        return bool([_decode.decode_service(each.attributes()) for each in messages if each.type == exchange.family])
    return False


def _identify(message: genl.Message) -> Request:
    command = message.command()
    is_dump = message.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP
    # Some clients name a service in a dump of all services.
    named = message.type > genl.GENL_ID_CTRL and (
        command == _schema.GET_DEST or (command == _schema.GET_SERVICE and not is_dump)
    )
    return is_dump, command, _decode.decode_key(message.attributes()) if named else None


def _spell(request: Request) -> str:
    """Return a name for what is requested, for error messages."""
    _, command, service = request
    name = spell_service(service) if service else "no service"
    names = {
        _schema.GET_SERVICE: f"the virtual service {name}" if service else "the virtual services",
        _schema.GET_DEST: f"the real servers of {name}",
        _schema.GET_CONFIG: "the timeouts",
        _schema.GET_INFO: "the version of IPVS",
        _schema.GET_DAEMON: "the synchronisation daemons",
    }
    return names.get(command, f"the reply to command {command}")


def _addressed(datagram: bytes, request: genl.Message) -> bytes:
    """Return the datagram with the sequence number and port of this request in every message."""
    copy = bytearray(datagram)
    offset = 0
    while len(copy) - offset >= genl.NLMSGHDR.size:
        length, type, flags, _, _ = genl.NLMSGHDR.unpack_from(copy, offset)
        genl.NLMSGHDR.pack_into(copy, offset, length, type, flags, request.seq, request.port)
        offset += max(length + -length % 4, genl.NLMSGHDR.size)
    return bytes(copy)
