"""A virtual service and a real server as they should be, checked when they are made.

The kernel accepts some values silently and handles them wrongly: a firewall mark of 0 is TCP 0.0.0.0:0, and a long
timeout wraps. Such a value is a ValueError that names the field, so nothing is sent.
"""

import re
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Optional, Union

from .. import _key, model
from .._decode import address_text
from .._schema import DAEMON_STATES, FORWARDING, TUNNEL_TYPES
from ..model import ServiceFlags, TunnelFlags

U16, S32, U32 = 2**16 - 1, 2**31 - 1, 2**32 - 1
Address = Union[str, IPv4Address, IPv6Address]
NO_HOSTS = b"\xff" * 4, b"\x7f\xff\xff\xff"  # 255.255.255.255, and 127.255.255.255, the broadcast address of lo
IPV4_MAPPED = bytes(10) + b"\xff\xff"
NETMASKS = {"inet": (0, 32), "inet6": (1, 128)}  # the shortest prefix, and that of each client alone
MAX_TIMEOUT = 4_294_967  # seconds: the kernel keeps ticks in 32 bits, and counts up to 1,000 a second
DAEMON_NUMBERS = {"sync_id": (0, 255), "sync_maxlen": (1, 65507), "mcast_port": (1, U16), "mcast_ttl": (1, 255)}


@dataclass(frozen=True, init=False)
class ServiceConfig:
    """Describe a virtual service. Its fields are those of `Service`, without counters.

    A service has `protocol`, `address` and `port`, or `fwmark`. The protocol may be a number, and the address an object
    of the module ipaddress. `address_family` follows from the address, and is "inet" for a mark. A `netmask` of None
    takes each client alone. The kernel sets the flag HASHED by itself, so the flag is dropped here. If the kernel does
    not know the scheduler NAME, it looks for the module ip_vs_NAME.
    """

    protocol: Optional[str]
    address: Optional[str]
    port: Optional[int]
    fwmark: Optional[int]
    address_family: str
    scheduler: str
    flags: ServiceFlags
    timeout: int
    netmask: int
    persistence_engine: Optional[str]

    def __init__(
        self, protocol: Union[str, int, None] = None, address: Optional[Address] = None, port: Optional[int] = None, *,
        fwmark: Optional[int] = None, address_family: Optional[str] = None, scheduler: str = "wlc",
        flags: int = ServiceFlags(0), timeout: int = 0, netmask: Optional[int] = None,
        persistence_engine: Optional[str] = None,
    ) -> None:  # fmt: skip
        family = address_family or _key.family_of(address)
        key = _key.service_key(protocol, address, port, fwmark, family)
        if fwmark is None:
            protocol, address = _key.PROTOCOLS.get(key[2]) or str(key[2]), address_text(family, key[3])
        least, most = NETMASKS[family]
        netmask = most if netmask is None else _key.number(netmask, "netmask", least, most)
        flags = ServiceFlags(_key.number(flags, "flags", 0, U32) & ~int(ServiceFlags.HASHED))
        if persistence_engine is not None:
            _name("persistence_engine", persistence_engine, 16)
        vars(self).update(  # a frozen dataclass refuses assignment
            protocol=protocol, address=address, port=port, fwmark=fwmark, address_family=family, flags=flags,
            scheduler=_name("scheduler", scheduler, 15), timeout=_key.number(timeout, "timeout", 0, MAX_TIMEOUT),
            netmask=netmask, persistence_engine=persistence_engine,
        )  # fmt: skip

    @property
    def key(self) -> _key.ServiceKey:
        """Return what identifies the service, as Service.key does."""
        return _key.service_key(self.protocol, self.address, self.port, self.fwmark, self.address_family)


