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
import socket
from collections.abc import Iterable
from ipaddress import ip_address

from . import _encode, _schema, genl
from ._decode import decode_daemon, decode_destination, decode_key, decode_service, decode_timeouts
from ._key import FAMILY_NUMBERS
from ._typing import typing
from .attrs import HEADER, split
from .errors import DecodeError
from .genl import NLM_F_ACK
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags
from .transport import put

FAMILY = 0x20  # the id of IPVS; real kernels assign one at each registration


def stats(**changes: int) -> Stats:
    """Return counters that are 0, except for the changes."""
    return Stats(**{**dict.fromkeys(Stats.__match_args__, 0), **changes})


def service(**changes: "typing.Any") -> Service:
    """Return TCP 10.0.0.1:80 with the scheduler rr, except for the changes.

    With a fwmark it has no protocol, address or port.
    """
    values: dict[str, typing.Any] = {
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


def destination(**changes: "typing.Any") -> Destination:
    """Return 192.0.2.1:80 by masquerade with weight 1 and no connections, except for the changes."""
    values: dict[str, typing.Any] = {
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


def _family(changes: "dict[str, typing.Any]") -> str:
    default = "inet6" if ":" in (changes.get("address") or "") else "inet"
    family: str = changes.get("address_family", default)
    return family


class Kernel:
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

    It carries out what ipvsnl.admin asks for, and refuses what a kernel refuses, with the same errno.
    """

    port = 1
    room = 0  # it fills no datagram up, so that none leaves doubt whether a list went on

    def __init__(self, entries: Iterable[tuple[Service, list[Destination]]] = ()) -> None:
        self.entries = list(entries)
        self.info = Info("1.2.1", 4096)
        self.timeouts = Timeouts(900, 120, 300)
        self.daemons: list[Daemon] = []
        self.schedulers = set("none rr wrr lc wlc fo ovf lblc lblcr dh sh mh sed nq".split())  # noqa: SIM905
        self.engines = {"sip"}
        self.interfaces = {"lo", "eth0"}
        self.refusing = 0
        self.loaded = True
        self._queue: list[bytes] = []

    def send(self, request: bytes) -> None:
        self._queue = []
        for message in genl.messages(request):
            self._handle(message)

    def _handle(self, message: genl.Message) -> None:
        to = (message.seq, message.port)
        is_dump = message.flags & genl.NLM_F_DUMP == genl.NLM_F_DUMP
        error, command, replies = self._answer(message)
        for begin in range(0, len(replies), 64):  # as many as fit one datagram
            part = [genl.request(message.type, 0, *to, command, reply) for reply in replies[begin : begin + 64]]
            self._queue.append(b"".join(part))
        if error or message.flags & NLM_F_ACK:  # quotes the header of the request
            length = genl.NLMSGHDR.size + len(message.payload)
            payload = genl.ERRNO.pack(-error) + genl.NLMSGHDR.pack(length, message.type, message.flags, *to)
            length = genl.NLMSGHDR.size + len(payload)
            self._queue.append(genl.NLMSGHDR.pack(length, genl.NLMSG_ERROR, genl.NLM_F_CAPPED, *to) + payload)
        elif is_dump:
            length = genl.NLMSGHDR.size + genl.ERRNO.size
            self._queue.append(genl.NLMSGHDR.pack(length, genl.NLMSG_DONE, 0, *to) + genl.ERRNO.pack(0))

    def _answer(self, message: genl.Message) -> "tuple[int, int, list[bytes]]":
        """Return an errno, the command of the replies, and their attributes."""
        if message.type == genl.GENL_ID_CTRL:
            by_name = "FAMILY_NAME" in genl.CTRL_ATTRS.decode(message.attributes())
            missing = errno.ENOENT if by_name and not self.loaded else 0
            return missing, genl.CTRL_CMD_NEWFAMILY, [_FAMILY] if self.loaded else []
        if not self.loaded or self.refusing:
            return self.refusing or errno.ENOENT, 0, []
        command, attributes = message.command(), message.attributes()
        if command in WRITES:
            try:
                WRITES[command](self, attributes)
            except DecodeError:
                return errno.EINVAL, 0, []
            except OSError as error:
                return error.errno or 0, 0, []
            return 0, 0, []
        if command not in READS:
            return errno.EOPNOTSUPP, 0, []
        reply, replies = self._read(command, attributes)
        is_missing = command == _schema.GET_SERVICE and not replies and not message.flags & genl.NLM_F_DUMP
        return errno.ESRCH if is_missing else 0, reply, replies

    def _read(self, command: int, attributes: bytes) -> "tuple[int, list[bytes]]":
        if command == _schema.GET_INFO:
            return _schema.SET_INFO, [_encode.info(self.info)]
        if command == _schema.GET_CONFIG:
            return _schema.SET_CONFIG, [_encode.timeouts(self.timeouts)]
        if command == _schema.GET_DAEMON:
            return _schema.NEW_DAEMON, [_encode.daemon(daemon) for daemon in self.daemons]
        wanted = decode_key(attributes)
        found = [(service, pool) for service, pool in self.entries if wanted in (None, service.key)]
        if command == _schema.GET_DEST:
            return _schema.NEW_DEST, [_encode.destination(destination) for _, pool in found for destination in pool]
        return _schema.NEW_SERVICE, [_encode.service(service) for service, _ in found]

    def _find(self, attributes: bytes) -> "tuple[int, Service, list[Destination]]":
        """Return the position of the service that a request names, and the service with its pool."""
        _check_family(attributes, "SERVICE", "AF")
        key = decode_key(attributes)
        if key is None:
            raise OSError(errno.EINVAL, "no service is named")
        for position, (service, pool) in enumerate(self.entries):
            if service.key == key:
                _check_family(attributes, "DEST", "ADDR_FAMILY")
                return position, service, pool
        raise OSError(errno.ESRCH, "no such service")

    def _new_service(self, attributes: bytes) -> None:
        if _parsed_service(attributes).key in [service.key for service, _ in self.entries]:
            raise OSError(errno.EEXIST, "the service exists")
        self.entries.append((self._requested_service(attributes), []))

    def _set_service(self, attributes: bytes) -> None:
        position, old, pool = self._find(attributes)
        new = self._requested_service(attributes)
        new.stats = old.stats
        self.entries[position] = new, pool

    def _requested_service(self, attributes: bytes) -> Service:
        service = _parsed_service(attributes)
        if service.scheduler not in self.schedulers or service.persistence_engine not in (None, *self.engines):
            raise OSError(errno.ENOENT, "no such module")
        if service.address_family == "inet6" and service.netmask == 0:
            raise OSError(errno.EINVAL, "no such netmask")
        service.flags |= ServiceFlags.HASHED
        return service

    def _del_service(self, attributes: bytes) -> None:
        position, _, _ = self._find(attributes)
        del self.entries[position]

    def _new_dest(self, attributes: bytes) -> None:
        pool, position, dest = self._requested_dest(attributes)
        if position is not None:
            raise OSError(errno.EEXIST, "the real server exists")
        _, packed, _ = dest.key
        multicast = packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF
        if multicast or not any(packed) or packed in (b"\xff" * 4, b"\x7f\xff\xff\xff"):
            raise OSError(errno.EINVAL, "no unicast address")
        pool.insert(0, dest)  # as the kernel does

    def _set_dest(self, attributes: bytes) -> None:
        pool, position, dest = self._requested_dest(attributes)
        if position is None:
            raise OSError(errno.ENOENT, "no such real server")
        for field in ("active_connections", "inactive_connections", "persistent_connections", "stats"):
            setattr(dest, field, getattr(pool[position], field))
        pool[position] = dest

    def _requested_dest(self, attributes: bytes) -> "tuple[list[Destination], int | None, Destination]":
        """Return the pool, the position in it of the real server that a request names, and what it should be."""
        _, service, pool = self._find(attributes)
        dest = decode_destination(_completed(attributes, "DEST", _DEST_COUNTERS), service.address_family)
        is_mixed = dest.address_family != service.address_family
        if is_mixed and (dest.forwarding != "tunnel" or self.daemons):
            raise OSError(errno.EINVAL, "the address family is not the service's")
        if dest.weight < 0 or dest.lower_threshold > dest.upper_threshold:
            raise OSError(errno.ERANGE, "a weight below 0, or a lower threshold above the upper")
        if dest.upper_threshold >= 2**31 or (dest.tunnel_type == "gue" and not dest.tunnel_port):
            raise OSError(errno.EINVAL, "a threshold that is too large, or GUE without a port")
        keys = [each.key for each in pool]
        return pool, keys.index(dest.key) if dest.key in keys else None, dest

    def _del_dest(self, attributes: bytes) -> None:
        _, service, pool = self._find(attributes)
        values = _schema.COMMAND.decode(attributes)["DEST"]
        family = values.get("ADDR_FAMILY", service.key[1])
        network, host, rest = values["ADDR"]
        packed = (network + bytes([host]) + rest)[: 4 if family == FAMILY_NUMBERS["inet"] else 16]
        for position, dest in enumerate(pool):
            if dest.key == (family, packed, socket.ntohs(values["PORT"])):
                del pool[position]
                return
        raise OSError(errno.ENOENT, "no such real server")

    def _zero(self, attributes: bytes) -> None:
        entries = self.entries
        if attributes:
            position, _, _ = self._find(attributes)
            entries = entries[position : position + 1]
        for service, pool in entries:
            service.stats = stats()
            for dest in pool:
                dest.stats = stats()

    def _flush(self, attributes: bytes) -> None:
        self.entries.clear()

    def _set_config(self, attributes: bytes) -> None:
        wanted = decode_timeouts(attributes)
        if max(wanted.tcp, wanted.tcp_fin, wanted.udp) > 0x7FFFFFFF // 250:  # at 250 ticks a second
            raise OSError(errno.EINVAL, "a timeout that is too long")
        old = self.timeouts
        self.timeouts = Timeouts(wanted.tcp or old.tcp, wanted.tcp_fin or old.tcp_fin, wanted.udp or old.udp)

    def _new_daemon(self, attributes: bytes) -> None:
        wanted = decode_daemon(attributes)
        if wanted.state not in _schema.DAEMON_STATES.values():
            raise OSError(errno.EINVAL, "no such state")
        if wanted.state in [daemon.state for daemon in self.daemons]:
            raise OSError(errno.EEXIST, "the daemon runs")
        if any(dest.address_family != service.address_family for service, pool in self.entries for dest in pool):
            raise OSError(errno.EINVAL, "a real server has another address family than its service")
        if wanted.mcast_ifn not in self.interfaces:
            raise OSError(errno.ENODEV, "no such interface")
        group = wanted.mcast_group or "224.0.0.81"
        if not ip_address(group).is_multicast:
            raise OSError(errno.EINVAL, "no multicast group")
        maxlen = wanted.sync_maxlen or (1452 if ":" in group else 1472)
        port, ttl = wanted.mcast_port or 8848, wanted.mcast_ttl or 1
        self.daemons.append(Daemon(wanted.state, wanted.mcast_ifn, wanted.sync_id, maxlen, group, port, ttl))
        self.daemons.sort(key=lambda daemon: daemon.state, reverse=True)  # the master first

    def _del_daemon(self, attributes: bytes) -> None:
        state = _schema.DAEMON_STATES.get(_schema.COMMAND.decode(attributes)["DAEMON"]["STATE"])
        for daemon in self.daemons:
            if daemon.state == state:
                self.daemons.remove(daemon)
                return
        raise OSError(errno.ESRCH, "no such daemon runs")

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
        """Return None: nothing changes during a dump, so no client needs a second one."""


WRITES = {
    _schema.NEW_SERVICE: Kernel._new_service,
    _schema.SET_SERVICE: Kernel._set_service,
    _schema.DEL_SERVICE: Kernel._del_service,
    _schema.NEW_DEST: Kernel._new_dest,
    _schema.SET_DEST: Kernel._set_dest,
    _schema.DEL_DEST: Kernel._del_dest,
    _schema.NEW_DAEMON: Kernel._new_daemon,
    _schema.DEL_DAEMON: Kernel._del_daemon,
    _schema.SET_CONFIG: Kernel._set_config,
    _schema.ZERO: Kernel._zero,
    _schema.FLUSH: Kernel._flush,
}


READS = {_schema.GET_SERVICE, _schema.GET_DEST, _schema.GET_DAEMON, _schema.GET_CONFIG, _schema.GET_INFO}


def _check_family(attributes: bytes, name: str, field: str) -> None:
    values = _schema.COMMAND.decode(attributes).get(name) or {}
    if field in values and values[field] not in FAMILY_NUMBERS.values():
        raise OSError(errno.EAFNOSUPPORT, "no such address family")


def _parsed_service(attributes: bytes) -> Service:
    _check_family(attributes, "SERVICE", "AF")
    service = decode_service(_completed(attributes, "SERVICE", _SERVICE_COUNTERS))
    if len(service.scheduler) > 15 or len(service.persistence_engine or "") > 16:
        raise OSError(errno.EINVAL, "a name that is too long")
    return service


def _completed(attributes: bytes, name: str, counters: bytes) -> bytes:
    """Return the attributes of a request with what the kernel counts, so that they are those of a reply."""
    number = _schema.COMMAND.types[name][0]
    parts = [
        (type, payload + counters if type == number else payload)
        for type, payload in split(attributes, _schema.COMMAND.prefix)
    ]
    return b"".join([HEADER.pack(HEADER.size + len(payload), type) + payload for type, payload in parts])


def _counters(table: _schema.Table, entry: "Service | Destination") -> bytes:
    return _encode.Encoder(each for each in table.attributes if each.counted and each.name != "STATS").encode(entry)


_SERVICE_COUNTERS = _counters(_schema.SERVICE, service())
_DEST_COUNTERS = _counters(_schema.DEST, destination())
_FAMILY = genl.CTRL_ATTRS.encode({"FAMILY_ID": FAMILY, "FAMILY_NAME": _schema.FAMILY_NAME, "VERSION": 1})
