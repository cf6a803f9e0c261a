"""Decode attributes to the model.

A row is a tuple of the values of one message: a column for each attribute in the order of _schema.py, then the
counters. A message is decoded attribute by attribute (`Rows.row()`), or many messages at once (_fastpath.py). Both give
the same rows. One loop makes services of rows, and another makes real servers.
"""

from _socket import inet_ntop, ntohs
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import itemgetter

from . import _schema
from ._key import ADDRESS_FAMILIES, ADDRESS_SIZES, FAMILY_NUMBERS, HOST_FAMILIES, PROTOCOLS, ServiceKey
from ._typing import typing
from .attrs import Nest, text
from .errors import DecodeError
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

Row = tuple["typing.Any", ...]

AF_INET = FAMILY_NUMBERS["inet"]
ABSENT = b""  # in a row: an optional attribute that was not sent
HOSTS = [str(number) for number in range(256)]  # the last byte of an IPv4 address as text


class Rows:
    """The rows of one dump.

    `paths` are the paths to the columns, each with whether it may be absent. `make(rows, ...)` makes the objects.
    `identifying(row)` returns the columns of the identity, and `identity(row)` what the kernel compares of them.
    `telling(row)` is one column that mostly differs.
    """

    def __init__(
        self,
        name: str,
        table: _schema.Table,
        make: "Callable[..., list[typing.Any]]",
        identity: "typing.Optional[Callable[[Row], Row]]" = None,
    ) -> None:
        self._name = name
        self._attributes = [attribute for attribute in table.attributes if attribute.field != "stats"]
        self.paths = [(f"{name}.{each.name}", each.optional) for each in self._attributes]
        self.paths += [(f"{name}.STATS64.{each.name}", False) for each in _schema.STATS64.attributes]
        columns = [(column, each) for each in self._attributes for column in each.kind.columns or (each.field,)]
        self.identifying = itemgetter(*[position for position, (_, each) in enumerate(columns) if each.identity])
        self.identity = identity or self.identifying
        names = [column for column, _ in columns]
        self.telling = itemgetter(names.index("host" if "host" in names else "address"))
        self.make = make

    def row(self, attributes: bytes) -> Row:
        """Decode the row of one message, attribute by attribute."""
        values = _schema.COMMAND.decode(attributes)[self._name]
        row: list[typing.Any] = []
        for attribute in self._attributes:
            value = values.get(attribute.name, ABSENT) if attribute.optional else values[attribute.name]
            row += value if isinstance(value, tuple) else (value,)
        # Linux before 4.1 has counters of 32 bits only.
        counters = values["STATS64"] if "STATS64" in values else _schema.STATS.decode(values["STATS"])
        row += [counters[attribute.name] for attribute in _schema.STATS64.attributes]
        return tuple(row)


def services(rows: Iterable[Row]) -> list[Service]:
    """Make a Service from each row."""
    made = []
    create = object.__new__  # the loop sets all fields, so __init__ is not needed
    for row in rows:
        service = create(Service)
        service.stats = stats = create(Stats)
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
            service.port = _port(port)
        (
            service.address_family, service.protocol, service.scheduler, service.persistence_engine, service.flags,
            service.netmask,
        ) = _traits(af, bool(fwmark), protocol, scheduler, engine, flags, netmask)  # fmt: skip
        made.append(service)
    return made


def destinations(rows: Iterable[Row], service_family: str) -> list[Destination]:
    """Make a Destination from each row.

    This is the innermost loop of every dump. It avoids calls, even of __init__, and looks up only what differs from the
    row before.
    """
    made = []
    # Local names are faster.
    create, stats_class, destination_class, hosts, no_flags = object.__new__, Stats, Destination, HOSTS, TunnelFlags(0)
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
                last_network, prefix = network, _network(network)
            destination.address_family = "inet"
            destination.address = prefix + hosts[host]
        else:
            destination.address_family = family = service_family if af is ABSENT else family_name(af)
            destination.address = address_text(family, network + bytes([host]) + rest)
        if port != last_port:
            last_port, port_number = port, _port(port)
        destination.port = port_number
        if forwarding != last_forwarding:
            last_forwarding, forwarding_name = forwarding, name_of(_schema.FORWARDING, forwarding)
        destination.forwarding = forwarding_name
        if tunnel_type or tunnel_port or tunnel_flags:
            destination.tunnel_type = name_of(_schema.TUNNEL_TYPES, tunnel_type or 0)
            destination.tunnel_port = _port(tunnel_port or 0)
            destination.tunnel_flags = TunnelFlags(tunnel_flags or 0)
        else:  # no tunnel, a plain one, or absent, as before Linux 5.3
            destination.tunnel_type = "ipip"
            destination.tunnel_port = 0
            destination.tunnel_flags = no_flags
        made.append(destination)
    return made


def service_identity(row: Row) -> Row:
    """Return what the kernel compares to find a service (__ip_vs_service_find(), __ip_vs_svc_fwm_find())."""
    af, protocol, address, port, fwmark = SERVICE_ROWS.identifying(row)
    if fwmark:
        return af, fwmark
    return af, protocol, address[:4] if af == AF_INET else address, port


@lru_cache(4096)
def _traits(
    af: int, has_mark: bool, protocol: "typing.Any", scheduler: bytes, engine: bytes, flags: int, netmask: int
) -> Row:
    """Return the fields that many services of a dump share. The cache costs a fifth of a call."""
    family = family_name(af)
    if family == "inet6" and netmask > 128:
        raise DecodeError(f"an IPv6 netmask of {netmask} bits")
    return (
        family,
        None if has_mark else name_of(PROTOCOLS, _present("PROTOCOL", protocol)),
        _text("SCHED_NAME", scheduler),
        _text("PE_NAME", engine) if engine else None,
        ServiceFlags(flags),
        # For IPv4 this is a mask in network byte order, for IPv6 the prefix length.
        bin(netmask).count("1") if family == "inet" else netmask,
    )


