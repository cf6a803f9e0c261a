"""Every command, number and attribute of IPVS, one line each.

include/uapi/linux/ip_vs.h declares them. net/netfilter/ipvs/ip_vs_ctl.c sends them in the order of these lines, in
ip_vs_genl_fill_service(), ip_vs_genl_fill_dest(), ip_vs_genl_fill_stats() and ip_vs_genl_fill_daemon().

_decode.py and _encode.py derive their tables from these lines. CONTRIBUTING.md shows how to add an attribute of a new
kernel.
"""

from collections.abc import Sequence

from ._dataclass import dataclass
from .attrs import Kind, Nest, Scalar, binary, s32, text, u8, u16, u32, u64
from .errors import DecodeError

FAMILY_NAME = "IPVS"

NEW_SERVICE = 1
SET_SERVICE = 2
DEL_SERVICE = 3
GET_SERVICE = 4
NEW_DEST = 5
SET_DEST = 6
DEL_DEST = 7
GET_DEST = 8
NEW_DAEMON = 9
DEL_DAEMON = 10
GET_DAEMON = 11
SET_CONFIG = 12
GET_CONFIG = 13
SET_INFO = 14
GET_INFO = 15
ZERO = 16
FLUSH = 17

FORWARDING = {0: "masquerade", 1: "local", 2: "tunnel", 3: "direct", 4: "bypass"}  # IP_VS_CONN_F_*
TUNNEL_TYPES = {0: "ipip", 1: "gue", 2: "gre"}  # IP_VS_CONN_F_TUNNEL_TYPE_*
DAEMON_STATES = {1: "master", 2: "backup"}  # IP_VS_STATE_*


class Flags(Kind):
    """struct ip_vs_flags: flags, and a mask of those that a request sets. Only the flags are decoded."""

    def decode(self, payload: bytes) -> int:
        if len(payload) != 8:
            raise DecodeError(f"{len(payload)} bytes where 8 belong")
        return u32.decode(payload[:4])

    def encode(self, value: int) -> bytes:
        return u32.encode(value) + u32.encode(0xFFFFFFFF)

    def format(self, size: int) -> str:
        return "I4x"


class SplitAddress(Kind):
    """union nf_inet_addr as three columns of a row: network, host and rest.

    For an IPv4 address these are 3 bytes, the number in the fourth byte, and 12 bytes of padding. A dump has few
    different networks, so their text is made once.
    """

    columns = ("network", "host", "rest")

    def decode(self, payload: bytes) -> "tuple[bytes, int, bytes]":
        if len(payload) not in (4, 16):
            raise DecodeError(f"an address of {len(payload)} bytes")
        return payload[:3], payload[3], payload[4:]

    def format(self, size: int) -> str:
        return "3sB12s" if size == 16 else ""


@dataclass
class Attribute:
    """One attribute: its number, name and kind, and the field of the model that holds it.

    It may be absent if `optional`. The `identity` attributes tell an entry from all others in its dump. The kernel
    counts `counted` ones, so no request carries them.
    """

    number: int
    name: str
    kind: Kind
    field: str
    optional: bool = False
    identity: bool = False
    counted: bool = False


class Table(Nest):
    """Attributes in the order in which the kernel sends them."""

    def __init__(self, prefix: str, attributes: Sequence[Attribute]) -> None:
        super().__init__(prefix, {attribute.number: (attribute.name, attribute.kind) for attribute in attributes})
        self.attributes = attributes


# The kinds. A row holds numbers and bytes; _decode.py and _encode.py turn them into what the model has, and back.
address_family = Scalar("H")
protocol = Scalar("H")
forwarding = Scalar("I")
tunnel_type = Scalar("B")
daemon_state = Scalar("I")
port = Scalar("H")  # in network byte order, read as a number in host byte order is
netmask = Scalar("I")  # a mask in network byte order for IPv4, the prefix length in host byte order for IPv6
version = Scalar("I")  # IP_VS_VERSION_CODE, a byte for each part: NVERSION() in include/uapi/linux/ip_vs.h
flags = Flags()
address = Kind()  # union nf_inet_addr: 16 bytes, an IPv4 address in the first 4
split_address = SplitAddress()
group = Kind()  # a multicast address of 4 bytes
group6 = Kind()  # and of 16 bytes: the model has one field for both
name = Kind()  # a string that ends in NUL: bytes, because a dump repeats few names

