"""Requests that the kernel refuses, each with its errno, as bytes that no code of the package has made.

Each is a valid request but for what its name says. Those with two faults show which one the kernel sees first: it
parses the service (EINVAL), looks for it (ESRCH), parses the real server (EINVAL), and then checks its values
(ip_vs_genl_set_cmd() in net/netfilter/ipvs/ip_vs_ctl.c).
"""

from __future__ import annotations

from errno import EAFNOSUPPORT, EEXIST, EINVAL, ENODEV, ENOENT, EOPNOTSUPP, ERANGE, ESRCH
from typing import Any, NamedTuple

from netlink import (
    CMD_DAEMON,
    CMD_SERVICE,
    DAEMON,
    DEL_DAEMON,
    DEL_DEST,
    DEL_SERVICE,
    FLUSH,
    NEW_DAEMON,
    NEW_DEST,
    NEW_SERVICE,
    NLM_F_ACK,
    NLM_F_REQUEST,
    SET_CONFIG,
    SET_DEST,
    SET_INFO,
    SET_SERVICE,
    ZERO,
    Tree,
    address,
    be16,
    destination,
    message,
    pack,
    s32,
    text,
    u8,
    u16,
    u32,
)
from netlink import service as full_service

NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE, NLM_F_APPEND = 0x100, 0x200, 0x400, 0x800
POLICY = "Attribute failed policy validation"


class Request(NamedTuple):
    """A request, and what the kernel answers in the state that `before` leaves."""

    command: int
    tree: Tree
    errno: int = 0
    text: str | None = None  # extended acknowledgement
    flags: int = 0
    nested: int = 0x8000
    before: tuple[Request, ...] = ()

    def message(self, family: int, seq: int, port: int) -> bytes:
        flags = NLM_F_REQUEST | NLM_F_ACK | self.flags
        return message(family, pack(self.tree, self.nested), command=self.command, flags=flags, seq=seq, port=port)


def service(**changes: Any) -> Tree:
    """TCP 10.0.0.1:80 with all its settings."""
    return full_service(STATS=None, STATS64=None, **changes)


def service6(**changes: Any) -> Tree:
    return service(**{"AF": u16(10), "ADDR": address("2001:db8::1"), "NETMASK": u32(128), **changes})


def key(**changes: Any) -> Tree:
    return service(SCHED_NAME=None, FLAGS=None, TIMEOUT=None, NETMASK=None, **changes)


KEY, KEY6 = key(), key(AF=u16(10), ADDR=address("2001:db8::1"))
ABSENT = key(PORT=be16(99))


def dest(**changes: Any) -> Tree:
    """192.0.2.1:8080 with all its settings."""
    counted = dict.fromkeys(["ACTIVE_CONNS", "INACT_CONNS", "PERSIST_CONNS", "STATS", "STATS64"])
    return destination({**counted, **changes})


def dest6(ip: str, **changes: Any) -> Tree:
    return dest(**{"ADDR_FAMILY": u16(10), "ADDR": address(ip), **changes})


def daemon(**changes: Any) -> Tree:
    """A master on lo."""
    values = {"STATE": u32(1), "MCAST_IFN": text("lo"), "SYNC_ID": u32(7), **changes}
    return [(CMD_DAEMON, [(DAEMON[name], value) for name, value in values.items() if value is not None])]


# What is there before each request: two services, each with a real server.
GIVEN = (
    Request(NEW_SERVICE, service()),
    Request(NEW_SERVICE, service6()),
    Request(NEW_DEST, KEY + dest()),
    Request(NEW_DEST, KEY6 + dest6("2001:db8::5")),
)

OTHER, TUNNEL, GUE = be16(81), u32(2), {"TUN_TYPE": u8(1), "TUN_PORT": be16(0)}
NO_ADDRESS = {"PROTOCOL": None, "ADDR": None, "PORT": None}
MASTER = Request(NEW_DAEMON, daemon())
MIXED = Request(NEW_DEST, KEY + dest6("2001:db8::6", FWD_METHOD=TUNNEL))
UNNAMED_FAMILY = dest6("2001:db8::6", FWD_METHOD=TUNNEL, ADDR_FAMILY=None)

