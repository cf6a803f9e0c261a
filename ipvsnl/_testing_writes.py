"""Carry out the requests that change a testing.Kernel. Refuse what a kernel refuses, with the same errno.

Each function checks in the order of net/netfilter/ipvs/ip_vs_ctl.c, ip_vs_genl_set_cmd() first: a request may be wrong
in several ways, and the kernel reports the first. An attribute that is missing or malformed is EINVAL.
"""

import errno
import os
from collections.abc import Iterable
from ipaddress import ip_address

from . import _schema
from ._decode import ABSENT, DEST_ROWS, decode_daemon, decode_key, decode_service, decode_timeouts
from ._key import ADDRESS_FAMILIES, ServiceKey
from ._schema import COMMAND, DEST, SERVICE, STATS64
from ._typing import typing
from .attrs import HEADER, NLA_ALIGNTO, split
from .errors import DecodeError
from .model import Daemon, Destination, Service, ServiceFlags, Stats, Timeouts

NO_UNICAST = ("255.255.255.255", "127.255.255.255", "::ffff:", "fe80:")  # beside multicast and unspecified addresses

Entry = tuple[Service, list[Destination]]


class State:
    """What the requests change, and what they need: testing.Kernel describes each attribute."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.entries = list(entries)
        self.timeouts = Timeouts(900, 120, 300)
        self.daemons: list[Daemon] = []
        self.schedulers = set("none rr wrr lc wlc fo ovf lblc lblcr dh sh mh sed nq".split())  # noqa: SIM905
        self.engines = {"sip"}
        self.interfaces = {"lo", "eth0"}


def carry_out(state: State, command: int, attributes: bytes) -> int:
    """Carry out one of the `WRITES`. Return 0, or the errno with which the kernel refuses it."""
    try:
        WRITES[command](state, attributes)
    except DecodeError:
        return errno.EINVAL
    except OSError as error:
        return error.errno or 0
    return 0


def _refuse_if(is_wrong: bool, number: int) -> None:
    if is_wrong:
        raise OSError(number, os.strerror(number))


def _position(key: object, keys: Iterable[object], absent: int) -> int:
    """Return the position of the key. If there is none, refuse the request with the errno `absent`."""
    for position, each in enumerate(keys):
        if each == key:
            return position
    raise OSError(absent, os.strerror(absent))


# Virtual services.


def _key(attributes: bytes) -> "typing.Optional[ServiceKey]":
    """Return the key of the service that a request names."""
    values = COMMAND.decode(_nested("SERVICE", attributes))["SERVICE"]
    _refuse_if(values["AF"] not in ADDRESS_FAMILIES, errno.EAFNOSUPPORT)
    return decode_key(attributes)


def _find(state: State, attributes: bytes) -> int:
    """Return the position of the service that a request names."""
    return _position(_key(attributes), (service.key for service, _ in state.entries), errno.ESRCH)


def _parse_service(attributes: bytes) -> Service:
    """Return what a service should be."""
    _key(attributes)
    service = decode_service(_nested("SERVICE", attributes, SERVICE_COUNTERS))
    _refuse_if(len(service.scheduler) > 15 or len(service.persistence_engine or "") > 16, errno.EINVAL)
    service.flags |= ServiceFlags.HASHED
    return service


def _check_service(state: State, service: Service) -> None:
    _refuse_if(service.scheduler not in state.schedulers, errno.ENOENT)
    _refuse_if(service.persistence_engine not in (None, *state.engines), errno.ENOENT)
    _refuse_if(service.address_family == "inet6" and service.netmask == 0, errno.EINVAL)


def _new_service(state: State, attributes: bytes) -> None:
    new = _parse_service(attributes)
    _refuse_if(new.key in [service.key for service, _ in state.entries], errno.EEXIST)
    _check_service(state, new)
    state.entries.append((new, []))


def _set_service(state: State, attributes: bytes) -> None:
    new = _parse_service(attributes)
    position = _find(state, attributes)
    _check_service(state, new)
    old, pool = state.entries[position]
    new.stats = old.stats
    state.entries[position] = new, pool


def _del_service(state: State, attributes: bytes) -> None:
    del state.entries[_find(state, attributes)]


def _zero(state: State, attributes: bytes) -> None:
    entries = state.entries
    if "SERVICE" in COMMAND.decode(attributes):
        entries = [entries[_find(state, attributes)]]
    for service, pool in entries:
        service.stats = _no_stats()
        for dest in pool:
            dest.stats = _no_stats()


def _no_stats() -> Stats:
    return Stats(*[0] * len(Stats.__match_args__))


def _flush(state: State, attributes: bytes) -> None:
    state.entries.clear()


# Real servers.


def _parse_dest(state: State, attributes: bytes, rest: bytes) -> "tuple[Service, list[Destination], Destination]":
    """Return the service that a request names, its pool, and a real server: what the request says of it, and the rest.

    The kernel decodes the real server only if the service exists.
    """
    service, pool = state.entries[_find(state, attributes)]
    row = DEST_ROWS.row(_nested("DEST", attributes, rest))
    *_, family = DEST_ROWS.identifying(row)
    _refuse_if(family not in (ABSENT, *ADDRESS_FAMILIES), errno.EAFNOSUPPORT)
    (dest,) = DEST_ROWS.make([row], service.address_family)
    return service, pool, dest


def _parse_full_dest(state: State, attributes: bytes) -> "tuple[list[Destination], Destination]":
    """Return the pool of the service that a request names, and what a real server in it should be."""
    service, pool, dest = _parse_dest(state, attributes, DEST_COUNTERS)
    is_mixed = dest.address_family != service.address_family
    _refuse_if(is_mixed and (dest.forwarding != "tunnel" or bool(state.daemons)), errno.EINVAL)
    _refuse_if(dest.weight < 0 or dest.lower_threshold > dest.upper_threshold, errno.ERANGE)
    _refuse_if(dest.upper_threshold >= 2**31, errno.EINVAL)
    _refuse_if(dest.tunnel_type == "gue" and not dest.tunnel_port, errno.EINVAL)
    return pool, dest


def _new_dest(state: State, attributes: bytes) -> None:
    pool, dest = _parse_full_dest(state, attributes)
    _refuse_if(dest.key in [each.key for each in pool], errno.EEXIST)
    address = ip_address(dest.address)
    _refuse_if(address.is_multicast or address.is_unspecified, errno.EINVAL)
    _refuse_if(dest.address.startswith(NO_UNICAST), errno.EINVAL)
    pool.insert(0, dest)  # as the kernel does


def _set_dest(state: State, attributes: bytes) -> None:
    pool, dest = _parse_full_dest(state, attributes)
    position = _position(dest.key, (each.key for each in pool), errno.ENOENT)
    for field in ("active_connections", "inactive_connections", "persistent_connections", "stats"):
        setattr(dest, field, getattr(pool[position], field))
    pool[position] = dest


def _del_dest(state: State, attributes: bytes) -> None:
    _, pool, dest = _parse_dest(state, attributes, ALL_BUT_THE_KEY)
    del pool[_position(dest.key, (each.key for each in pool), errno.ENOENT)]


# All else.


def _set_config(state: State, attributes: bytes) -> None:
    wanted, old = decode_timeouts(attributes), state.timeouts
    most = 0x7FFFFFFF // 250  # seconds, at 250 ticks each
    _refuse_if(max(wanted.tcp, wanted.tcp_fin, wanted.udp) > most, errno.EINVAL)
    state.timeouts = Timeouts(wanted.tcp or old.tcp, wanted.tcp_fin or old.tcp_fin, wanted.udp or old.udp)


def _new_daemon(state: State, attributes: bytes) -> None:
    daemon = decode_daemon(_nested("DAEMON", attributes))
    group = daemon.mcast_group or "224.0.0.81"
    _refuse_if(len(daemon.mcast_ifn) > 15 or not ip_address(group).is_multicast, errno.EINVAL)
    is_mixed = any(dest.address_family != service.address_family for service, pool in state.entries for dest in pool)
    _refuse_if(is_mixed, errno.EINVAL)
    _refuse_if(daemon.mcast_ifn not in state.interfaces, errno.ENODEV)
    _refuse_if(daemon.state in [each.state for each in state.daemons], errno.EEXIST)
    _refuse_if(daemon.state not in _schema.DAEMON_STATES.values(), errno.EINVAL)
    maxlen = daemon.sync_maxlen or (1452 if ":" in group else 1472)
    port, ttl = daemon.mcast_port or 8848, daemon.mcast_ttl or 1
    state.daemons.append(Daemon(daemon.state, daemon.mcast_ifn, daemon.sync_id, maxlen, group, port, ttl))
    state.daemons.sort(key=lambda each: each.state, reverse=True)  # the master first


def _del_daemon(state: State, attributes: bytes) -> None:
    number = COMMAND.decode(_nested("DAEMON", attributes))["DAEMON"]["STATE"]
    _refuse_if(number not in _schema.DAEMON_STATES, errno.EINVAL)
    name = _schema.DAEMON_STATES[number]
    del state.daemons[_position(name, (daemon.state for daemon in state.daemons), errno.ESRCH)]


def _nested(name: str, attributes: bytes, rest: bytes = b"") -> bytes:
    """Return this attribute of a request alone, with the rest of what a reply has."""
    number, _ = COMMAND.types[name]
    payload = dict(split(attributes, COMMAND.prefix)).get(number, b"")
    payload += bytes(-len(payload) % NLA_ALIGNTO) + rest
    return HEADER.pack(HEADER.size + len(payload), number) + payload


def _zeros(table: _schema.Table, attributes: "Iterable[_schema.Attribute]") -> bytes:
    counters = dict.fromkeys(STATS64.types, 0)
    values = {each.name: counters if each.kind is STATS64 else 0 for each in attributes if each.name != "STATS"}
    return table.encode(values)


SERVICE_COUNTERS = _zeros(SERVICE, [each for each in SERVICE.attributes if each.counted])
DEST_COUNTERS = _zeros(DEST, [each for each in DEST.attributes if each.counted])
ALL_BUT_THE_KEY = _zeros(DEST, [each for each in DEST.attributes if not each.identity])

WRITES = {
    _schema.NEW_SERVICE: _new_service,
    _schema.SET_SERVICE: _set_service,
    _schema.DEL_SERVICE: _del_service,
    _schema.NEW_DEST: _new_dest,
    _schema.SET_DEST: _set_dest,
    _schema.DEL_DEST: _del_dest,
    _schema.NEW_DAEMON: _new_daemon,
    _schema.DEL_DAEMON: _del_daemon,
    _schema.SET_CONFIG: _set_config,
    _schema.ZERO: _zero,
    _schema.FLUSH: _flush,
}