# fmt: off
STATS = Table("IPVS_STATS_ATTR", [
    Attribute(1, "CONNS", u32, "connections"),
    Attribute(2, "INPKTS", u32, "pkts_in"),
    Attribute(3, "OUTPKTS", u32, "pkts_out"),
    Attribute(4, "INBYTES", u64, "bytes_in"),
    Attribute(5, "OUTBYTES", u64, "bytes_out"),
    Attribute(6, "CPS", u32, "cps"),
    Attribute(7, "INPPS", u32, "pps_in"),
    Attribute(8, "OUTPPS", u32, "pps_out"),
    Attribute(9, "INBPS", u32, "bps_in"),
    Attribute(10, "OUTBPS", u32, "bps_out"),
])
STATS64 = Table("IPVS_STATS_ATTR", [Attribute(each.number, each.name, u64, each.field) for each in STATS.attributes])

SERVICE = Table("IPVS_SVC_ATTR", [
    Attribute(1, "AF", address_family, "address_family", identity=True),
    Attribute(2, "PROTOCOL", protocol, "protocol", optional=True, identity=True),
    Attribute(3, "ADDR", address, "address", optional=True, identity=True),
    Attribute(4, "PORT", port, "port", optional=True, identity=True),
    Attribute(5, "FWMARK", u32, "fwmark", optional=True, identity=True),
    Attribute(6, "SCHED_NAME", name, "scheduler"),
    Attribute(11, "PE_NAME", name, "persistence_engine", optional=True),
    Attribute(7, "FLAGS", flags, "flags"),
    Attribute(8, "TIMEOUT", u32, "timeout"),
    Attribute(9, "NETMASK", netmask, "netmask"),
    Attribute(10, "STATS", binary, "stats", optional=True, counted=True),
    Attribute(12, "STATS64", STATS64, "stats", optional=True, counted=True),  # since Linux 4.1
])

DEST = Table("IPVS_DEST_ATTR", [
    Attribute(1, "ADDR", split_address, "address", identity=True),
    Attribute(2, "PORT", port, "port", identity=True),
    Attribute(3, "FWD_METHOD", forwarding, "forwarding"),
    Attribute(4, "WEIGHT", s32, "weight"),
    Attribute(13, "TUN_TYPE", tunnel_type, "tunnel_type", optional=True),  # these three since Linux 5.3
    Attribute(14, "TUN_PORT", port, "tunnel_port", optional=True),
    Attribute(15, "TUN_FLAGS", u16, "tunnel_flags", optional=True),
    Attribute(5, "U_THRESH", u32, "upper_threshold"),
    Attribute(6, "L_THRESH", u32, "lower_threshold"),
    Attribute(7, "ACTIVE_CONNS", u32, "active_connections", counted=True),
    Attribute(8, "INACT_CONNS", u32, "inactive_connections", counted=True),
    Attribute(9, "PERSIST_CONNS", u32, "persistent_connections", counted=True),
    Attribute(11, "ADDR_FAMILY", address_family, "address_family", optional=True, identity=True),  # since Linux 3.18
    Attribute(10, "STATS", binary, "stats", optional=True, counted=True),
    Attribute(12, "STATS64", STATS64, "stats", optional=True, counted=True),  # since Linux 4.1
])

DAEMON = Table("IPVS_DAEMON_ATTR", [
    Attribute(1, "STATE", daemon_state, "state", identity=True),
    Attribute(2, "MCAST_IFN", text, "mcast_ifn"),
    Attribute(3, "SYNC_ID", u32, "sync_id"),
    Attribute(4, "SYNC_MAXLEN", u16, "sync_maxlen", optional=True),  # these five since Linux 4.3
    Attribute(7, "MCAST_PORT", u16, "mcast_port", optional=True),  # host byte order, unlike the other ports
    Attribute(8, "MCAST_TTL", u8, "mcast_ttl", optional=True),
    Attribute(6, "MCAST_GROUP6", group6, "mcast_group", optional=True),
    Attribute(5, "MCAST_GROUP", group, "mcast_group", optional=True),
])

INFO = Table("IPVS_INFO_ATTR", [
    Attribute(1, "VERSION", version, "version"),
    Attribute(2, "CONN_TAB_SIZE", u32, "connection_table_size"),
])

TIMEOUTS = Table("IPVS_CMD_ATTR", [
    Attribute(4, "TIMEOUT_TCP", u32, "tcp", optional=True),
    Attribute(5, "TIMEOUT_TCP_FIN", u32, "tcp_fin", optional=True),
    Attribute(6, "TIMEOUT_UDP", u32, "udp", optional=True),
])
# fmt: on

COMMAND = Nest("IPVS_CMD_ATTR", {1: ("SERVICE", SERVICE), 2: ("DEST", DEST), 3: ("DAEMON", DAEMON)})
