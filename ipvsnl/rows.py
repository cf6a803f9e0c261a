"""From attributes to the model.

A row is what one message says, as a tuple in the order in which ip_vs_genl_fill_service() or ip_vs_genl_fill_dest()
sends it, and then the counters. Rows come from two sides: from a message that was read attribute by attribute
(`decode_service()`, `decode_destination()`), and from many at once (layout.py). One function makes objects of both.
"""

from _socket import ntohs
from operator import itemgetter

from .attrs import Values, text
from .errors import DecodeError
from .ipvs import (
    AF_INET,
    COMMAND,
    DAEMON_STATES,
    FORWARDING,
    INFO,
    PROTOCOLS,
    STATS,
    STATS64,
    TUNNEL_TYPES,
    address_text,
    family_name,
    name_of,
)
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

    Row = tuple[Any, ...]
    MemoBase = dict[Any, Any]
else:
    MemoBase = dict

# "?" may be absent, and is then b"".
SERVICE_ROW = ["AF", "PROTOCOL?", "ADDR?", "PORT?", "FWMARK?", "SCHED_NAME", "PE_NAME?", "FLAGS", "TIMEOUT", "NETMASK"]
DEST_ROW = ["ADDR", "PORT", "FWD_METHOD", "WEIGHT", "TUN_TYPE?", "TUN_PORT?", "TUN_FLAGS?", "U_THRESH", "L_THRESH"]
DEST_ROW += ["ACTIVE_CONNS", "INACT_CONNS", "PERSIST_CONNS", "ADDR_FAMILY?"]
COUNTERS = [name for name, _ in STATS64.table.values()]


class Memo(MemoBase):
    """What a function gave for the arguments that it was asked for, a few thousand of them: in a list there are few
    different ones, and looking one up costs a fifth of a call."""

    def __init__(self, function: "Callable[[Any], Any]") -> None:
        self.function = function

    def __missing__(self, argument: "Any") -> "Any":
        if len(self) >= 4096:
            self.clear()
        value = self[argument] = self.function(argument)
        return value


def _traits(row: "Row") -> "Row":
    """What many services have in common, from the row's part that says it."""
    af, fwmark, protocol, scheduler, engine, flags, netmask = row
    family = family_name(af)
    if family == "inet6" and netmask > 128:
        raise DecodeError(f"an IPv6 netmask of {netmask} bits")
    return (
        family,
        None if fwmark is None else name_of(PROTOCOLS, _present("PROTOCOL", protocol)),
        _text("SCHED_NAME", scheduler),
        _text("PE_NAME", engine) if engine else None,
        ServiceFlags(flags),
        # For IPv4 a mask, in network order, of which only the number of bits matters here; for IPv6 already the length.
        bin(netmask).count("1") if family == "inet" else netmask,
    )


def _present(name: str, value: "Any") -> "Any":
    """A service without a fwmark has all of protocol, address and port."""
    if value == b"":
        raise DecodeError(f"IPVS_SVC_ATTR_{name} is missing")
    return value


def _text(name: str, payload: bytes) -> str:
    try:
        return text.decode(payload)
    except DecodeError as error:
        raise DecodeError(f"IPVS_SVC_ATTR_{name}: {error.what}") from None


def _address(af: int, payload: bytes) -> str:
    if af == AF_INET and len(payload) == 16:
        return str(NETWORKS[payload[:3]]) + HOSTS[payload[3]]
    return address_text(family_name(af), _present("ADDR", payload))


TRAITS = Memo(_traits)
PORTS = Memo(lambda port: ntohs(_present("PORT", port)))
NETWORKS = Memo(lambda network: "{}.{}.{}.".format(*network))  # the first three bytes of an IPv4 address
HOSTS = [str(number) for number in range(256)]  # the fourth
NO_TUNNEL_FLAGS = TunnelFlags(0)
new = object.__new__


def paths(nest: str, row: "list[str]") -> "list[str]":
    """The row of a message's payloads and counters, as paths through COMMAND (layout.py)."""
    return [f"{nest}.{name}" for name in row] + [f"{nest}.STATS64.{name}" for name in COUNTERS]


def decode_service(attributes: bytes) -> Service:
    """A Service from the attributes of an IPVS_CMD_NEW_SERVICE."""
    (service,) = services([service_row(attributes)])
    return service


def decode_destination(attributes: bytes, service_family: str) -> Destination:
    """A Destination from the attributes of an IPVS_CMD_NEW_DEST; `service_family` is for kernels before 3.18."""
    (destination,) = destinations([destination_row(attributes)], service_family)
    return destination


def service_row(attributes: bytes) -> "Row":
    """The row of one message, read with care."""
    return _row(SERVICE_ROW, COMMAND.decode(attributes)["SERVICE"])


def destination_row(attributes: bytes) -> "Row":
    """The row of one message, read with care."""
    return _row(DEST_ROW, COMMAND.decode(attributes)["DEST"])


