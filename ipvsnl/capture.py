"""Conversations with the kernel to and from a capture file: two transports that take the place of a socket.

`Recorder` writes down what another transport says. `Replay` answers as the kernel once did: to any client, whatever
client was recorded (ipvsadm, telegraf, this one), since what a question means is in its command and in the service
that it names, not in how that client put it.
"""

import errno
import os
import time
from contextlib import suppress

from . import genl, ipvs, pcap, rows
from .dataclass import dataclass
from .errors import DecodeError
from .transport import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO

    from .transport import Transport

    # What a question is: whether it asks for a dump, the command, the service.
    Question = tuple[bool, int, tuple[Any, ...] | None]


SERVICES = (True, ipvs.GET_SERVICE, None)  # the question for all services
WHOLE_RUN = "record one whole run of an IPVS client, such as ipvsadm -Ln"


class Recorder:
    """Passes everything on to `transport`, and writes it to `file`, open for writing in binary mode."""

    def __init__(self, transport: "Transport", file: "BinaryIO", begin: bool = True) -> None:
        self._transport = transport
        self._file = file
        self.port = transport.port
        if begin:
            file.write(pcap.file_header())

    @property
    def room(self) -> int:
        """Of the transport below."""
        return self._transport.room

    def send(self, request: bytes) -> None:
        self._file.write(pcap.record(time.time_ns(), pcap.FROM_US, request))
        self._transport.send(request)

    def recv_into(self, buffer: bytearray) -> int:
        size = self._transport.recv_into(buffer)
        self._file.write(pcap.record(time.time_ns(), pcap.TO_US, bytes(buffer[:size])))
        return size

    def drain(self) -> None:
        self._transport.drain()

    def fileno(self) -> int:
        return self._transport.fileno()

    def close(self) -> None:
        self._transport.close()

    def another(self, offer: int) -> "Recorder | None":
        """One more that writes to the same file."""
        other = self._transport.another(offer) if hasattr(self._transport, "another") else None
        return Recorder(other, self._file, begin=False) if other else None


@dataclass
class Conversation:
    """One request and the datagrams that answered it; `complete` once the end of the answer has been seen."""

    time: int
    request: genl.Message
    answer: list[bytes]
    complete: bool


class Replay:
    """Answers with what a capture holds: to each question the first complete answer in it.

    `file` is open for reading in binary mode, and read at once. A capture that can't be read, or holds no complete dump
    of the services, is a DecodeError, and so is a question that it does not have the answer to. `time` is when the
    services were asked for, nanoseconds since 1970.
    """

    port = 0  # what a request says that leaves it to the kernel; answers are made out to whoever asks
    room = 0  # nobody knows

    def __init__(self, file: "BinaryIO") -> None:
        conversations, families = _conversations(pcap.read(file))
        complete = [conversation for conversation in conversations if conversation.complete]
        self._family = _family(complete, families)
        if not self._family:
            begun = any(_asks_for_services(conversation.request) for conversation in conversations)
            raise DecodeError(f"the capture holds no IPVS dump{' that is complete' if begun else ''}", WHOLE_RUN)
        self._answers: dict[Question, Conversation] = {}
        for conversation in complete:
            if conversation.request.type == self._family:
                with suppress(DecodeError):  # a question that makes no sense, and that nobody will ask here
                    self._answers.setdefault(_question(conversation.request), conversation)
        self.time: int = self._answers[SERVICES].time
        self._rest: Iterator[bytes] = iter(())  # of the answer to the last question

    def send(self, request: bytes) -> None:
        (message,) = genl.messages(request)
        self._rest = (_addressed(datagram, message) for datagram in self._answer(message))

    def _answer(self, message: genl.Message) -> "list[bytes]":
        if message.type == genl.GENL_ID_CTRL:
            return self._families()
        question = _question(message)
        if question not in self._answers:
            raise _unanswered(question)
        return self._answers[question].answer

    def _families(self) -> "list[bytes]":
        # A client looks its family up once and may then run for months: a capture need not have it. This answer is the
        # one that is made up.
        values = {"FAMILY_ID": self._family, "FAMILY_NAME": ipvs.FAMILY_NAME, "VERSION": 1}
        attributes = genl.CTRL_ATTRS.encode(values)
        family = genl.request(genl.GENL_ID_CTRL, 0, 0, 0, genl.CTRL_CMD_NEWFAMILY, attributes)
        return [family, genl.NLMSGHDR.pack(20, genl.NLMSG_DONE, 0, 0, 0) + genl.ERRNO.pack(0)]

    def recv_into(self, buffer: bytearray) -> int:
        datagram = next(self._rest, None)
        if datagram is None:
            raise DecodeError("the capture ends before the answer does", WHOLE_RUN)
        return put(datagram, buffer)

    def drain(self) -> None:
        self._rest = iter(())

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # there is no socket

    def close(self) -> None:
        self.drain()

    def another(self, offer: int) -> None:
        """There is none: the kernel can't be asked again."""


