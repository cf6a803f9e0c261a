"""Conversations with the kernel to and from a capture file: two transports that take the place of a socket.

`Recorder` writes down what another transport says. `Replay` answers as the kernel once did: to any client, whatever
client was recorded (ipvsadm, telegraf, this one), since what a question means is in its command and in the service
that it names, not in how that client put it.
"""

import errno
import os
import time

from . import genl, ipvs, pcap
from .dataclass import dataclass
from .errors import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, BinaryIO

    from .transport import Transport

    # What a question asks for: dump or not, command, service.
    Question = tuple[bool, int, tuple[Any, ...] | None]


class Recorder:
    """Passes everything on to `transport`, and writes it to `file`, open for writing in binary mode."""

    def __init__(self, transport: "Transport", file: "BinaryIO") -> None:
        self._transport = transport
        self._file = file
        self.port = transport.port
        file.write(pcap.file_header())

    def send(self, request: bytes) -> None:
        self._file.write(pcap.record(time.time_ns(), pcap.FROM_US, request))
        self._transport.send(request)

    def recv(self) -> bytes:
        datagram = self._transport.recv()
        self._file.write(pcap.record(time.time_ns(), pcap.TO_US, datagram))
        return datagram

    def fileno(self) -> int:
        return self._transport.fileno()

    def close(self) -> None:
        self._transport.close()


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
    of the services, is a DecodeError, and so is a question that it has no answer to. `time` is when the services
    were asked for, nanoseconds since 1970.
    """

    port = 0  # what a request says that leaves it to the kernel; answers are made out to whoever asks

    def __init__(self, file: "BinaryIO") -> None:
        conversations, families = _conversations(pcap.read(file))
        self._family = families.get(ipvs.FAMILY_NAME) or _guess_family(conversations)
        self._answers: dict[Question, list[bytes]] = {}
        self._queue: list[bytes] = []
        times: dict[Question, int] = {}
        for conversation in conversations:
            if conversation.request.type == self._family and conversation.complete:
                question = _question(conversation.request)
                self._answers.setdefault(question, conversation.answer)
                times.setdefault(question, conversation.time)
        services = (True, ipvs.GET_SERVICE, None)
        if services not in self._answers:
            begun = any(_asks_for_services(conversation.request) for conversation in conversations)
            raise DecodeError(
                "the capture holds no IPVS dump" + (" that is complete" if begun else ""),
                "record one whole run of an IPVS client, such as ipvsadm -Ln",
            )
        self.time: int = times[services]

    def send(self, request: bytes) -> None:
        (message,) = genl.messages(request)
        self._queue = [_addressed(datagram, message) for datagram in self._answer(message)]

    def _answer(self, message: genl.Message) -> list[bytes]:
        if message.type == genl.GENL_ID_CTRL:
            return self._families()
        question = _question(message)
        if question not in self._answers:
            raise _unanswered(question)
        return self._answers[question]

    def _families(self) -> list[bytes]:
        # A client looks its family up once and may then run for months: a capture need not have it. This answer is the
        # one that is made up.
        values = {"FAMILY_ID": self._family, "FAMILY_NAME": ipvs.FAMILY_NAME, "VERSION": 1}
        attributes = genl.CTRL_ATTRS.encode(values)
        family = genl.request(genl.GENL_ID_CTRL, 0, 0, 0, genl.CTRL_CMD_NEWFAMILY, attributes)
        return [family, genl.NLMSGHDR.pack(20, genl.NLMSG_DONE, 0, 0, 0) + genl.ERRNO.pack(0)]

    def recv(self) -> bytes:
        return self._queue.pop(0)

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # there is no socket

    def close(self) -> None:
        self._queue = []


def _conversations(records: "Iterable[pcap.Record]") -> tuple[list[Conversation], dict[str, int]]:
    """All requests with their answers, and the ids of the families that the kernel named meanwhile."""
    conversations: list[Conversation] = []
    families: dict[str, int] = {}
    waiting: dict[tuple[int, int], Conversation] = {}  # for the rest of their answer, by sequence number and port
    for record in records:
        for number, message in enumerate(genl.messages(record.datagram)):
            if message.flags & genl.NLM_F_REQUEST:
                waiting[message.seq, message.port] = Conversation(record.time, message, [], False)
                conversations.append(waiting[message.seq, message.port])
                continue
            if message.type == genl.GENL_ID_CTRL and message.command() == genl.CTRL_CMD_NEWFAMILY:
                family = genl.CTRL_ATTRS.decode(message.attributes())
                families[family["FAMILY_NAME"]] = family["FAMILY_ID"]
            # A client may ask with port 0, which leaves it to the kernel; the answer then has the true one.
            conversation = waiting.pop((message.seq, message.port), None) or waiting.pop((message.seq, 0), None)
            if conversation is None or _is_refusal(message):
                continue
            if not number or not conversation.answer:
                conversation.answer.append(record.datagram)
            is_dump = conversation.request.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP
            conversation.complete = message.type == genl.NLMSG_DONE or not is_dump
            if not conversation.complete:
                waiting[message.seq, message.port] = conversation
    return conversations, families


def _is_refusal(message: genl.Message) -> bool:
    """Whether this ends a conversation without an answer: an error, or a mere acknowledgement."""
    return message.type == genl.NLMSG_ERROR or (message.type == genl.NLMSG_DONE and genl.result(message)[0] != 0)


def _guess_family(conversations: list[Conversation]) -> int:
    """The id of IPVS in a capture that does not name it: that of a dump whose every message is a service. 0 if none."""
    for conversation in conversations:
        if conversation.complete and _asks_for_services(conversation.request):
            replies = [message for datagram in conversation.answer for message in genl.messages(datagram)]
            replies = [message for message in replies if message.type == conversation.request.type]
            try:
                for message in replies:
                    ipvs.decode_service(message.attributes())
            except DecodeError:
                continue
            if replies:
                return conversation.request.type
    return 0


def _asks_for_services(request: genl.Message) -> bool:
    return (
        request.type > genl.GENL_ID_CTRL
        and request.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP
        and request.command() == ipvs.GET_SERVICE
    )


def _question(request: genl.Message) -> "Question":
    command = request.command()
    key = ipvs.service_key(request.attributes()) if command in (ipvs.GET_SERVICE, ipvs.GET_DEST) else None
    return request.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP, command, key


def _unanswered(question: "Question") -> DecodeError:
    _, command, key = question
    what, todo = f"the answer to command {command}", "record it too"
    if command == ipvs.GET_DEST and key:
        what = f"the real servers of {' '.join(str(part) for part in key)}"
        todo = "replay it with --services-only, or record one whole run of an IPVS client"
    return DecodeError(f"the capture does not hold {what}", todo)


def _addressed(datagram: bytes, request: genl.Message) -> bytes:
    """The datagram as an answer to this request: with its sequence number and port in each message."""
    copy = bytearray(datagram)
    offset = 0
    while offset < len(copy):
        length, type, flags, _, _ = genl.NLMSGHDR.unpack_from(copy, offset)
        genl.NLMSGHDR.pack_into(copy, offset, length, type, flags, request.seq, request.port)
        offset += length + -length % 4
    return bytes(copy)
