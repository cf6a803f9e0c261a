"""What IPVS puts into netlink attributes, and by which of them it finds a service.

Commands and attributes are those of include/uapi/linux/ip_vs.h; what each holds is set by ip_vs_genl_fill_service(),
ip_vs_genl_fill_dest(), ip_vs_genl_fill_stats() and their like in net/netfilter/ipvs/ip_vs_ctl.c. Nothing here does I/O.
"""

import struct

# The C half of socket: socket.py makes enums of some hundred constants when imported, a tenth of the time of a replay.
from _socket import AF_INET as HOST_AF_INET
from _socket import AF_INET6 as HOST_AF_INET6
from _socket import inet_ntop, ntohs

from .attrs import Nest, binary, s32, text, u8, u16, u32, u64
from .errors import DecodeError
from .model import ADDRESS_SIZES, ServiceKey
from .model import PROTOCOLS as PROTOCOLS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

FAMILY_NAME = "IPVS"

NEW_SERVICE = 1
GET_SERVICE = 4
NEW_DEST = 5
GET_DEST = 8
NEW_DAEMON = 9
GET_DAEMON = 11
SET_CONFIG = 12
GET_CONFIG = 13
SET_INFO = 14
GET_INFO = 15


class Flags:
    """struct ip_vs_flags: the flags, and a mask of those that a request means. Read as the flags."""

    def decode(self, payload: bytes) -> int:
        if len(payload) != 8:
            raise DecodeError(f"{len(payload)} bytes where 8 belong")
        return u32.decode(payload[:4])

    def encode(self, value: int) -> bytes:
        return u32.encode(value) + u32.encode(0xFFFFFFFF)

    def format(self, size: int) -> str:
        return "I4x"


class InetAddr:
    """union nf_inet_addr: 16 bytes, an IPv4 address in the first 4. Read as the first three bytes, the fourth, and the
    others: of IPv4 the network, of which a list has few, and the host (rows.py)."""

    def decode(self, payload: bytes) -> "tuple[bytes, int, bytes]":
        if len(payload) not in (4, 16):
            raise DecodeError(f"an address of {len(payload)} bytes")
        return payload[:3], payload[3], payload[4:]

    def encode(self, value: "tuple[bytes, int, bytes]") -> bytes:
        network, host, rest = value
        return network + bytes([host]) + rest

    def format(self, size: int) -> str:
        return "3sB12s" if size == 16 else ""


inet_addr = InetAddr()

# Rates have counted in 32 bits before STATS64 (Linux 4.1), the two byte counters never did.
STATS = Nest(
    "IPVS_STATS_ATTR",
    {
        1: ("CONNS", u32),
        2: ("INPKTS", u32),
        3: ("OUTPKTS", u32),
        4: ("INBYTES", u64),
        5: ("OUTBYTES", u64),
        6: ("CPS", u32),
        7: ("INPPS", u32),
        8: ("OUTPPS", u32),
        9: ("INBPS", u32),
        10: ("OUTBPS", u32),
    },
)
STATS64 = Nest("IPVS_STATS_ATTR", {type: (name, u64) for type, (name, _) in STATS.table.items()})

# Texts, addresses, STATS and the network byte order of ports are left as they are here, and read where the model is
# made (rows.py): there the careful path and the fast one (layout.py) meet.
SERVICE = Nest(
    "IPVS_SVC_ATTR",
    {
        1: ("AF", u16),
        2: ("PROTOCOL", u16),
        3: ("ADDR", binary),
        4: ("PORT", u16),
        5: ("FWMARK", u32),
        6: ("SCHED_NAME", binary),
        7: ("FLAGS", Flags()),
        8: ("TIMEOUT", u32),
        9: ("NETMASK", u32),
        10: ("STATS", binary),
        11: ("PE_NAME", binary),
        12: ("STATS64", STATS64),
    },
)
DEST = Nest(
    "IPVS_DEST_ATTR",
    {
        1: ("ADDR", inet_addr),
        2: ("PORT", u16),
        3: ("FWD_METHOD", u32),
        4: ("WEIGHT", s32),
        5: ("U_THRESH", u32),
        6: ("L_THRESH", u32),
        7: ("ACTIVE_CONNS", u32),
        8: ("INACT_CONNS", u32),
        9: ("PERSIST_CONNS", u32),
        10: ("STATS", binary),
        11: ("ADDR_FAMILY", u16),
        12: ("STATS64", STATS64),
        13: ("TUN_TYPE", u8),
        14: ("TUN_PORT", u16),
        15: ("TUN_FLAGS", u16),
    },
)
DAEMON = Nest(
    "IPVS_DAEMON_ATTR",
    {
        1: ("STATE", u32),
        2: ("MCAST_IFN", text),
        3: ("SYNC_ID", u32),
        4: ("SYNC_MAXLEN", u16),
        5: ("MCAST_GROUP", binary),
        6: ("MCAST_GROUP6", binary),
        7: ("MCAST_PORT", u16),  # host byte order, unlike the other ports
        8: ("MCAST_TTL", u8),
    },
)
INFO = Nest("IPVS_INFO_ATTR", {1: ("VERSION", u32), 2: ("CONN_TAB_SIZE", u32)})
COMMAND = Nest(
    "IPVS_CMD_ATTR",
    {
        1: ("SERVICE", SERVICE),
        2: ("DEST", DEST),
        3: ("DAEMON", DAEMON),
        4: ("TIMEOUT_TCP", u32),
        5: ("TIMEOUT_TCP_FIN", u32),
        6: ("TIMEOUT_UDP", u32),
    },
)
KEY = Nest(
    "IPVS_CMD_ATTR", {1: ("SERVICE", Nest("IPVS_SVC_ATTR", {type: SERVICE.table[type] for type in range(1, 6)}))}
)

