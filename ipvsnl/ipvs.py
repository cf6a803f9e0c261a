"""What IPVS puts into netlink attributes, and what the model makes of it.

Commands and attributes are those of include/uapi/linux/ip_vs.h; what each holds is set by ip_vs_genl_fill_service(),
ip_vs_genl_fill_dest(), ip_vs_genl_fill_stats() and their like in net/netfilter/ipvs/ip_vs_ctl.c. Nothing here does I/O.
"""

import struct

# The C half of socket: socket.py makes enums of some hundred constants when imported, a tenth of the time of a replay.
from _socket import AF_INET as HOST_AF_INET
from _socket import AF_INET6 as HOST_AF_INET6
from _socket import htons, inet_ntop, inet_pton, ntohs
from functools import lru_cache

from .attrs import Nest, Values, binary, s32, text, u8, u16, u32, u64
from .errors import DecodeError
from .layout import Layouts
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
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
# made: there the careful path and the fast one (layout.py) meet.
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
        1: ("ADDR", binary),
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

# What the model is made of, in the order in which ip_vs_genl_fill_service() and ip_vs_genl_fill_dest() send it. A row
# is these payloads and then the counters. "?" may be absent, and is then b"".
SERVICE_ROW = ["AF", "PROTOCOL?", "ADDR?", "PORT?", "FWMARK?", "SCHED_NAME", "PE_NAME?", "FLAGS", "TIMEOUT", "NETMASK"]
DEST_ROW = ["ADDR", "PORT", "FWD_METHOD", "WEIGHT", "TUN_TYPE?", "TUN_PORT?", "TUN_FLAGS?", "U_THRESH", "L_THRESH"]
DEST_ROW += ["ACTIVE_CONNS", "INACT_CONNS", "PERSIST_CONNS", "ADDR_FAMILY?"]
COUNTERS = [name for name, _ in STATS64.table.values()]


# IPVS_CMD_ATTR_SERVICE with just those attributes by which a service is found, each (length, type, payload): by AF,
# PROTOCOL, ADDR (a union nf_inet_addr, 16 bytes) and PORT; by AF and FWMARK. Every dump of real servers asks with one.
BY_ADDRESS = struct.Struct("=HH HHHxx HHHxx HH16s HHHxx")
BY_FWMARK = struct.Struct("=HH HHHxx HHI")

# Linux's own numbers: AF_INET6 differs between systems, and a capture may be read on another one.
AF_INET = 2
AF_INET6 = 10
ADDRESS_FAMILIES = {AF_INET: "inet", AF_INET6: "inet6"}
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
FORWARDING = {0: "masquerade", 1: "local", 2: "tunnel", 3: "direct", 4: "bypass"}  # IP_VS_CONN_F_*
TUNNEL_TYPES = {b"": "ipip", 0: "ipip", 1: "gue", 2: "gre"}  # IP_VS_CONN_F_TUNNEL_TYPE_*; absent before Linux 5.3
DAEMON_STATES = {1: "master", 2: "backup"}  # IP_VS_STATE_*

OCTETS = [str(number) for number in range(256)]
NETWORKS: "dict[bytes, str]" = {}  # the first three bytes of IPv4 addresses, as text with the dot after them
NO_TUNNEL_FLAGS = TunnelFlags(0)
new = object.__new__
service_flags = lru_cache(maxsize=256)(ServiceFlags)  # making one is slow, and most services have the same


def service_layouts() -> Layouts:
    """The fast path for the messages that decode_service() reads; their rows are for services()."""
    return _layouts("SERVICE", SERVICE_ROW)


def destination_layouts() -> Layouts:
    """The fast path for the messages that decode_destination() reads; their rows are for destinations()."""
    return _layouts("DEST", DEST_ROW)


def _layouts(kind: str, row: "list[str]") -> Layouts:
    return Layouts(COMMAND, [f"{kind}.{name}" for name in row] + [f"{kind}.STATS64.{name}" for name in COUNTERS])


def decode_service(attributes: bytes) -> Service:
    """A Service from the attributes of an IPVS_CMD_NEW_SERVICE."""
    (service,) = services([_row(SERVICE_ROW, COMMAND.decode(attributes)["SERVICE"])])
    return service