def _conversations(records: "Iterable[pcap.Record]") -> "tuple[list[Conversation], set[int]]":
    """All requests with their answers, and the ids that the kernel gave to IPVS meanwhile."""
    conversations: list[Conversation] = []
    families: set[int] = set()
    waiting: dict[tuple[int, int], Conversation] = {}  # for the rest of their answer, by sequence number and port
    for record in records:
        # Other clients' bytes may be anything; the kernel does not mind. If it is an answer about IPVS that is broken,
        # it is added to its conversation, and whoever reads it there will see.
        with suppress(DecodeError):
            answered = None  # the kernel answers one request a datagram
            for message in _messages(record.datagram):
                if message.flags & genl.NLM_F_REQUEST:
                    key = message.seq, message.port
                    # Two clients that leave their port to the kernel can't be told apart while both wait.
                    ambiguous = message.port == 0 and key in waiting
                    conversations.append(Conversation(record.time, message, [], False))
                    waiting[key] = conversations[-1]
                    if ambiguous:
                        del waiting[key]
                elif message.type != genl.NLMSG_NOOP and answered in (None, (message.seq, message.port)):
                    answered = message.seq, message.port
                    _take(message, record.datagram, waiting)
                    if message.type == genl.GENL_ID_CTRL and message.command() == genl.CTRL_CMD_NEWFAMILY:
                        family = genl.CTRL_ATTRS.decode(message.attributes())
                        if family["FAMILY_NAME"] == ipvs.FAMILY_NAME:
                            families.add(family["FAMILY_ID"])
    return conversations, families


def _messages(datagram: bytes) -> "Iterator[genl.Message]":
    """The messages of a datagram; of one that begins with a broken message, its header."""
    if len(datagram) >= genl.NLMSGHDR.size:
        length, type, flags, seq, port = genl.NLMSGHDR.unpack_from(datagram)
        if not genl.NLMSGHDR.size <= length <= len(datagram):
            yield genl.Message(type, flags, seq, port, b"")
    yield from genl.messages(datagram)


def _take(message: genl.Message, datagram: bytes, waiting: "dict[tuple[int, int], Conversation]") -> None:
    """Give a message of the kernel's to the conversation that waits for it, if there is one."""
    # A client may ask with port 0, which leaves it to the kernel; the answer then has the true one.
    for key in ((message.seq, message.port), (message.seq, 0)):
        conversation = waiting.get(key)
        if conversation and message.type in (conversation.request.type, genl.NLMSG_DONE, genl.NLMSG_ERROR):
            break
    else:
        return
    del waiting[key]
    if message.type == genl.NLMSG_ERROR or (message.type == genl.NLMSG_DONE and genl.result(message)[0]):
        return  # refused, or a mere acknowledgement: no answer
    if not conversation.answer or conversation.answer[-1] is not datagram:
        conversation.answer.append(datagram)
    conversation.complete = message.type == genl.NLMSG_DONE or not _is_dump(conversation.request)
    if not conversation.complete:
        waiting[message.seq, message.port] = conversation


def _family(conversations: "list[Conversation]", families: "set[int]") -> int:
    """The id of IPVS, that of the first dump of the services; 0 if there is none. A capture need not name the family:
    then it is that of the first such dump whose every message is a service."""
    for conversation in conversations:
        id = conversation.request.type
        if _asks_for_services(conversation.request) and (id in families if families else _has_services(conversation)):
            return id
    return 0


def _has_services(conversation: Conversation) -> bool:
    try:
        replies = [message for datagram in conversation.answer for message in genl.messages(datagram)]
        services = [message for message in replies if message.type == conversation.request.type]
        return bool([rows.decode_service(message.attributes()) for message in services])
    except DecodeError:
        return False


def _is_dump(request: genl.Message) -> bool:
    return request.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP


def _asks_for_services(request: genl.Message) -> bool:
    return request.type > genl.GENL_ID_CTRL and _is_dump(request) and request.payload[:1] == bytes([ipvs.GET_SERVICE])


def _question(request: genl.Message) -> "Question":
    command = request.command()
    # Which service is meant counts where one is asked for; some clients name one when they ask for all.
    named = command == ipvs.GET_DEST or (command == ipvs.GET_SERVICE and not _is_dump(request))
    return _is_dump(request), command, ipvs.service_key(request.attributes()) if named else None


def _unanswered(question: "Question") -> DecodeError:
    _, command, service = question
    if command == ipvs.GET_DEST:
        return DecodeError(
            f"the capture does not hold the real servers of {ipvs.spell_key(service)}",
            f"replay it with --services-only, or {WHOLE_RUN}",
        )
    return DecodeError(
        f"the capture does not hold the answer to IPVS command {command}", "record a client that asks it"
    )


def _addressed(datagram: bytes, request: genl.Message) -> bytes:
    """The datagram as an answer to this request: with its sequence number and port in each message."""
    copy = bytearray(datagram)
    offset = 0
    while len(copy) - offset >= genl.NLMSGHDR.size:
        length, type, flags, _, _ = genl.NLMSGHDR.unpack_from(copy, offset)
        genl.NLMSGHDR.pack_into(copy, offset, length, type, flags, request.seq, request.port)
        offset += max(length + -length % 4, genl.NLMSGHDR.size)
    return bytes(copy)
