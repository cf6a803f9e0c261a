"""Many messages at once: the fast path.

The messages of one dump from one kernel have the same headers at the same places; only the payloads differ. So one
message is read attribute by attribute, as attrs.py does, and what stands where is kept as a `Layout`; from the messages
that follow, each row of payloads is read with one struct call.

Nothing is believed unseen. A layout knows every header of its messages: their own, and length and type of each
attribute at each level that is read. All of them are compared before a payload is touched, in many messages at once:
messages of one size are a table of 32-bit words, since everything in netlink is aligned to four bytes; a header is a
column of that table; one comparison looks at that column in all of them. A message in which a single word is different
takes the careful path. Both ways end in the same rows, from which the same function makes the objects.
"""

from struct import Struct

from .attrs import HEADER, NLA_ALIGNTO, NLA_TYPE_MASK, Nest
from .genl import GENLMSGHDR, NLMSGHDR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from .genl import Message

WORD = Struct("=I")
SEQ, PORT = 2, 3  # the words of a struct nlmsghdr that differ from request to request, and from socket to socket
LAYOUTS_PER_SIZE = 4  # messages of one size come in few layouts; what is of none of these is read carefully


class Layout:
    """Where everything stands in messages of one layout. `headers` are the words that must be so, by their index."""

    def __init__(self, size: int, headers: "dict[int, int]", row: Struct) -> None:
        self.size = size
        self.row = row
        self._headers = headers
        self._columns: dict[int, list[tuple[slice, memoryview]]] = {}  # what a number of messages must have

    def proven(self, datagram: memoryview, seq: int, port: int) -> int:
        """How many messages at the start of `datagram` are of this layout and have this sequence number and port."""
        count = len(datagram) // self.size
        while count:
            words = datagram[: count * self.size].cast("I")
            columns = self._columns.get(count)
            if columns is None:
                columns = [self._column(index, word, count) for index, word in self._headers.items()]
                self._columns[count] = columns
            for where, must in (self._column(SEQ, seq, count), self._column(PORT, port, count), *columns):
                if words[where] != must:
                    # Start over with those before the first that differs.
                    count = next(i for i, word in enumerate(words[where]) if word != must[i])
                    break
            else:
                break
        return count

    def _column(self, index: int, word: int, count: int) -> "tuple[slice, memoryview]":
        return slice(index, None, self.size // NLA_ALIGNTO), memoryview(WORD.pack(word) * count).cast("I")


class Layouts:
    """The layouts seen so far of one kind of message.

    `nest` is the table of its attributes. `row` names the payloads that are wanted, as paths through the table, in the
    order in which the kernel sends them; one that ends in "?" may be absent, and is then b"".
    """

    def __init__(self, nest: Nest, row: "Sequence[str]") -> None:
        self._nest = nest
        self._row = row
        self._layouts: dict[int, list[Layout]] = {}  # by size
        self._attempts: dict[int, int] = {}  # to learn one, by size

    def rows(self, datagram: bytes, offset: int, seq: int, port: int) -> "tuple[int, Iterable[tuple[Any, ...]]]":
        """The rows of the messages from `offset` on that are of a known layout, and the offset of the first that is
        not. They carry the sequence number `seq` and the port `port`; all else that is in their headers, the command
        too, is as it was in a message that was learnt."""
        view = memoryview(datagram)[offset:]
        if len(view) >= NLMSGHDR.size:
            for layout in self._layouts.get(WORD.unpack_from(view)[0], ()):
                end = layout.proven(view, seq, port) * layout.size
                if end:
                    return offset + end, layout.row.iter_unpack(view[:end])
        return offset, ()

    def learn(self, message: "Message") -> None:
        """Keep the layout of a message that has just been read attribute by attribute, and was right."""
        size = NLMSGHDR.size + len(message.payload)
        attempts = self._attempts[size] = self._attempts.get(size, 0) + 1
        if attempts <= LAYOUTS_PER_SIZE and size % NLA_ALIGNTO == 0:
            header = NLMSGHDR.pack(size, message.type, message.flags, message.seq, message.port)
            finder = _Finder(header + message.payload)
            finder.walk(NLMSGHDR.size + GENLMSGHDR.size, size, self._nest, "")
            row = finder.row(self._row)
            if row is not None:
                self._layouts.setdefault(size, []).append(Layout(size, finder.headers, row))


class _Finder:
    """Walks once through a message, and notes its headers and where the payloads are."""

    def __init__(self, message: bytes) -> None:
        self.message = message
        begin = (NLMSGHDR.size + GENLMSGHDR.size) // NLA_ALIGNTO
        self.headers = {index: self._word(index * NLA_ALIGNTO) for index in range(begin) if index not in (SEQ, PORT)}
        self._found: list[str] = []  # the paths of all known attributes, in order
        self._payloads: dict[str, tuple[int, str]] = {}  # path: offset and format

    def _word(self, offset: int) -> int:
        word: int = WORD.unpack_from(self.message, offset)[0]
        return word

    def walk(self, offset: int, end: int, nest: Nest, prefix: str) -> None:
        while offset < end:
            self.headers[offset // NLA_ALIGNTO] = self._word(offset)
            length, type = HEADER.unpack_from(self.message, offset)
            payload = offset + HEADER.size
            if type & NLA_TYPE_MASK in nest.table:
                name, kind = nest.table[type & NLA_TYPE_MASK]
                path = prefix + name
                self._found.append(path)
                if isinstance(kind, Nest):
                    self.walk(payload, offset + length, kind, f"{path}.")
                else:
                    self._payloads[path] = payload, kind.format(length - HEADER.size)
            offset += length + -length % NLA_ALIGNTO

    def row(self, wanted: "Sequence[str]") -> "Struct | None":
        """The struct that reads the wanted payloads out of a message. None where it takes the careful path: an
        attribute comes twice, has a value that must be looked at, or stands in another order."""
        paths = [path for path in wanted if path.rstrip("?") in self._payloads or not path.endswith("?")]
        known = {path.rstrip("?") for path in wanted}
        in_order = [path.rstrip("?") for path in paths] == [path for path in self._found if path in known]
        once = len(self._found) == len(set(self._found))
        if not in_order or not once or "" in [letters for _, letters in self._payloads.values()]:
            return None
        format, position = "=", 0
        for path in wanted:
            offset, letters = self._payloads.get(path.rstrip("?"), (position, "0s"))
            format += f"{offset - position}x{letters}"
            position = offset + Struct("=" + letters).size
        return Struct(f"{format}{len(self.message) - position}x")