def decode_destination(attributes: bytes, service_family: str) -> Destination:
    """A Destination from the attributes of an IPVS_CMD_NEW_DEST; `service_family` is for kernels before 3.18."""
    values = COMMAND.decode(attributes)["DEST"]
    if len(values["ADDR"]) not in (4, 16):
        raise DecodeError(f"an address of {len(values['ADDR'])} bytes")
    (destination,) = destinations([_row(DEST_ROW, values)], service_family)
    return destination


def _row(names: "list[str]", values: Values) -> "tuple[Any, ...]":
    payloads = [values.get(name[:-1], b"") if name.endswith("?") else values[name] for name in names]
    counters = values.get("STATS64", {})
    if len(counters) < len(COUNTERS):  # before Linux 4.1 there are none of 64 bits
        counters = {**STATS.decode(values["STATS"]), **counters}
    missing = [name for name in COUNTERS if name not in counters]
    if missing:
        raise DecodeError(f"{STATS.prefix}_{missing[0]} is missing")
    return (*payloads, *[counters[name] for name in COUNTERS])


def services(rows: "Iterable[tuple[Any, ...]]") -> "list[Service]":
    """A Service from each row."""
    made = []
    for (
        af, protocol, address, port, fwmark, scheduler, engine, flags, timeout, netmask, *counters
    ) in rows:  # fmt: skip
        family = _address_family(af)
        made.append(
            Service(
                family,
                None if fwmark else _name(PROTOCOLS, _present(protocol, "PROTOCOL")),
                None if fwmark else _address(family, _present(address, "ADDR")),
                None if fwmark else ntohs(_present(port, "PORT")),
                fwmark or None,  # 0 is no mark
                _text(scheduler, "SCHED_NAME"),
                service_flags(flags),
                timeout,
                _prefix_length(family, netmask),
                _text(engine, "PE_NAME") if engine else None,
                Stats(*counters),
            )
        )
    return made


def destinations(rows: "Iterable[tuple[Any, ...]]", service_family: str) -> "list[Destination]":
    """A Destination from each row. This is the innermost loop of every dump: nothing is called here that need not be,
    not even __init__."""
    made = []
    for (
        address, port, forwarding, weight, tunnel_type, tunnel_port, tunnel_flags, upper, lower,
        active, inactive, persistent, af, conns, inpkts, outpkts, inbytes, outbytes, cps, inpps, outpps, inbps, outbps,
    ) in rows:  # fmt: skip
        stats = new(Stats)
        stats.connections = conns
        stats.pkts_in = inpkts
        stats.pkts_out = outpkts
        stats.bytes_in = inbytes
        stats.bytes_out = outbytes
        stats.cps = cps
        stats.pps_in = inpps
        stats.pps_out = outpps
        stats.bps_in = inbps
        stats.bps_out = outbps

        destination = new(Destination)
        if af == AF_INET:
            destination.address_family = "inet"
            try:
                destination.address = NETWORKS[address[:3]] + OCTETS[address[3]]
            except KeyError:
                destination.address = _address("inet", address)
                if len(NETWORKS) >= 4096:
                    NETWORKS.clear()
                NETWORKS[address[:3]] = destination.address.rpartition(".")[0] + "."
        else:
            destination.address_family = family = service_family if af == b"" else _address_family(af)
            destination.address = _address(family, address)
        destination.port = ntohs(port)
        try:
            destination.forwarding = FORWARDING[forwarding]
        except KeyError:
            destination.forwarding = str(forwarding)
        destination.weight = weight
        destination.upper_threshold = upper
        destination.lower_threshold = lower
        destination.active_connections = active
        destination.inactive_connections = inactive
        destination.persistent_connections = persistent
        try:
            destination.tunnel_type = TUNNEL_TYPES[tunnel_type]
        except KeyError:
            destination.tunnel_type = str(tunnel_type)
        destination.tunnel_port = ntohs(tunnel_port) if tunnel_port else 0
        destination.tunnel_flags = TunnelFlags(tunnel_flags) if tunnel_flags else NO_TUNNEL_FLAGS
        destination.stats = stats
        made.append(destination)
    return made


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


