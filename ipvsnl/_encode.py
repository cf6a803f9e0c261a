"""Encode the model to attributes: for requests, for testing.Kernel and for admin/.

An `Encoder` follows the lines of _schema.py. One struct call packs all attributes of an entry, because one call for
each attribute costs 15 times as much. The struct is made once for each set of attributes and sizes.
"""

import struct
import sys
from _socket import htons
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from types import SimpleNamespace

from . import _schema
from ._key import ADDRESS_FAMILIES, FAMILY_NUMBERS, PROTOCOLS, ServiceKey, pack_address
from ._key import number as checked
from ._schema import COMMAND, DAEMON, DEST, INFO, SERVICE, STATS64, TIMEOUTS, Attribute
from ._typing import typing
from .attrs import HEADER, NLA_ALIGNTO, Kind, Scalar, text

Part = tuple[int, str]  # the number of an attribute, and how struct spells its payload
Layout = tuple[struct.Struct, list["typing.Any"]]
ToRaw = Callable[["typing.Any", str], "typing.Any"]


class Encoder:
    """An encoder of entries to these attributes, nested in the attribute `within` of a command if it is given."""

    def __init__(self, attributes: Iterable[Attribute], within: str = "") -> None:
        self._within = COMMAND.types[within][0] if within else 0
        self._plan: list[tuple[str, ToRaw | None, Part | None, int]] = []
        for each in attributes:
            part = _part(each) if isinstance(each.kind, Scalar) else None
            self._plan.append((each.field, TO_RAW.get(each.kind), part, each.number))

    def encode(self, entry: "typing.Any") -> bytes:
        """Encode one entry, without the fields that are None.

        A value that does not fit its attribute is a ValueError that names the field.
        """
        family = getattr(entry, "address_family", "")
        parts: list[Part] = []
        values: list[typing.Any] = []
        field = ""
        try:
            for field, to_raw, part, number in self._plan:
                value = getattr(entry, field)
                if value is None or (to_raw and (value := to_raw(value, family)) is None):
                    continue
                parts.append(part or (number, f"{len(value)}s"))
                values.append(value)
        except (ValueError, TypeError, KeyError, AttributeError, OSError, OverflowError):
            raise ValueError(f"{getattr(entry, field, None)!r} is no {field} that IPVS knows") from None
        return _pack(_layout(tuple(parts), self._within), values)


def service_key(key: ServiceKey) -> bytes:
    """Encode a Service.key, by which the kernel finds a service (ip_vs_genl_parse_service())."""
    mark, family, protocol, address, port = key
    return _pack(BY_FWMARK, (family, mark)) if mark else _pack(BY_ADDRESS, (family, protocol, address, htons(port)))


def _pack(layout: Layout, values: "Sequence[typing.Any]") -> bytes:
    """Pack attributes with one struct call."""
    packer, arguments = layout
    arguments = arguments.copy()
    arguments[2::2] = values
    try:
        return packer.pack(*arguments)
    except struct.error as error:
        raise ValueError(f"a value does not fit its attribute: {error}: {values}") from None


@lru_cache(256)
def _layout(parts: tuple[Part, ...], within: int) -> Layout:
    """Return a struct for headers and payloads in turn, and its arguments: each header, and None for its payload.

    The first header is that of the attribute `within`, or empty without one.
    """
    letters, arguments = "", []
    for number, payload in parts:
        size = struct.calcsize("=" + payload)
        letters += f"{HEADER.size}s{payload}{-size % NLA_ALIGNTO}x"
        arguments += [HEADER.pack(HEADER.size + size, number), None]
    outer = HEADER.pack(HEADER.size + struct.calcsize("=" + letters), within) if within else b""
    return struct.Struct(f"={len(outer)}s{letters}"), [outer, *arguments]


def _part(attribute: Attribute) -> Part:
    return attribute.number, attribute.kind.letter if isinstance(attribute.kind, Scalar) else "16s"


def _numbers(names: dict[int, str]) -> ToRaw:
    numbers = {name: number for number, name in names.items()}
    return lambda name, family: numbers[name] if name in numbers else int(name)


def _nf_inet_addr(text: str, family: str) -> bytes:
    return pack_address(FAMILY_NUMBERS[family], text).ljust(16, b"\0")


