"""What IPVS puts into netlink attributes, and what the model makes of it.

Commands and attributes are those of include/uapi/linux/ip_vs.h; what each holds is set by ip_vs_genl_fill_service(),
ip_vs_genl_fill_dest(), ip_vs_genl_fill_stats() and their like in net/netfilter/ipvs/ip_vs_ctl.c. Nothing here does I/O.
"""

import socket
import struct

from .attrs import Nest, Values, be16, binary, s32, text, u8, u16, u32, u64
from .errors import DecodeError
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

TYPE_CHECKING = False
if TYPE_CHECKING:
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

SERVICE = Nest(
    "IPVS_SVC_ATTR",
    {
        1: ("AF", u16),
        2: ("PROTOCOL", u16),
        3: ("ADDR", binary),
        4: ("PORT", be16),
        5: ("FWMARK", u32),
        6: ("SCHED_NAME", text),
        7: ("FLAGS", Flags()),
        8: ("TIMEOUT", u32),
        9: ("NETMASK", u32),
        10: ("STATS", STATS),
        11: ("PE_NAME", text),
        12: ("STATS64", STATS64),
    },
)
DEST = Nest(
    "IPVS_DEST_ATTR",
    {
        1: ("ADDR", binary),
        2: ("PORT", be16),
        3: ("FWD_METHOD", u32),
        4: ("WEIGHT", s32),
        5: ("U_THRESH", u32),
        6: ("L_THRESH", u32),
        7: ("ACTIVE_CONNS", u32),
        8: ("INACT_CONNS", u32),
        9: ("PERSIST_CONNS", u32),
        10: ("STATS", STATS),
        11: ("ADDR_FAMILY", u16),
        12: ("STATS64", STATS64),
        13: ("TUN_TYPE", u8),
        14: ("TUN_PORT", be16),
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

# Linux's own numbers: AF_INET6 differs between systems, and a capture may be read on another one.
AF_INET = 2
AF_INET6 = 10
ADDRESS_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
FORWARDING = {0: "masquerade", 1: "local", 2: "tunnel", 3: "direct", 4: "bypass"}  # IP_VS_CONN_F_*
TUNNEL_TYPES = {0: "ipip", 1: "gue", 2: "gre"}  # IP_VS_CONN_F_TUNNEL_TYPE_*
DAEMON_STATES = {1: "master", 2: "backup"}  # IP_VS_STATE_*


def decode_service(attributes: bytes) -> Service:
    """A Service from the attributes of an IPVS_CMD_NEW_SERVICE."""
    return _service(COMMAND.decode(attributes)["SERVICE"])


def decode_destination(attributes: bytes, service_family: str) -> Destination:
    """A Destination from the attributes of an IPVS_CMD_NEW_DEST; `service_family` is for kernels before 3.18."""
    values = COMMAND.decode(attributes)["DEST"]
    family = _address_family(values["ADDR_FAMILY"]) if "ADDR_FAMILY" in values else service_family
    return Destination(
        address_family=family,
        address=_address(family, values["ADDR"]),
        port=values["PORT"],
        forwarding=_name(FORWARDING, values["FWD_METHOD"]),
        weight=values["WEIGHT"],
        upper_threshold=values["U_THRESH"],
        lower_threshold=values["L_THRESH"],
        active_connections=values["ACTIVE_CONNS"],
        inactive_connections=values["INACT_CONNS"],
        persistent_connections=values["PERSIST_CONNS"],
        tunnel_type=_name(TUNNEL_TYPES, values.get("TUN_TYPE", 0)),
        tunnel_port=values.get("TUN_PORT", 0),
        tunnel_flags=TunnelFlags(values.get("TUN_FLAGS", 0)),
        stats=_stats(values),
    )


def decode_info(attributes: bytes) -> Info:
    """An Info from the attributes of an IPVS_CMD_SET_INFO."""
    values = INFO.decode(attributes)
    version = values["VERSION"]  # IP_VS_VERSION_CODE: a byte each, NVERSION() in include/uapi/linux/ip_vs.h
    return Info(f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}", values["CONN_TAB_SIZE"])


def decode_timeouts(attributes: bytes) -> Timeouts:
    """Timeouts from the attributes of an IPVS_CMD_SET_CONFIG."""
    values = COMMAND.decode(attributes)
    # Only compiled-in protocols are sent: CONFIG_IP_VS_PROTO_TCP gives the first two, CONFIG_IP_VS_PROTO_UDP the third.
    return Timeouts(values.get("TIMEOUT_TCP", 0), values.get("TIMEOUT_TCP_FIN", 0), values.get("TIMEOUT_UDP", 0))


def decode_daemon(attributes: bytes) -> Daemon:
    """A Daemon from the attributes of an IPVS_CMD_NEW_DAEMON."""
    values = COMMAND.decode(attributes)["DAEMON"]
    group = None
    if "MCAST_GROUP" in values:
        group = _address("inet", values["MCAST_GROUP"])
    elif "MCAST_GROUP6" in values:
        group = _address("inet6", values["MCAST_GROUP6"])
    return Daemon(
        state=_name(DAEMON_STATES, values["STATE"]),
        mcast_ifn=values["MCAST_IFN"],
        sync_id=values["SYNC_ID"],
        sync_maxlen=values.get("SYNC_MAXLEN"),
        mcast_group=group,
        mcast_port=values.get("MCAST_PORT"),
        mcast_ttl=values.get("MCAST_TTL"),
    )


def encode_service_key(
    address_family: str,
    protocol: "str | None",
    address: "str | None",
    port: "int | None",
    fwmark: "int | None",
) -> bytes:
    """The attributes by which the kernel finds a service (ip_vs_genl_parse_service()), for a request about it.
    Values that name none are a ValueError."""
    family = _number(ADDRESS_FAMILIES, address_family)
    values: dict[str, Any] = {"AF": family}
    if fwmark is not None:
        values["FWMARK"] = fwmark
    elif protocol is None or address is None or port is None:
        raise ValueError("a service is known by protocol, address and port, or by fwmark")
    else:
        values["PROTOCOL"] = _number(PROTOCOLS, protocol)
        values["ADDR"] = _packed_address(address_family, address)
        values["PORT"] = port
    try:
        return COMMAND.encode({"SERVICE": values})
    except struct.error as error:
        raise ValueError(f"no service has such numbers: {values} ({error})") from None


def service_key(attributes: bytes) -> "tuple[Any, ...] | None":
    """What tells a service from all others, from a request or a reply about it; None where no service is named.
    Clients differ in what else they send, and in whether an IPv4 address has 4 bytes or 16."""
    values = KEY.decode(attributes).get("SERVICE")
    if not values:  # moby/ipvs sends an empty one when it asks for all
        return None
    family = _address_family(values["AF"])
    if values.get("FWMARK"):
        return family, values["FWMARK"]
    return family, values["PROTOCOL"], _address(family, values["ADDR"]), values["PORT"]


def _service(values: Values) -> Service:
    family = _address_family(values["AF"])
    fwmark = values.get("FWMARK") or None  # 0 is no mark
    return Service(
        address_family=family,
        protocol=None if fwmark else _name(PROTOCOLS, values["PROTOCOL"]),
        address=None if fwmark else _address(family, values["ADDR"]),
        port=None if fwmark else values["PORT"],
        fwmark=fwmark,
        scheduler=values["SCHED_NAME"],
        flags=ServiceFlags(values["FLAGS"]),
        timeout=values["TIMEOUT"],
        netmask=_prefix_length(family, values["NETMASK"]),
        persistence_engine=values.get("PE_NAME"),
        stats=_stats(values),
    )


def _stats(values: Values) -> Stats:
    counters = values["STATS"]
    counters.update(values.get("STATS64", ()))
    return Stats(
        connections=counters["CONNS"],
        pkts_in=counters["INPKTS"],
        pkts_out=counters["OUTPKTS"],
        bytes_in=counters["INBYTES"],
        bytes_out=counters["OUTBYTES"],
        cps=counters["CPS"],
        pps_in=counters["INPPS"],
        pps_out=counters["OUTPPS"],
        bps_in=counters["INBPS"],
        bps_out=counters["OUTBPS"],
    )


def _address_family(number: int) -> str:
    if number not in ADDRESS_FAMILIES:
        raise DecodeError(f"address family {number} is neither IPv4 (2) nor IPv6 (10)")
    return ADDRESS_FAMILIES[number]


def _address(family: str, payload: bytes) -> str:
    # The kernel sends a union nf_inet_addr, 16 bytes, IPv4 in the first 4; some clients ask with 4.
    if family == "inet" and len(payload) in (4, 16):
        return socket.inet_ntop(socket.AF_INET, payload[:4])
    if family == "inet6" and len(payload) == 16:
        return socket.inet_ntop(socket.AF_INET6, payload)
    raise DecodeError(f"an {family} address of {len(payload)} bytes")


def _packed_address(family: str, address: str) -> bytes:
    try:
        packed = socket.inet_pton(socket.AF_INET if family == "inet" else socket.AF_INET6, address)
    except OSError:
        raise ValueError(f"{address!r} is no {family} address") from None
    return packed.ljust(16, b"\0")  # union nf_inet_addr


def _prefix_length(family: str, netmask: int) -> int:
    # For IPv4 a mask, in network order, of which only the number of bits matters here; for IPv6 already the length.
    if family == "inet":
        return bin(netmask).count("1")
    if netmask > 128:
        raise DecodeError(f"an IPv6 netmask of {netmask} bits")
    return netmask


def _name(names: dict[int, str], number: int) -> str:
    return names.get(number) or str(number)


def _number(names: dict[int, str], name: str) -> int:
    for number, known in names.items():
        if known == name:
            return number
    if not name.isdecimal():
        raise ValueError(f"{name!r} is neither a number nor one of {', '.join(names.values())}")
    return int(name)
