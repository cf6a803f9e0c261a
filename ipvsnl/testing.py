"""For the tests of who uses this package: a kernel with just the services that a test wants, without root or Linux.

    from ipvsnl import Client, testing

    kernel = testing.Kernel([(testing.service(port=443), [testing.destination(weight=0)])])
    with Client(transport=kernel) as client:
        assert my_check(client) == "no real server of 10.0.0.1:443 takes connections"

What it says is real netlink, in the bytes that a kernel would send, and goes through all of the client. A capture of a
real kernel serves as well: Client(transport=capture.Replay(file)).
"""

import errno
import os

from . import _encode, _schema, genl
from ._decode import decode_key
from .model import Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags
from .transport import put

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

FAMILY = 0x20  # the id of IPVS; real kernels give it one at each registration


def stats(**changes: int) -> Stats:
    """Counters that are all 0, but for the changes."""
    return Stats(**{**dict.fromkeys(Stats.__match_args__, 0), **changes})


def service(**changes: "Any") -> Service:
    """TCP 10.0.0.1:80 with the scheduler rr, but for the changes; with a fwmark it has no protocol, address or port."""
    values: dict[str, Any] = {
        "address_family": _family(changes),
        **dict.fromkeys(("protocol", "address", "port", "fwmark", "persistence_engine")),
        "scheduler": "rr",
        "flags": ServiceFlags.HASHED,
        "timeout": 0,
        "netmask": 128 if _family(changes) == "inet6" else 32,
        "stats": stats(),
    }
    if changes.get("fwmark") is None:
        values.update(protocol="tcp", address="10.0.0.1", port=80)
    return Service(**{**values, **changes})


def destination(**changes: "Any") -> Destination:
    """192.0.2.1:80 by masquerade with weight 1 and no connections, but for the changes."""
    values: dict[str, Any] = {
        **dict.fromkeys(Destination.__match_args__, 0),
        "address_family": _family(changes),
        "address": "192.0.2.1",
        "port": 80,
        "forwarding": "masquerade",
        "weight": 1,
        "tunnel_type": "ipip",
        "tunnel_flags": TunnelFlags(0),
        "stats": stats(),
    }
    return Destination(**{**values, **changes})


def _family(changes: "dict[str, Any]") -> str:
    default = "inet6" if ":" in (changes.get("address") or "") else "inet"
    family: str = changes.get("address_family", default)
    return family


class Kernel:
    """A transport that answers as a kernel with these services would. All of it may be changed at any time:

    entries   the services with their real servers, as Client.dump() yields them
    info      what Client.info() returns
    timeouts  what Client.timeouts() returns
    refusing  an errno with which it refuses all questions to IPVS, such as errno.EPERM; 0 for none
    loaded    whether it has IPVS at all

    It has no synchronisation daemons.
    """

    port = 1
    room = 0  # it fills no datagram up, so that none leaves doubt whether a list went on

    def __init__(self, entries: "Iterable[tuple[Service, list[Destination]]]" = ()) -> None:
        self.entries = list(entries)
        self.info = Info("1.2.1", 4096)
        self.timeouts = Timeouts(900, 120, 300)
        self.refusing = 0
        self.loaded = True
        self._queue: list[bytes] = []

    def send(self, request: bytes) -> None:
        (message,) = genl.messages(request)
        to = (message.seq, message.port)
        is_dump = message.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP
        error, command, replies = self._answer(message)
        if not replies and not is_dump:
            error = error or errno.ESRCH
        self._queue = []
        for begin in range(0, len(replies), 64):  # as many as fit one datagram
            part = [genl.request(message.type, 0, *to, command, reply) for reply in replies[begin : begin + 64]]
            self._queue.append(b"".join(part))
        if error:  # quotes the header of the request
            payload = genl.ERRNO.pack(-error) + request[: genl.NLMSGHDR.size]
            length = genl.NLMSGHDR.size + len(payload)
            self._queue.append(genl.NLMSGHDR.pack(length, genl.NLMSG_ERROR, genl.NLM_F_CAPPED, *to) + payload)
        elif is_dump:
            length = genl.NLMSGHDR.size + genl.ERRNO.size
            self._queue.append(genl.NLMSGHDR.pack(length, genl.NLMSG_DONE, 0, *to) + genl.ERRNO.pack(0))

    def _answer(self, message: genl.Message) -> "tuple[int, int, list[bytes]]":
        """An errno, the command of the replies, and their attributes."""
        if message.type == genl.GENL_ID_CTRL:
            by_name = "FAMILY_NAME" in genl.CTRL_ATTRS.decode(message.attributes())
            missing = errno.ENOENT if by_name and not self.loaded else 0
            return missing, genl.CTRL_CMD_NEWFAMILY, [_FAMILY] if self.loaded else []
        if not self.loaded or self.refusing:
            return self.refusing or errno.ENOENT, 0, []
        return (0, *self._answer_of_ipvs(message))

    def _answer_of_ipvs(self, message: genl.Message) -> "tuple[int, list[bytes]]":
        command = message.command()
        if command == _schema.GET_INFO:
            return _schema.SET_INFO, [_encode.info(self.info)]
        if command == _schema.GET_CONFIG:
            return _schema.SET_CONFIG, [_encode.timeouts(self.timeouts)]
        if command == _schema.GET_DAEMON:
            return _schema.NEW_DAEMON, []
        wanted = decode_key(message.attributes())
        entries = [(_encode.service(service), pool) for service, pool in self.entries]
        found = [(attributes, pool) for attributes, pool in entries if wanted in (None, decode_key(attributes))]
        if command == _schema.GET_DEST:
            return _schema.NEW_DEST, [_encode.destination(destination) for _, pool in found for destination in pool]
        return _schema.NEW_SERVICE, [attributes for attributes, _ in found]

    def recv_into(self, buffer: bytearray) -> int:
        if not self._queue:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return put(self._queue.pop(0), buffer)

    def drain(self) -> None:
        self._queue = []

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # there is no socket

    def close(self) -> None:
        self.drain()

    def another(self, offer: int, largest: int = 0) -> None:
        """None: what it answers stays so until the next question, so that no client needs to ask twice."""


_FAMILY = genl.CTRL_ATTRS.encode({"FAMILY_ID": FAMILY, "FAMILY_NAME": _schema.FAMILY_NAME, "VERSION": 1})