def _row(names: "list[str]", values: Values) -> "Row":
    row: list[Any] = []
    for name in names:
        value = values.get(name[:-1], b"") if name.endswith("?") else values[name]
        row += value if isinstance(value, tuple) else (value,)
    counters = values.get("STATS64", {})
    if len(counters) < len(COUNTERS):  # before Linux 4.1 there are none of 64 bits
        counters = {**STATS.decode(values["STATS"]), **counters}
    missing = [name for name in COUNTERS if name not in counters]
    if missing:
        raise DecodeError(f"{STATS.prefix}_{missing[0]} is missing")
    return (*row, *[counters[name] for name in COUNTERS])


# What the kernel tells a service's real servers apart by (ip_vs_lookup_dest()): address, in three parts, port, family.
destination_identity = itemgetter(0, 1, 2, 3, 14)
service_looks = itemgetter(slice(5))  # what service_identity() reads, as it is
destination_host = itemgetter(1)  # the last byte of an IPv4 address, which alone tells most of them apart


def service_identity(row: "Row") -> "Row":
    """What the kernel tells services apart by (__ip_vs_service_find(), __ip_vs_svc_fwm_find()): as service_key()."""
    af, protocol, address, port, fwmark = row[:5]
    if fwmark:
        return af, fwmark
    return af, protocol, address[:4] if af == AF_INET else address, port


def services(rows: "Iterable[Row]") -> "list[Service]":
    """A Service from each row."""
    made = []
    for row in rows:
        service = new(Service)
        service.stats = stats = new(Stats)
        (
            af, protocol, address, port, fwmark, scheduler, engine, flags, service.timeout, netmask,
            stats.connections, stats.pkts_in, stats.pkts_out, stats.bytes_in, stats.bytes_out,
            stats.cps, stats.pps_in, stats.pps_out, stats.bps_in, stats.bps_out,
        ) = row  # fmt: skip
        if fwmark:
            service.fwmark = fwmark
            service.address = service.port = None
        else:
            service.fwmark = None
            service.address = _address(af, address)
            service.port = PORTS[port]
        (
            service.address_family, service.protocol, service.scheduler, service.persistence_engine, service.flags,
            service.netmask,
        ) = TRAITS[af, fwmark and None, protocol, scheduler, engine, flags, netmask]  # fmt: skip
        made.append(service)
    return made


def destinations(rows: "Iterable[Row]", service_family: str) -> "list[Destination]":
    """A Destination from each row. This is the innermost loop of every dump: nothing is called here that need not be,
    not even __init__; and nothing is looked up that is as it was in the row before, as most of it is."""
    made = []
    # Local names are faster.
    create, stats_class, destination_class, hosts, no_flags = object.__new__, Stats, Destination, HOSTS, NO_TUNNEL_FLAGS
    last_network = last_port = last_forwarding = None
    prefix = forwarding_name = ""
    port_number = 0
    for row in rows:
        destination = create(destination_class)
        destination.stats = stats = create(stats_class)
        (
            network, host, rest, port, forwarding, destination.weight, tunnel_type, tunnel_port, tunnel_flags,
            destination.upper_threshold, destination.lower_threshold,
            destination.active_connections, destination.inactive_connections, destination.persistent_connections, af,
            stats.connections, stats.pkts_in, stats.pkts_out, stats.bytes_in, stats.bytes_out,
            stats.cps, stats.pps_in, stats.pps_out, stats.bps_in, stats.bps_out,
        ) = row  # fmt: skip
        if af == AF_INET:
            if network != last_network:
                last_network, prefix = network, NETWORKS[network]
            destination.address_family = "inet"
            destination.address = prefix + hosts[host]
        else:
            destination.address_family = family = service_family if af == b"" else family_name(af)
            destination.address = address_text(family, network + bytes([host]) + rest)
        if port != last_port:
            last_port, port_number = port, PORTS[port]
        destination.port = port_number
        if forwarding != last_forwarding:
            last_forwarding, forwarding_name = forwarding, FORWARDING.get(forwarding) or str(forwarding)
        destination.forwarding = forwarding_name
        if tunnel_type or tunnel_port or tunnel_flags:
            destination.tunnel_type = name_of(TUNNEL_TYPES, tunnel_type or 0)
            destination.tunnel_port = PORTS[tunnel_port or 0]
            destination.tunnel_flags = TunnelFlags(tunnel_flags or 0)
        else:  # no tunnel, a plain one, or absent, as before Linux 5.3
            destination.tunnel_type = "ipip"
            destination.tunnel_port = 0
            destination.tunnel_flags = no_flags
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
        group = address_text("inet", values["MCAST_GROUP"])
    elif "MCAST_GROUP6" in values:
        group = address_text("inet6", values["MCAST_GROUP6"])
    return Daemon(
        state=name_of(DAEMON_STATES, values["STATE"]),
        mcast_ifn=values["MCAST_IFN"],
        sync_id=values["SYNC_ID"],
        sync_maxlen=values.get("SYNC_MAXLEN"),
        mcast_group=group,
        mcast_port=values.get("MCAST_PORT"),
        mcast_ttl=values.get("MCAST_TTL"),
    )