def service_identity(service: Service) -> "tuple[Any, ...]":
    """What the kernel tells services apart by (__ip_vs_service_find(), __ip_vs_svc_fwm_find())."""
    return service.fwmark, service.address_family, service.protocol, service.address, service.port


def destination_identity(destination: Destination) -> "tuple[Any, ...]":
    """What it tells the real servers of one service apart by (ip_vs_lookup_dest())."""
    return destination.address, destination.port


def spell_key(key: "tuple[Any, ...] | None") -> str:
    """A service_key(), for messages."""
    if key is None:
        return "no service"
    if len(key) == 2:
        return f"fwmark {key[1]} ({key[0]})"
    _, protocol, address, port = key
    return f"{_name(PROTOCOLS, protocol)} {address} port {port}"


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
    try:
        if fwmark is not None:
            return BY_FWMARK.pack(20, 1, 6, 1, family, 8, 5, fwmark)
        if protocol is None or address is None or port is None:
            raise ValueError("a service is known by protocol, address and port, or by fwmark")
        if not 0 <= port <= 0xFFFF:  # which htons() of Python 3.9 does not mind
            raise ValueError(f"a port has 16 bits: {port}")
        packed = inet_pton(HOST_AF_INET if family == AF_INET else HOST_AF_INET6, address)
        return BY_ADDRESS.pack(
            48, 1, 6, 1, family, 6, 2, _number(PROTOCOLS, protocol), 20, 3, packed, 6, 4, htons(port)
        )
    except OSError:
        raise ValueError(f"{address!r} is no {address_family} address") from None
    except struct.error:
        raise ValueError(f"a fwmark has 32 bits, a protocol 16: {fwmark or protocol}") from None


def service_key(attributes: bytes) -> "tuple[Any, ...] | None":
    """What tells a service from all others, from a request or a reply about it; None where no service is named.
    Clients differ in what else they send, and in whether an IPv4 address has 4 bytes or 16."""
    values = KEY.decode(attributes).get("SERVICE")
    if not values:  # moby/ipvs sends an empty one when it asks for all
        return None
    family = _address_family(values["AF"])
    if values.get("FWMARK"):
        return family, values["FWMARK"]
    return family, values["PROTOCOL"], _address(family, values["ADDR"]), ntohs(values["PORT"])


def _address_family(number: int) -> str:
    if number not in ADDRESS_FAMILIES:
        raise DecodeError(f"address family {number} is neither IPv4 (2) nor IPv6 (10)")
    return ADDRESS_FAMILIES[number]


def _address(family: str, payload: bytes) -> str:
    # The kernel sends a union nf_inet_addr, 16 bytes, IPv4 in the first 4; some clients ask with 4.
    if family == "inet" and len(payload) in (4, 16):
        return inet_ntop(HOST_AF_INET, payload[:4])
    if family == "inet6" and len(payload) == 16:
        return inet_ntop(HOST_AF_INET6, payload)
    raise DecodeError(f"an {family} address of {len(payload)} bytes")


@lru_cache(maxsize=256)
def _prefix_length(family: str, netmask: int) -> int:
    # For IPv4 a mask, in network order, of which only the number of bits matters here; for IPv6 already the length.
    if family == "inet":
        return bin(netmask).count("1")
    if netmask > 128:
        raise DecodeError(f"an IPv6 netmask of {netmask} bits")
    return netmask


@lru_cache(maxsize=256)
def _text(payload: bytes, name: str) -> str:
    try:
        return text.decode(payload)
    except DecodeError as error:
        raise DecodeError(f"IPVS_SVC_ATTR_{name}: {error.what}") from None


def _name(names: "Mapping[Any, str]", number: int) -> str:
    return names.get(number) or str(number)


def _present(payload: "Any", name: str) -> "Any":
    """A service without a fwmark has all of protocol, address and port."""
    if payload == b"":
        raise DecodeError(f"IPVS_SVC_ATTR_{name} is missing")
    return payload


def _number(names: dict[int, str], name: str) -> int:
    for number, known in names.items():
        if known == name:
            return number
    if not name.isdecimal():
        raise ValueError(f"{name!r} is neither a number nor one of {', '.join(names.values())}")
    return int(name)
