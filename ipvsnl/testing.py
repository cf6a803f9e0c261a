"""Test code that uses this package, without root or Linux: a kernel with the services that a test needs.

    from ipvsnl import Client, testing

    kernel = testing.Kernel([(testing.service(port=443), [testing.destination(weight=0)])])
    with Client(transport=kernel) as client:
        assert my_check(client) == "no real server of 10.0.0.1:443 takes connections"

It replies in netlink, byte for byte as a kernel does, so a test runs the whole client. A capture of a real kernel works
as well: Client(transport=capture.Replay(file)).
"""

import errno
import os
from collections.abc import Iterable

from . import _encode, _schema, genl
from ._decode import decode_key
from ._key import family_of
from ._testing_writes import WRITES, Entry, State, carry_out
from ._typing import typing
from .errors import DecodeError
from .model import Destination, Info, Service, ServiceFlags, Stats, TunnelFlags
from .transport import put

FAMILY = 0x20  # the id of IPVS; real kernels assign one at each registration


def stats(**changes: int) -> Stats:
    """Return counters that are 0, except for the changes."""
    return Stats(**{**dict.fromkeys(Stats.__match_args__, 0), **changes})


def service(**changes: "typing.Any") -> Service:
    """Return TCP 10.0.0.1:80 with the scheduler rr, except for the changes.

    With a fwmark it has no protocol, address or port.
    """
    family = _family(changes)
    netmask = 128 if family == "inet6" else 32
    values: dict[str, typing.Any] = dict.fromkeys(Service.__match_args__)
    values.update(address_family=family, scheduler="rr", flags=ServiceFlags.HASHED, timeout=0, netmask=netmask)
    if changes.get("fwmark") is None:
        values.update(protocol="tcp", address="10.0.0.1", port=80)
    return Service(**{**values, "stats": stats(), **changes})


def destination(**changes: "typing.Any") -> Destination:
    """Return 192.0.2.1:80 by masquerade with weight 1 and no connections, except for the changes."""
    values: dict[str, typing.Any] = dict.fromkeys(Destination.__match_args__, 0)
    values.update(address_family=_family(changes), address="192.0.2.1", port=80, forwarding="masquerade", weight=1)
    values.update(tunnel_type="ipip", tunnel_flags=TunnelFlags(0), stats=stats())
    return Destination(**{**values, **changes})


def _family(changes: "dict[str, typing.Any]") -> str:
    return str(changes.get("address_family", family_of(changes.get("address"))))


class Kernel(State):
    """A transport that replies as a kernel with these services does.

    All of these may be changed at any time:

    entries   the services with their real servers, as Client.dump() yields them
    info      what Client.info() returns
    timeouts  what Client.timeouts() returns
    refusing  an errno with which it refuses all requests to IPVS, such as errno.EPERM; 0 for none
    loaded    whether it has IPVS at all
    daemons     the synchronisation daemons
    schedulers  the names of the schedulers that it knows, and `engines` those of the persistence engines
    interfaces  the names of the network interfaces on which a daemon can run

    It carries out what ipvsnl.admin asks for, and refuses what a kernel refuses, with the same errno
    (_testing_writes.py).
    """

    port = 1
    room = 0  # it fills no datagram up, so that none leaves doubt whether a list went on

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        super().__init__(entries)
        self.info = Info("1.2.1", 4096)
        self.refusing = 0
        self.loaded = True
        self._queue: list[bytes] = []

    def send(self, request: bytes) -> None:
        self._queue = []
        for message in genl.messages(request):
            to = (message.seq, message.port)
            error, command, replies = self._answer(message)
            for begin in range(0, len(replies), 64):  # as many as fit one datagram
                part = [genl.request(message.type, 0, *to, command, reply) for reply in replies[begin : begin + 64]]
                self._queue.append(b"".join(part))
            if error or message.flags & genl.NLM_F_ACK:
                length = genl.NLMSGHDR.size + len(message.payload)
                quoted = genl.NLMSGHDR.pack(length, message.type, message.flags, *to)  # the header of the request
                length = genl.DONE.size + len(quoted)
                self._queue.append(genl.DONE.pack(length, genl.NLMSG_ERROR, genl.NLM_F_CAPPED, *to, -error) + quoted)
            elif _is_dump(message):
                self._queue.append(genl.DONE.pack(genl.DONE.size, genl.NLMSG_DONE, 0, *to, 0))

    def _answer(self, message: genl.Message) -> "tuple[int, int, list[bytes]]":
        """Return an errno, the command of the replies, and their attributes."""
        if message.type == genl.GENL_ID_CTRL:
            by_name = "FAMILY_NAME" in genl.CTRL_ATTRS.decode(message.attributes())
            missing = errno.ENOENT if by_name and not self.loaded else 0
            return missing, genl.CTRL_CMD_NEWFAMILY, [_FAMILY] if self.loaded else []
        if not self.loaded or self.refusing:
            return self.refusing or errno.ENOENT, 0, []
        command, attributes = message.command(), message.attributes()
        if command in WRITES and not _is_dump(message):
            return carry_out(self, command, attributes), 0, []
        if command not in READS:
            return errno.EOPNOTSUPP, 0, []
        try:
            wanted = decode_key(attributes)
        except DecodeError:
            return errno.EINVAL, 0, []
        found = [(service, pool) for service, pool in self.entries if wanted in (None, service.key)]
        is_missing = command == _schema.GET_SERVICE and not found and not _is_dump(message)
        reply, encode = READS[command]
        return errno.ESRCH if is_missing else 0, reply, encode(self, found)

    def recv_into(self, buffer: bytearray) -> int:
        if not self._queue:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return put(self._queue.pop(0), buffer)

    def drain(self) -> None:
        self._queue = []

    close = drain

    def fileno(self) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))  # there is no socket

    def another(self, offer: int, largest: int = 0) -> None:
        """Return None: nothing changes during a dump, so no client needs a second one."""


# By the command of a request: the command of its replies, and their attributes for the services that it asks for.
READS: "dict[int, tuple[int, typing.Callable[[Kernel, list[Entry]], list[bytes]]]]" = {
    _schema.GET_SERVICE: (_schema.NEW_SERVICE, lambda kernel, found: [_encode.service(each) for each, _ in found]),
    _schema.GET_DEST: (
        _schema.NEW_DEST,
        lambda kernel, found: [_encode.destination(each) for _, pool in found for each in pool],
    ),
    _schema.GET_DAEMON: (_schema.NEW_DAEMON, lambda kernel, found: [_encode.daemon(each) for each in kernel.daemons]),
    _schema.GET_CONFIG: (_schema.SET_CONFIG, lambda kernel, found: [_encode.timeouts(kernel.timeouts)]),
    _schema.GET_INFO: (_schema.SET_INFO, lambda kernel, found: [_encode.info(kernel.info)]),
}


def _is_dump(message: genl.Message) -> bool:
    return message.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP


_FAMILY = genl.CTRL_ATTRS.encode({"FAMILY_ID": FAMILY, "FAMILY_NAME": _schema.FAMILY_NAME, "VERSION": 1})