def _present(name: str, value: "typing.Any") -> "typing.Any":
    """Return the value. Raise DecodeError if it is absent, because a service without a fwmark must have it."""
    if isinstance(value, bytes) and not value:
        raise DecodeError(f"IPVS_SVC_ATTR_{name} is missing")
    return value


def _text(name: str, payload: bytes) -> str:
    try:
        return text.decode(payload)
    except DecodeError as error:
        raise DecodeError(f"IPVS_SVC_ATTR_{name}: {error.what}") from None


def _address(af: int, payload: bytes) -> str:
    if af == AF_INET and len(payload) == 16:
        return _network(payload[:3]) + HOSTS[payload[3]]
    return address_text(family_name(af), _present("ADDR", payload))


@lru_cache(4096)
def _port(port: int) -> int:
    return ntohs(_present("PORT", port))


@lru_cache(4096)
def _network(network: bytes) -> str:
    """Return the text of the first three bytes of an IPv4 address."""
    return "{}.{}.{}.".format(*network)


def family_name(number: int) -> str:
    """Return the name of an address family."""
    if number not in ADDRESS_FAMILIES:
        raise DecodeError(f"address family {number} is neither IPv4 (2) nor IPv6 (10)")
    return ADDRESS_FAMILIES[number]


def address_text(family: str, payload: bytes) -> str:
    """Return an address as text. The kernel sends a union nf_inet_addr, and some clients send 4 bytes for IPv4."""
    number = FAMILY_NUMBERS[family]
    return inet_ntop(HOST_FAMILIES[number], _packed(number, payload))


def _packed(family: int, payload: bytes) -> bytes:
    size = ADDRESS_SIZES[family]
    if len(payload) not in (size, 16):
        raise DecodeError(f"an {ADDRESS_FAMILIES[family]} address of {len(payload)} bytes")
    return payload[:size]


def name_of(names: Mapping[int, str], number: int) -> str:
    """Return the name of a number, or its digits if it has none."""
    return names.get(number) or str(number)


IDENTITY = _schema.Table(_schema.SERVICE.prefix, [each for each in _schema.SERVICE.attributes if each.identity])
KEY = Nest("IPVS_CMD_ATTR", {1: ("SERVICE", IDENTITY)})
SERVICE_ROWS = Rows("SERVICE", _schema.SERVICE, services, service_identity)
DEST_ROWS = Rows("DEST", _schema.DEST, destinations)


def decode_service(attributes: bytes) -> Service:
    """Decode the attributes of an IPVS_CMD_NEW_SERVICE."""
    (service,) = services([SERVICE_ROWS.row(attributes)])
    return service


def decode_destination(attributes: bytes, service_family: str) -> Destination:
    """Decode the attributes of an IPVS_CMD_NEW_DEST. Kernels before 3.18 do not send its family."""
    (destination,) = destinations([DEST_ROWS.row(attributes)], service_family)
    return destination


def decode_key(attributes: bytes) -> "typing.Optional[ServiceKey]":
    """Decode the Service.key from a request or a reply. Return None if it has none.

    Only the identity is decoded, because the other attributes differ from client to client.
    """
    values = KEY.decode(attributes).get("SERVICE")
    if not values:  # moby/ipvs dumps all services with an empty IPVS_CMD_ATTR_SERVICE
        return None
    af = values["AF"]
    family_name(af)
    if values.get("FWMARK"):
        return values["FWMARK"], af, 0, b"", 0
    return 0, af, values["PROTOCOL"], _packed(af, values["ADDR"]), ntohs(values["PORT"])


def decode_info(attributes: bytes) -> Info:
    """Decode an Info from the attributes of an IPVS_CMD_SET_INFO."""
    values = _schema.INFO.decode(attributes)
    version = values["VERSION"]  # IP_VS_VERSION_CODE: a byte each, NVERSION() in include/uapi/linux/ip_vs.h
    return Info(f"{version >> 16}.{version >> 8 & 0xFF}.{version & 0xFF}", values["CONN_TAB_SIZE"])


def decode_timeouts(attributes: bytes) -> Timeouts:
    """Decode Timeouts from the attributes of an IPVS_CMD_SET_CONFIG."""
    values = _schema.TIMEOUTS.decode(attributes)
    # Only compiled-in protocols are sent: CONFIG_IP_VS_PROTO_TCP gives the first two, CONFIG_IP_VS_PROTO_UDP the third.
    return Timeouts(**{each.field: values.get(each.name, 0) for each in _schema.TIMEOUTS.attributes})


def decode_daemon(attributes: bytes) -> Daemon:
    """Decode a Daemon from the attributes of an IPVS_CMD_NEW_DAEMON."""
    values = _schema.COMMAND.decode(attributes)["DAEMON"]
    fields: dict[str, typing.Any] = dict.fromkeys(Daemon.__match_args__)
    for each in _schema.DAEMON.attributes:
        if each.name in values or not each.optional:
            fields[each.field] = values[each.name]
    fields["state"] = name_of(_schema.DAEMON_STATES, fields["state"])
    group = fields["mcast_group"]
    if group is not None:
        fields["mcast_group"] = address_text("inet" if len(group) == 4 else "inet6", group)
    return Daemon(**fields)
