"""A client that reads one kind of dump, and what the messages of a dump are one by one."""

from typing import Any, Union

import netlink

from ipvsnl import (
    Client,
    DecodeError,
    DumpInterruptedError,
    IPVSError,
    Service,
    ServiceFlags,
    Stats,
    _decode,
    genl,
)

Read = Union[list[Any], type[IPVSError]]
ASKER = Service("inet", None, None, None, 1, "rr", ServiceFlags(0), 0, 32, None, Stats(*netlink.NO_STATS))


def one_by_one(datagram: bytes, reply: int) -> Read:
    """What the messages of the datagram are, each on its own; or the class of the error that the first bad one is."""
    found: list[Any] = []
    try:
        for message in genl.messages(datagram):
            if (message.seq, message.port) != (1, netlink.PORT) or message.type == netlink.NLMSG_NOOP:
                continue
            if message.flags & netlink.NLM_F_DUMP_INTR:
                raise DumpInterruptedError([])
            if message.type in (netlink.NLMSG_DONE, netlink.NLMSG_ERROR):
                number, words = genl.result(message)
                if number:
                    raise genl.netlink_error(number, "dumping", words)
                break
            if message.type != netlink.IPVS or message.command() != reply:
                raise DecodeError("no reply")
            if reply == netlink.NEW_SERVICE:
                found.append(_decode.decode_service(message.attributes()))
            else:
                found.append(_decode.decode_destination(message.attributes(), "inet"))
    except IPVSError as error:
        return type(error)
    return found


class Dumper:
    """A client that may be asked many times, for one kind of dump."""

    def __init__(self, reply: int) -> None:
        self.reply = reply
        self.datagrams: list[bytes] = []
        self.client = Client(transport=netlink.IPVSKernel(special=self._answer))

    def _answer(self, request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        # The datagrams are written for sequence number 1; whatever has another one stays a stranger.
        return [*(renumbered(each, request.seq) for each in self.datagrams), netlink.done(seq=request.seq)]

    def read(self, *datagrams: bytes) -> Read:
        self.datagrams = list(datagrams)
        try:
            return self.client.services() if self.reply == netlink.NEW_SERVICE else self.client.dests(ASKER)
        except IPVSError as error:
            return type(error)


def renumbered(datagram: bytes, seq: int) -> bytes:
    """The datagram with this sequence number where it has 1, and the other way round, as far as its lengths lead."""
    copy, offset = bytearray(datagram), 0
    while offset + 16 <= len(copy):
        length = int.from_bytes(copy[offset : offset + 4], netlink.BYTE_ORDER)
        old = int.from_bytes(copy[offset + 8 : offset + 12], netlink.BYTE_ORDER)
        new = seq if old == 1 else 1 if old == seq else old
        copy[offset + 8 : offset + 12] = netlink.u32(new)
        offset += max(16, length + -length % 4)
    return bytes(copy)