def _netmask(bits: int, family: str) -> int:
    if family == "inet6":
        return bits
    mask = (1 << 32) - (1 << 32 - bits)
    return int.from_bytes(mask.to_bytes(4, "big"), sys.byteorder)


def _group(text: str, family: str) -> "typing.Optional[bytes]":
    return None if ":" in text else pack_address(FAMILY_NUMBERS["inet"], text)


def _group6(text: str, family: str) -> "typing.Optional[bytes]":
    return pack_address(FAMILY_NUMBERS["inet6"], text) if ":" in text else None


def _version(text: str, family: str) -> int:
    first, second, third = map(int, text.split("."))
    return first << 16 | second << 8 | third


def _counters(stats: "typing.Any", family: str) -> bytes:
    return counters(stats)


# How to turn a field into what struct packs, given the address family of its entry. Other kinds need no change.
TO_RAW: dict[Kind, ToRaw] = {
    _schema.address_family: _numbers(ADDRESS_FAMILIES),
    _schema.protocol: _numbers(PROTOCOLS),
    _schema.forwarding: _numbers(_schema.FORWARDING),
    _schema.tunnel_type: _numbers(_schema.TUNNEL_TYPES),
    _schema.daemon_state: _numbers(_schema.DAEMON_STATES),
    _schema.port: lambda port, family: htons(checked(port, "a port", 0, 0xFFFF)),  # before 3.10 htons() truncates
    _schema.netmask: _netmask,
    _schema.version: _version,
    _schema.flags: lambda flags, family: _schema.flags.encode(flags),
    _schema.address: _nf_inet_addr,
    _schema.split_address: _nf_inet_addr,
    _schema.group: _group,
    _schema.group6: _group6,
    _schema.name: lambda name, family: text.encode(name),
    text: lambda value, family: text.encode(value),
    STATS64: _counters,
}

SERVICE_NUMBER = COMMAND.types["SERVICE"][0]
BY_ADDRESS = _layout(
    tuple(_part(each) for each in SERVICE.attributes if each.identity and each.name != "FWMARK"), SERVICE_NUMBER
)
BY_FWMARK = _layout(tuple(_part(each) for each in SERVICE.attributes if each.name in ("AF", "FWMARK")), SERVICE_NUMBER)

# What the kernel sends.
counters = Encoder(STATS64.attributes).encode
service = Encoder((each for each in SERVICE.attributes if each.name != "STATS"), within="SERVICE").encode
destination = Encoder((each for each in DEST.attributes if each.name != "STATS"), within="DEST").encode
daemon = Encoder(DAEMON.attributes, within="DAEMON").encode
timeouts = Encoder(TIMEOUTS.attributes).encode
info = Encoder(INFO.attributes).encode

# What a request carries.
service_request = Encoder((each for each in SERVICE.attributes if not each.counted), within="SERVICE").encode
destination_key = Encoder((each for each in DEST.attributes if each.identity), within="DEST").encode
daemon_key = Encoder((each for each in DAEMON.attributes if each.identity), within="DAEMON").encode

DEST_NUMBER = COMMAND.types["DEST"][0]
ENDPOINT = _layout(tuple(_part(each) for each in DEST.attributes if each.field in ("address", "port")), 0)
SETTINGS = [each for each in DEST.attributes if not (each.counted or each.field in ("address", "port"))]
_settings_of = attrgetter(*[each.field for each in SETTINGS])


def destination_request(destination: "typing.Any") -> bytes:
    """Encode a real server without what the kernel counts."""
    header, settings = _destination_settings(_settings_of(destination))
    packed = pack_address(FAMILY_NUMBERS[destination.address_family], destination.address)
    return header + _pack(ENDPOINT, (packed, htons(destination.port))) + settings


@lru_cache(256)
def _destination_settings(values: "tuple[typing.Any, ...]") -> "tuple[bytes, bytes]":
    """Encode all but address and port, with the header of the whole, because most real servers share their settings."""
    fields = dict(zip([each.field for each in SETTINGS], values))
    encoded = Encoder(SETTINGS).encode(SimpleNamespace(**fields))
    return HEADER.pack(HEADER.size + ENDPOINT[0].size + len(encoded), DEST_NUMBER), encoded