# IPVS_CMD_ATTR_SERVICE with just those attributes by which a service is found, each (length, type, payload): by AF,
# PROTOCOL, ADDR (a union nf_inet_addr, 16 bytes) and PORT; by AF and FWMARK. Every dump of real servers asks with one.
BY_ADDRESS = struct.Struct("=HH HHHxx HHHxx HH16s HHBBxx")
BY_FWMARK = struct.Struct("=HH HHHxx HHI")

# Linux's own numbers: AF_INET6 differs between systems, and a capture may be read on another one.
AF_INET = 2
AF_INET6 = 10
ADDRESS_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
FORWARDING = {0: "masquerade", 1: "local", 2: "tunnel", 3: "direct", 4: "bypass"}  # IP_VS_CONN_F_*
TUNNEL_TYPES = {0: "ipip", 1: "gue", 2: "gre"}  # IP_VS_CONN_F_TUNNEL_TYPE_*
DAEMON_STATES = {1: "master", 2: "backup"}  # IP_VS_STATE_*


def encode_key(key: ServiceKey) -> bytes:
    """Encode Service.key as the attributes by which the kernel finds a service (ip_vs_genl_parse_service())."""
    fwmark, family, protocol, packed, port = key
    if fwmark:
        return BY_FWMARK.pack(20, 1, 6, 1, family, 8, 5, fwmark)
    return BY_ADDRESS.pack(48, 1, 6, 1, family, 6, 2, protocol, 20, 3, packed, 6, 4, port >> 8, port & 0xFF)


def decode_key(attributes: bytes) -> "ServiceKey | None":
    """Return the key of the service that a request or a reply is about (Service.key), or None if it names none.

    Clients differ in what else they send, and in whether an IPv4 address has 4 bytes or 16.
    """
    values = KEY.decode(attributes).get("SERVICE")
    if not values:  # moby/ipvs sends an empty one when it asks for all
        return None
    family = values["AF"]
    name = family_name(family)
    if values.get("FWMARK"):
        return values["FWMARK"], family, 0, b"", 0
    size = ADDRESS_SIZES[family]
    if len(values["ADDR"]) not in (size, 16):
        raise DecodeError(f"an {name} address of {len(values['ADDR'])} bytes")
    return 0, family, values["PROTOCOL"], values["ADDR"][:size], ntohs(values["PORT"])


def family_name(number: int) -> str:
    """The family's name in this package."""
    if number not in ADDRESS_FAMILIES:
        raise DecodeError(f"address family {number} is neither IPv4 (2) nor IPv6 (10)")
    return ADDRESS_FAMILIES[number]


def address_text(family: str, payload: bytes) -> str:
    """The text of an address: the kernel sends a union nf_inet_addr, some clients ask with 4 bytes for IPv4."""
    if family == "inet" and len(payload) in (4, 16):
        return inet_ntop(HOST_AF_INET, payload[:4])
    if family == "inet6" and len(payload) == 16:
        return inet_ntop(HOST_AF_INET6, payload)
    raise DecodeError(f"an {family} address of {len(payload)} bytes")


def name_of(names: "Mapping[Any, str]", number: int) -> str:
    """What a number is called, or the number itself as text."""
    return names.get(number) or str(number)
