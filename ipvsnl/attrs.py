"""Netlink attributes: bytes to values and back.

An attribute is a header (u16 length with the header, u16 type), a payload, and padding to four bytes; a payload may
itself be a list of attributes. netlink(7) and include/uapi/linux/netlink.h define it, lib/nlattr.c is the kernel's
reader. Which types a protocol has, and of which kind each is, is a table (`Nest`); this file knows no protocol.

What comes from outside is checked before it is believed: a length that leaves its parent, or a payload of another size
than its kind has, is a DecodeError that names the attribute.
"""

from struct import Struct

from .errors import DecodeError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    class Kind(Protocol):
        """What a payload is: how to read it, how to write it, and how struct spells one of `size` bytes, "" where
        there is more to check than that (layout.py)."""

        def decode(self, payload: bytes) -> Any: ...

        def encode(self, value: Any) -> bytes: ...

        def format(self, size: int) -> str: ...

    ValuesBase = dict[str, Any]
else:
    ValuesBase = dict


HEADER = Struct("=HH")  # struct nlattr: nla_len, nla_type, host byte order
NLA_TYPE_MASK = 0x3FFF  # without NLA_F_NESTED (0x8000) and NLA_F_NET_BYTEORDER (0x4000), which kernels set or not
NLA_ALIGNTO = 4


class Scalar:
    """An integer of fixed size in host byte order, by its letter of struct."""

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


class Text:
    """A string that ends in NUL; what follows the NUL does not count, as in the kernel."""

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


class Binary:
    """Bytes as they are."""

    def decode(self, payload: bytes) -> bytes:
        return payload

    def encode(self, value: bytes) -> bytes:
        return value

    def format(self, size: int) -> str:
        return f"{size}s"


class Values(ValuesBase):
    """Decoded attributes by name. One that is asked for with [] and was not sent is a DecodeError."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __missing__(self, name: str) -> "Any":
        raise DecodeError(f"{self.prefix}_{name} is missing")


class Nest:
    """A list of attributes: `table` maps each type to its name and kind, `prefix` is what the kernel's header calls
    them all, for messages. Types that are not in the table are skipped: newer kernels add some."""

    def __init__(self, prefix: str, table: "Mapping[int, tuple[str, Kind]]") -> None:
        self.prefix = prefix
        self.table = table
        self.types = {name: (type, kind) for type, (name, kind) in table.items()}

    def decode(self, payload: bytes) -> Values:
        """The values by name. Of an attribute that comes twice the last counts, as in nla_parse()."""
        values = Values(self.prefix)
        for type, content in split(payload, self.prefix):
            if type in self.table:
                name, kind = self.table[type]
                try:
                    values[name] = kind.decode(content)
                except DecodeError as error:
                    # A nested list names itself in its own errors; a plain payload does not know its name.
                    if isinstance(kind, Nest):
                        raise
                    raise DecodeError(f"{self.prefix}_{name}: {error.what}") from None
        return values

    def encode(self, values: "Mapping[str, Any]") -> bytes:
        parts = []
        for name, value in values.items():
            type, kind = self.types[name]
            content = kind.encode(value)
            parts.append(HEADER.pack(HEADER.size + len(content), type) + content + bytes(-len(content) % NLA_ALIGNTO))
        return b"".join(parts)

    def format(self, size: int) -> str:
        return ""


def split(data: bytes, prefix: str) -> list[tuple[int, bytes]]:
    """(type, payload) of each attribute in `data`, flags removed from the type; `prefix` is for messages only."""
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
binary = Binary()
