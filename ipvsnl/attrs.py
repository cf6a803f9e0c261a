"""Decode and encode netlink attributes.

An attribute is a header (u16 length, u16 type), a payload, and padding to four bytes. The length includes the header. A
payload may hold attributes itself. netlink(7) and include/uapi/linux/netlink.h define the format, and lib/nlattr.c is
the kernel's parser. A `Nest` is the table of the types and kinds that a protocol has. This file knows no protocol.

Lengths are checked before a payload is read. A length beyond its parent, or a payload of the wrong size, is a
DecodeError that names the attribute.
"""

from collections.abc import Mapping
from struct import Struct

from ._typing import typing
from .errors import DecodeError

HEADER = Struct("=HH")  # struct nlattr: nla_len, nla_type, host byte order
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED (0x8000) and NLA_F_NET_BYTEORDER (0x4000), which kernels set or not
NLA_ALIGNTO = 4


class Kind:
    """How to decode and encode a payload. This base class leaves its bytes as they are."""

    columns: "tuple[str, ...]" = ()  # the names of its columns in a row, if there are several

    def decode(self, payload: bytes) -> "typing.Any":
        """Return the value of a payload."""
        return payload

    def encode(self, value: "typing.Any") -> bytes:
        """Return the payload of a value."""
        return bytes(value)

    def format(self, size: int) -> str:
        """Return how struct spells a payload of `size` bytes, "" if the payload must be decoded to be checked."""
        return f"{size}s"


class Scalar(Kind):
    """An integer in host byte order, of the size that a letter of struct has."""

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.struct = Struct("=" + letter)

    def decode(self, payload: bytes) -> int:
        if len(payload) != self.struct.size:
            raise DecodeError(f"{len(payload)} bytes where {self.struct.size} belong")
        value: int = self.struct.unpack(payload)[0]
        return value

    def encode(self, value: int) -> bytes:
        return self.struct.pack(value)

    def format(self, size: int) -> str:
        return self.letter


class Text(Kind):
    """A string that ends in NUL. As in the kernel, bytes after the NUL do not count."""

    def decode(self, payload: bytes) -> str:
        text, nul, _ = payload.partition(b"\0")
        if not nul:
            raise DecodeError(f"the text {payload!r} does not end in NUL")
        try:
            return text.decode()
        except UnicodeDecodeError:
            raise DecodeError(f"the text {text!r} is not UTF-8") from None

    def encode(self, value: str) -> bytes:
        return value.encode() + b"\0"

    def format(self, size: int) -> str:
        return ""


class Values(dict[str, "typing.Any"]):
    """Decoded attributes by name. A missing key is a DecodeError that names the attribute."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __missing__(self, name: str) -> "typing.Any":
        raise DecodeError(f"{self.prefix}_{name} is missing")


class Nest(Kind):
    """A sequence of attributes.

    `table` maps each type to its name and kind. `prefix` is the prefix of the names in the kernel's header, for
    messages. Types that are not in the table are skipped, because newer kernels add some.
    """

    def __init__(self, prefix: str, table: "Mapping[int, tuple[str, Kind]]") -> None:
        self.prefix = prefix
        self.table = table
        self.types = {name: (type, kind) for type, (name, kind) in table.items()}

    def decode(self, payload: bytes) -> Values:
        """Decode the values by name. Of two attributes of one type the last one counts, as in nla_parse()."""
        values = Values(self.prefix)
        for type, content in split(payload, self.prefix):
            if type in self.table:
                name, kind = self.table[type]
                try:
                    values[name] = kind.decode(content)
                except DecodeError as error:
                    # A nest names itself in its errors; a plain payload does not know its name.
                    if isinstance(kind, Nest):
                        raise
                    raise DecodeError(f"{self.prefix}_{name}: {error.what}") from None
        return values

    def encode(self, values: "Mapping[str, typing.Any]") -> bytes:
        """Encode values by name, in their order."""
        parts = []
        for name, value in values.items():
            type, kind = self.types[name]
            content = kind.encode(value)
            parts.append(HEADER.pack(HEADER.size + len(content), type) + content + bytes(-len(content) % NLA_ALIGNTO))
        return b"".join(parts)

    def format(self, size: int) -> str:
        return ""


def split(data: bytes, prefix: str) -> list[tuple[int, bytes]]:
    """Split attributes into (type, payload), without the flags of the type. `prefix` is for messages."""
    found = []
    offset, end = 0, len(data)
    while offset < end:
        if end - offset < HEADER.size:
            raise DecodeError(f"{prefix}: {end - offset} stray bytes after the last attribute")
        length, type = HEADER.unpack_from(data, offset)
        if not HEADER.size <= length <= end - offset:
            raise DecodeError(f"{prefix}: an attribute of type {type} says {length} bytes, {end - offset} are left")
        found.append((type & NLA_TYPE_MASK, data[offset + HEADER.size : offset + length]))
        offset += length + -length % NLA_ALIGNTO
    return found


u8 = Scalar("B")
u16 = Scalar("H")
u32 = Scalar("I")
s32 = Scalar("i")
u64 = Scalar("Q")
text = Text()
binary = Kind()