# fmt: off
REQUESTS = {
    # The request.
    "command 0": Request(0, KEY, EOPNOTSUPP),
    "command 18": Request(18, KEY, EOPNOTSUPP),
    "SET_INFO": Request(SET_INFO, [], EOPNOTSUPP),
    "a write with the flags of a dump": Request(SET_SERVICE, service(), EOPNOTSUPP, flags=NLM_F_REPLACE | NLM_F_EXCL),
    "NEW_SERVICE of what exists, with NLM_F_REPLACE": Request(NEW_SERVICE, service(), EEXIST, flags=NLM_F_REPLACE),
    "SET_SERVICE of what is absent, with NLM_F_CREATE":
        Request(SET_SERVICE, service(PORT=OTHER), ESRCH, flags=NLM_F_CREATE | NLM_F_APPEND),
    "without NLA_F_NESTED": Request(NEW_SERVICE, service(PORT=OTHER), nested=0),
    "unknown attributes": Request(NEW_SERVICE, [(77, b"x"), (CMD_SERVICE, [(77, b"x"), *service(PORT=OTHER)[0][1]])]),

    # The key of a service.
    "no SERVICE": Request(DEL_SERVICE, [], EINVAL),
    "an empty SERVICE": Request(DEL_SERVICE, [(CMD_SERVICE, [])], EINVAL),
    "a key without AF": Request(DEL_SERVICE, key(AF=None), EINVAL),
    "a key without PROTOCOL": Request(DEL_SERVICE, key(PROTOCOL=None), EINVAL),
    "a key without ADDR": Request(DEL_SERVICE, key(ADDR=None), EINVAL),
    "a key without PORT": Request(DEL_SERVICE, key(PORT=None), EINVAL),
    "a key with AF in one byte": Request(DEL_SERVICE, key(AF=u8(2)), EINVAL),
    "a key with PORT in one byte": Request(DEL_SERVICE, key(PORT=u8(80)), EINVAL),
    "a key with ADDR of 17 bytes": Request(DEL_SERVICE, key(ADDR=address("10.0.0.1") + b"\0"), EINVAL),
    "a key with ADDR of 4 bytes": Request(DEL_SERVICE, key(ADDR=address("10.0.0.1")[:4])),
    "a key with AF 1": Request(DEL_SERVICE, key(AF=u16(1)), EAFNOSUPPORT),
    "a key with AF 3": Request(NEW_DEST, key(AF=u16(3)) + dest(PORT=OTHER), EAFNOSUPPORT),
    "a new service with AF 3": Request(NEW_SERVICE, service(AF=u16(3), PORT=OTHER), EAFNOSUPPORT),
    "a mark without AF": Request(NEW_SERVICE, service(AF=None, FWMARK=u32(1), **NO_ADDRESS), EINVAL),
    "a mark in two bytes": Request(NEW_SERVICE, service(FWMARK=u16(1), **NO_ADDRESS), EINVAL),
    "a mark that is absent": Request(DEL_SERVICE, key(FWMARK=u32(1), **NO_ADDRESS), ESRCH),

    # NEW_SERVICE, SET_SERVICE, DEL_SERVICE.
    "a new service": Request(NEW_SERVICE, service(PORT=OTHER)),
    "a new service without SCHED_NAME": Request(NEW_SERVICE, service(PORT=OTHER, SCHED_NAME=None), EINVAL),
    "a new service without FLAGS": Request(NEW_SERVICE, service(PORT=OTHER, FLAGS=None), EINVAL),
    "a new service without TIMEOUT": Request(NEW_SERVICE, service(PORT=OTHER, TIMEOUT=None), EINVAL),
    "a new service without NETMASK": Request(NEW_SERVICE, service(PORT=OTHER, NETMASK=None), EINVAL),
    "an edit without SCHED_NAME": Request(SET_SERVICE, service(SCHED_NAME=None), EINVAL),
    "an edit without FLAGS": Request(SET_SERVICE, service(FLAGS=None), EINVAL),
    "an edit without TIMEOUT": Request(SET_SERVICE, service(TIMEOUT=None), EINVAL),
    "an edit without NETMASK": Request(SET_SERVICE, service(NETMASK=None), EINVAL),
    "a scheduler of 16 characters": Request(NEW_SERVICE, service(PORT=OTHER, SCHED_NAME=text("s" * 16)), EINVAL),
    "a scheduler without NUL": Request(NEW_SERVICE, service(PORT=OTHER, SCHED_NAME=b"rr"), EINVAL),
    "an unknown scheduler": Request(NEW_SERVICE, service(PORT=OTHER, SCHED_NAME=text("nosuch")), ENOENT),
    "an empty scheduler": Request(NEW_SERVICE, service(PORT=OTHER, SCHED_NAME=text("")), ENOENT),
    "FLAGS of 9 bytes": Request(NEW_SERVICE, service(PORT=OTHER, FLAGS=bytes(9)), EINVAL),
    "FLAGS of 4 bytes": Request(NEW_SERVICE, service(PORT=OTHER, FLAGS=bytes(4))),
    "TIMEOUT in two bytes": Request(NEW_SERVICE, service(PORT=OTHER, TIMEOUT=u16(60)), EINVAL),
    "NETMASK in two bytes": Request(NEW_SERVICE, service(PORT=OTHER, NETMASK=u16(0)), EINVAL),
    "an IPv6 netmask of 0": Request(NEW_SERVICE, service6(PORT=OTHER, NETMASK=u32(0)), EINVAL),
    "an IPv6 netmask of 129": Request(NEW_SERVICE, service6(PORT=OTHER, NETMASK=u32(129)), EINVAL),
    "an edit to an IPv6 netmask of 0": Request(SET_SERVICE, service6(SCHED_NAME=text("wlc"), NETMASK=u32(0)), EINVAL),
    "an engine of 17 characters": Request(NEW_SERVICE, service(PORT=OTHER, PE_NAME=text("e" * 17)), EINVAL),
    "an unknown engine": Request(NEW_SERVICE, service(PORT=OTHER, PE_NAME=text("nosuch")), ENOENT),
    "an edit to an unknown scheduler": Request(SET_SERVICE, service(SCHED_NAME=text("nosuch")), ENOENT),
    "an edit to an unknown engine": Request(SET_SERVICE, service(PE_NAME=text("nosuch")), ENOENT),
    "a service that exists": Request(NEW_SERVICE, service(), EEXIST),
    "an edit of an absent service": Request(SET_SERVICE, service(PORT=OTHER), ESRCH),
    "a deletion of an absent service": Request(DEL_SERVICE, ABSENT, ESRCH),
    "parse before EEXIST": Request(NEW_SERVICE, service(TIMEOUT=None), EINVAL),
    "parse before ESRCH": Request(SET_SERVICE, service(PORT=OTHER, TIMEOUT=None), EINVAL),
    "EEXIST before the scheduler": Request(NEW_SERVICE, service(SCHED_NAME=text("nosuch")), EEXIST),
    "ESRCH before the scheduler": Request(SET_SERVICE, service(PORT=OTHER, SCHED_NAME=text("nosuch")), ESRCH),
    "scheduler before netmask":
        Request(NEW_SERVICE, service6(PORT=OTHER, SCHED_NAME=text("nosuch"), NETMASK=u32(0)), ENOENT),
    "engine before netmask":
        Request(NEW_SERVICE, service6(PORT=OTHER, PE_NAME=text("nosuch"), NETMASK=u32(0)), ENOENT),

    # NEW_DEST, SET_DEST, DEL_DEST.
    "a new real server": Request(NEW_DEST, KEY + dest(PORT=OTHER)),
    "no DEST": Request(NEW_DEST, KEY, EINVAL),
    "an empty DEST": Request(NEW_DEST, [*KEY, (2, [])], EINVAL),
    "a real server without ADDR": Request(NEW_DEST, KEY + dest(ADDR=None), EINVAL),
    "a real server without PORT": Request(NEW_DEST, KEY + dest(PORT=None), EINVAL),
    "a real server without FWD_METHOD": Request(NEW_DEST, KEY + dest(PORT=OTHER, FWD_METHOD=None), EINVAL),
    "a real server without WEIGHT": Request(NEW_DEST, KEY + dest(PORT=OTHER, WEIGHT=None), EINVAL),
    "a real server without U_THRESH": Request(NEW_DEST, KEY + dest(PORT=OTHER, U_THRESH=None), EINVAL),
    "a real server without L_THRESH": Request(NEW_DEST, KEY + dest(PORT=OTHER, L_THRESH=None), EINVAL),
    "its edit without FWD_METHOD": Request(SET_DEST, KEY + dest(FWD_METHOD=None), EINVAL),
    "its edit without WEIGHT": Request(SET_DEST, KEY + dest(WEIGHT=None), EINVAL),
    "its edit without U_THRESH": Request(SET_DEST, KEY + dest(U_THRESH=None), EINVAL),
    "its edit without L_THRESH": Request(SET_DEST, KEY + dest(L_THRESH=None), EINVAL),
    "its deletion without ADDR": Request(DEL_DEST, KEY + dest(ADDR=None), EINVAL),
    "its deletion without PORT": Request(DEL_DEST, KEY + dest(PORT=None), EINVAL),
    "its deletion by ADDR and PORT alone":
        Request(DEL_DEST, [*KEY, (2, [each for each in dest()[0][1] if each[0] in (1, 2)])]),
    "a real server with ADDR of 17 bytes": Request(NEW_DEST, KEY + dest(ADDR=bytes(17)), EINVAL),
    "WEIGHT in two bytes": Request(NEW_DEST, KEY + dest(PORT=OTHER, WEIGHT=u16(1)), EINVAL),
    "ADDR_FAMILY 3": Request(NEW_DEST, KEY + dest(PORT=OTHER, ADDR_FAMILY=u16(3)), EAFNOSUPPORT),
    "an edit with ADDR_FAMILY 3": Request(SET_DEST, KEY + dest(ADDR_FAMILY=u16(3)), EAFNOSUPPORT),
    "a deletion with ADDR_FAMILY 3": Request(DEL_DEST, KEY + dest(ADDR_FAMILY=u16(3)), EAFNOSUPPORT),
    "a negative weight": Request(NEW_DEST, KEY + dest(PORT=OTHER, WEIGHT=s32(-1)), ERANGE),
    "an edit to a negative weight": Request(SET_DEST, KEY + dest(WEIGHT=s32(-1)), ERANGE),
    "L_THRESH above U_THRESH": Request(NEW_DEST, KEY + dest(PORT=OTHER, U_THRESH=u32(5), L_THRESH=u32(6)), ERANGE),
    "L_THRESH without U_THRESH": Request(NEW_DEST, KEY + dest(PORT=OTHER, L_THRESH=u32(1)), ERANGE),
    "an edit to L_THRESH above U_THRESH": Request(SET_DEST, KEY + dest(U_THRESH=u32(5), L_THRESH=u32(6)), ERANGE),
    "U_THRESH of 2**31": Request(NEW_DEST, KEY + dest(PORT=OTHER, U_THRESH=u32(2**31)), EINVAL),
    "an edit to U_THRESH of 2**31": Request(SET_DEST, KEY + dest(U_THRESH=u32(2**31)), EINVAL),
    "U_THRESH of 2**31 - 1": Request(NEW_DEST, KEY + dest(PORT=OTHER, U_THRESH=u32(2**31 - 1))),
    "GUE with port 0": Request(NEW_DEST, KEY + dest(PORT=OTHER, FWD_METHOD=TUNNEL, **GUE), EINVAL),
    "GUE with port 0, masqueraded": Request(NEW_DEST, KEY + dest(PORT=OTHER, **GUE), EINVAL),
    "an edit to GUE with port 0": Request(SET_DEST, KEY + dest(FWD_METHOD=TUNNEL, **GUE), EINVAL),
    "a real server that exists": Request(NEW_DEST, KEY + dest(), EEXIST),
    "a real server that exists, with another tunnel":
        Request(NEW_DEST, KEY + dest(FWD_METHOD=TUNNEL, TUN_TYPE=u8(2)), EEXIST),
    "an edit of an absent real server": Request(SET_DEST, KEY + dest(PORT=OTHER), ENOENT),
    "a deletion of an absent real server": Request(DEL_DEST, KEY + dest(PORT=OTHER), ENOENT),
    "a new one of an absent service": Request(NEW_DEST, ABSENT + dest(), ESRCH),
    "an edit of one of an absent service": Request(SET_DEST, ABSENT + dest(), ESRCH),
    "a deletion of one of an absent service": Request(DEL_DEST, ABSENT + dest(), ESRCH),
    "parse of the service before all": Request(NEW_DEST, key(AF=None) + dest(WEIGHT=None), EINVAL),
    "AF before parse of the real server": Request(NEW_DEST, key(AF=u16(3)) + dest(WEIGHT=None), EAFNOSUPPORT),
    "ESRCH before no DEST": Request(NEW_DEST, ABSENT, ESRCH),
    "ESRCH before parse, new": Request(NEW_DEST, ABSENT + dest(WEIGHT=None), ESRCH),
    "ESRCH before parse, edit": Request(SET_DEST, ABSENT + dest(WEIGHT=None), ESRCH),
    "ESRCH before parse, deletion": Request(DEL_DEST, ABSENT + dest(PORT=None), ESRCH),
    "ESRCH before ADDR_FAMILY": Request(NEW_DEST, ABSENT + dest(ADDR_FAMILY=u16(3)), ESRCH),
    "parse before ADDR_FAMILY": Request(NEW_DEST, KEY + dest(ADDR_FAMILY=u16(3), WEIGHT=None), EINVAL),
    "ADDR_FAMILY before weight": Request(NEW_DEST, KEY + dest(ADDR_FAMILY=u16(3), WEIGHT=s32(-1)), EAFNOSUPPORT),
    "mixed families before weight": Request(NEW_DEST, KEY + dest6("2001:db8::6", WEIGHT=s32(-1)), EINVAL),
    "weight before U_THRESH": Request(NEW_DEST, KEY + dest(U_THRESH=u32(2**31), WEIGHT=s32(-1)), ERANGE),
    "weight before the GUE port": Request(NEW_DEST, KEY + dest(WEIGHT=s32(-1), **GUE), ERANGE),
    "weight before EEXIST": Request(NEW_DEST, KEY + dest(WEIGHT=s32(-1)), ERANGE),
    "weight before ENOENT": Request(SET_DEST, KEY + dest(PORT=OTHER, WEIGHT=s32(-1)), ERANGE),
    "the GUE port before EEXIST": Request(NEW_DEST, KEY + dest(**GUE), EINVAL),
    "the GUE port before ENOENT": Request(SET_DEST, KEY + dest(PORT=OTHER, **GUE), EINVAL),

    # Two address families.
    "a tunnel to IPv6": MIXED,
    "masquerade to IPv6": Request(NEW_DEST, KEY + dest6("2001:db8::6"), EINVAL),
    "direct to IPv6": Request(NEW_DEST, KEY + dest6("2001:db8::6", FWD_METHOD=u32(3)), EINVAL),
    "masquerade of IPv6 to IPv4": Request(NEW_DEST, KEY6 + dest(), EINVAL),
    "an edit of a tunnel to IPv6 to masquerade": Request(SET_DEST, KEY + dest6("2001:db8::6"), EINVAL, before=(MIXED,)),
    "a tunnel to IPv6 beside a daemon": MIXED._replace(errno=EINVAL, before=(MASTER,)),
    "a daemon beside a tunnel to IPv6": MASTER._replace(errno=EINVAL, before=(MIXED,)),
    "deletion of an absent tunnel to IPv6 beside a daemon":
        Request(DEL_DEST, KEY + dest6("2001:db8::6"), ENOENT, before=(MASTER,)),
    "an edit of a tunnel to IPv6 without ADDR_FAMILY":
        MIXED._replace(command=SET_DEST, tree=KEY + UNNAMED_FAMILY, errno=ENOENT, before=(MIXED,)),
    "a deletion of a tunnel to IPv6 without ADDR_FAMILY":
        MIXED._replace(command=DEL_DEST, tree=KEY + UNNAMED_FAMILY, errno=ENOENT, before=(MIXED,)),
    "a deletion of a tunnel to IPv6": MIXED._replace(command=DEL_DEST, before=(MIXED,)),

    # The address of a new real server. An edit and a deletion do not look at it.
    **{f"a real server {ip}": Request(NEW_DEST, KEY + dest(ADDR=address(ip)), EINVAL)
       for ip in ("0.0.0.0", "224.0.0.1", "239.255.255.255", "255.255.255.255", "127.255.255.255")},
    **{f"a real server {ip}": Request(NEW_DEST, KEY6 + dest6(ip), EINVAL)
       for ip in ("::", "ff02::1", "::ffff:192.0.2.1", "fe80::1")},
    "a real server 127.0.0.1": Request(NEW_DEST, KEY + dest(ADDR=address("127.0.0.1"))),
    "an edit of 224.0.0.1": Request(SET_DEST, KEY + dest(ADDR=address("224.0.0.1")), ENOENT),

    # ZERO, FLUSH, SET_CONFIG.
    "ZERO of an absent service": Request(ZERO, ABSENT, ESRCH),
    "ZERO of an empty SERVICE": Request(ZERO, [(CMD_SERVICE, [])], EINVAL),
    "ZERO of AF 3": Request(ZERO, key(AF=u16(3)), EAFNOSUPPORT),
    "ZERO of all": Request(ZERO, []),
    "FLUSH": Request(FLUSH, []),
    "FLUSH that names an absent service": Request(FLUSH, ABSENT),
    "a TCP timeout that is too long": Request(SET_CONFIG, [(4, u32(2**31 - 1)), (6, u32(30))], EINVAL),
    "a TCP-FIN timeout that is too long": Request(SET_CONFIG, [(5, u32(2**31 - 1)), (6, u32(30))], EINVAL),
    "a UDP timeout that is too long": Request(SET_CONFIG, [(4, u32(30)), (6, u32(2**31 - 1))], EINVAL),
    "a timeout in two bytes": Request(SET_CONFIG, [(4, u16(30))], ERANGE, POLICY),
    "timeouts of 0": Request(SET_CONFIG, [(4, u32(0)), (5, u32(0)), (6, u32(0))]),

    # NEW_DAEMON, DEL_DAEMON.
    "a daemon": MASTER,
    "a daemon that runs": MASTER._replace(errno=EEXIST, before=(MASTER,)),
    "no DAEMON": Request(NEW_DAEMON, [], EINVAL),
    "a daemon without STATE": Request(NEW_DAEMON, daemon(STATE=None), EINVAL),
    "a daemon without MCAST_IFN": Request(NEW_DAEMON, daemon(MCAST_IFN=None), EINVAL),
    "a daemon without SYNC_ID": Request(NEW_DAEMON, daemon(SYNC_ID=None), EINVAL),
    "a daemon of state 0": Request(NEW_DAEMON, daemon(STATE=u32(0)), EINVAL),
    "a daemon of state 3": Request(NEW_DAEMON, daemon(STATE=u32(3)), EINVAL),
    "STATE in two bytes": Request(NEW_DAEMON, daemon(STATE=u16(1)), EINVAL, POLICY),
    "an interface of 16 characters": Request(NEW_DAEMON, daemon(MCAST_IFN=text("i" * 16)), EINVAL, POLICY),
    "an unknown interface": Request(NEW_DAEMON, daemon(MCAST_IFN=text("nosuch0")), ENODEV),
    "no interface": Request(NEW_DAEMON, daemon(MCAST_IFN=text("")), ENODEV),
    "a group that is not multicast": Request(NEW_DAEMON, daemon(MCAST_GROUP=address("10.0.0.1")[:4]), EINVAL),
    "an IPv6 group that is not multicast": Request(NEW_DAEMON, daemon(MCAST_GROUP6=address("2001:db8::1")), EINVAL),
    "the group before the interface":
        Request(NEW_DAEMON, daemon(MCAST_GROUP=address("10.0.0.1")[:4], MCAST_IFN=text("nosuch0")), EINVAL),
    "ENODEV before the state": Request(NEW_DAEMON, daemon(STATE=u32(3), MCAST_IFN=text("nosuch0")), ENODEV),
    "ENODEV before EEXIST": Request(NEW_DAEMON, daemon(MCAST_IFN=text("nosuch0")), ENODEV, before=(MASTER,)),
    "a sync id of 256": Request(NEW_DAEMON, daemon(SYNC_ID=u32(256))),
    "the end of no DAEMON": Request(DEL_DAEMON, [], EINVAL),
    "the end of a daemon without STATE": Request(DEL_DAEMON, daemon(STATE=None), EINVAL),
    "the end of a daemon that does not run": Request(DEL_DAEMON, daemon(STATE=u32(2)), ESRCH, before=(MASTER,)),
    "the end of a daemon of state 3": Request(DEL_DAEMON, daemon(STATE=u32(3)), EINVAL),
}
# fmt: on
