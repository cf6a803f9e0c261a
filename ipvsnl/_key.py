"""Identify virtual services and real servers by keys that are hashable and sort as ipvsadm sorts.

The arguments of callers are checked here. A value that identifies nothing is a ValueError that says what is expected.
"""

# _socket is the part of socket in C. socket.py makes enums of several hundred constants at its import.
from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

# Keys and captures have Linux's numbers. On other systems AF_INET6 differs.
ADDRESS_FAMILIES = {2: "inet", 10: "inet6"}
FAMILY_NUMBERS = {name: number for number, name in ADDRESS_FAMILIES.items()}
HOST_FAMILIES = {2: AF_INET, 10: AF_INET6}
ADDRESS_SIZES = {2: 4, 10: 16}
EXAMPLES = {2: ("IPv4", "10.0.0.1"), 10: ("IPv6", "2001:db8::1")}
PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}
PROTOCOL_NUMBERS = {name: number for number, name in PROTOCOLS.items()}

ServiceKey = tuple[int, int, int, bytes, int]  # fwmark or 0, family, protocol, packed address, port


def service_key(protocol: object, address: object, port: object, fwmark: object, address_family: object) -> ServiceKey:
    """Return the Service.key of the service that these values identify. Raise ValueError if they identify none."""
    if fwmark is not None:
        if (protocol, address, port) != (None, None, None):
            raise ValueError("a service has a fwmark, or protocol, address and port, but not both")
        return number(fwmark, "a fwmark", 1, 0xFFFFFFFF), family_number(address_family), 0, b"", 0
    if protocol is None or address is None or port is None:
        raise ValueError("a service is identified by protocol, address and port, or by a fwmark")
    family = family_number(address_family)
    packed = pack_address(family, address)
    return 0, family, protocol_number(protocol), packed, number(port, "a port", 0, 0xFFFF)


def check_key(key: object) -> ServiceKey:
    """Return the key. Raise ValueError if it is not a Service.key."""
    if isinstance(key, tuple) and [type(part) for part in key] == [int, int, int, bytes, int]:
        fwmark, family, protocol, packed, port = key
        size = 0 if fwmark else ADDRESS_SIZES.get(family)
        if family in ADDRESS_SIZES and len(packed) == size and fwmark >> 32 == protocol >> 16 == port >> 16 == 0:
            return key
    raise ValueError(f"real servers are those of a Service or of its key, not of {key!r}")


def number(value: object, what: str, least: int, most: int) -> int:
    """Return the value. Raise ValueError if it is not a number in this range."""
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    raise ValueError(f"{what} is a number from {least} to {most}, not {value!r}")


def protocol_number(protocol: object) -> int:
    """Return the number of a protocol, given by name or by number, also as text."""
    if isinstance(protocol, str):
        if protocol in PROTOCOL_NUMBERS:
            return PROTOCOL_NUMBERS[protocol]
        if not (protocol.isascii() and protocol.isdecimal() and len(protocol) <= 5):
            raise ValueError(f"a protocol is {', '.join(PROTOCOL_NUMBERS)} or a number, not {protocol!r}")
        protocol = int(protocol)
    return number(protocol, "a protocol", 0, 0xFFFF)


def family_number(address_family: object) -> int:
    """Return Linux's number of an address family."""
    if isinstance(address_family, str) and address_family in FAMILY_NUMBERS:
        return FAMILY_NUMBERS[address_family]
    raise ValueError(f"an address family is {' or '.join(FAMILY_NUMBERS)}, not {address_family!r}")


def family_of(address: object) -> str:
    """Return the address family that the spelling of an address has."""
    return "inet6" if ":" in str(address) else "inet"


def pack_address(family: int, address: object) -> bytes:
    """Return the bytes of an address, given as text or as an object of the module ipaddress."""
    try:
        if isinstance(address, str) or hasattr(address, "packed"):
            return inet_pton(HOST_FAMILIES[family], str(address))
    except (OSError, ValueError):  # ValueError for a text with a NUL
        pass
    name, example = EXAMPLES[family]
    raise ValueError(f"an {name} address is one such as {example}, not {address!r}")


def spell_service(key: ServiceKey) -> str:
    """Return a Service.key as text, such as "tcp 10.0.0.1:80"."""
    fwmark, family, protocol, packed, port = key
    if fwmark:
        return f"fwmark {fwmark}{' inet6' if family == FAMILY_NUMBERS['inet6'] else ''}"
    return f"{PROTOCOLS.get(protocol) or protocol} {endpoint(inet_ntop(HOST_FAMILIES[family], packed), port)}"


def endpoint(address: object, port: object) -> str:
    """Return ADDRESS:PORT, or [ADDRESS]:PORT for an IPv6 address."""
    return f"[{address}]:{port}" if ":" in str(address) else f"{address}:{port}"