@dataclass(frozen=True, init=False)
class DestinationConfig:
    """Describe a real server. Its fields are those of `Destination`, without counts and counters.

    `forwarding` has no default, because other libraries have three different ones. `address_family` follows from the
    address, which may be an object of the module ipaddress. `forwarding` and `tunnel_type` may be numbers.
    """

    address: str
    port: int
    forwarding: str
    weight: int
    upper_threshold: int
    lower_threshold: int
    tunnel_type: str
    tunnel_port: int
    tunnel_flags: TunnelFlags
    address_family: str

    def __init__(
        self, address: Address, port: int, *, forwarding: Union[str, int], weight: int = 1, upper_threshold: int = 0,
        lower_threshold: int = 0, tunnel_type: Union[str, int] = "ipip", tunnel_port: int = 0,
        tunnel_flags: int = TunnelFlags(0), address_family: Optional[str] = None,
    ) -> None:  # fmt: skip
        family = address_family or _key.family_of(address)
        packed = _key.pack_address(_key.family_number(family), address)
        is_multicast = packed[0] >> 4 == 0xE if len(packed) == 4 else packed[0] == 0xFF
        if is_multicast or not any(packed) or packed in NO_HOSTS or packed[:12] == IPV4_MAPPED:
            raise ValueError(f"the address of a real server is that of one host, not {address}")
        forwarding = _choice("forwarding", forwarding, FORWARDING, 7)
        tunnel_type = _choice("tunnel_type", tunnel_type, TUNNEL_TYPES, 255)
        _key.number(tunnel_port, "the tunnel_port of gue", int(tunnel_type == "gue"), U16)
        upper = _key.number(upper_threshold, "upper_threshold", 0, S32)
        vars(self).update(
            address=address_text(family, packed), address_family=family, port=_key.number(port, "port", 0, U16),
            forwarding=forwarding, weight=_key.number(weight, "weight", 0, S32), upper_threshold=upper,
            lower_threshold=_key.number(lower_threshold, "lower_threshold, with this upper_threshold,", 0, upper),
            tunnel_type=tunnel_type, tunnel_port=tunnel_port,
            tunnel_flags=TunnelFlags(_key.number(tunnel_flags, "tunnel_flags", 0, U16)),
        )  # fmt: skip


def check_daemon(daemon: model.Daemon) -> None:
    """Refuse a daemon that the kernel would start with other settings."""
    if not isinstance(daemon, model.Daemon):
        raise ValueError(f"daemon is a Daemon, not {daemon!r}")
    _choice("state", daemon.state, DAEMON_STATES)
    name = daemon.mcast_ifn
    if not isinstance(name, str) or not 1 <= len(name.encode()) <= 15 or "\0" in name:
        raise ValueError(f"mcast_ifn is the name of a network interface, not {daemon.mcast_ifn!r}")
    for field, (least, most) in DAEMON_NUMBERS.items():
        if field == "sync_id" or getattr(daemon, field) is not None:
            _key.number(getattr(daemon, field), field, least, most)


def to_config(entry: Any, kind: Any) -> Any:
    """Return the config that asks for an entry as it was read. A config is returned as it is."""
    if isinstance(entry, kind):
        return entry
    return kind(**{field.name: getattr(entry, field.name) for field in fields(kind)})


def _choice(field: str, value: Any, names: "dict[int, str]", most: int = -1) -> str:
    """Return one of the names, or a number up to `most` as text, as IPVS is read."""
    if re.fullmatch("[0-9]{1,3}", str(value)) and int(value) <= most:
        return names.get(int(value), str(int(value)))
    if value not in names.values():
        raise ValueError(f"{field} is one of {', '.join(names.values())}, not {value!r}")
    return str(value)


def _name(field: str, name: Any, longest: int) -> str:
    """Return a name. Refuse what cannot be the name of a module: the kernel makes one of it."""
    if isinstance(name, str) and re.fullmatch(f"[A-Za-z0-9_-]{{1,{longest}}}", name):
        return name
    raise ValueError(f"{field} has 1 to {longest} letters, digits, _ and -, not {name!r}")
