"""Decode many messages at once: the fast path.

The messages of one dump have equal headers at equal offsets. Only the payloads differ. One message is decoded attribute
by attribute, as attrs.py does, and its `Layout` is kept. Each later message of that layout takes one struct call.

No payload is read before the headers are checked. A layout knows every header of its messages: the message header, and
length and type of each attribute at each level. Netlink aligns everything to four bytes, so messages of one size form a
matrix of 32-bit words, in which each header is a column. One comparison checks a column in all messages of a datagram.
Messages of mixed layouts are compared one by one. A message with any other header takes the careful path. Both paths
produce the same rows.
"""

from collections.abc import Sequence
from struct import Struct

from ._typing import typing
from .attrs import HEADER, NLA_ALIGNTO, NLA_TYPE_MASK, Nest
from .genl import GENLMSGHDR, NLMSGHDR, Message

WORD = Struct("=I")
SEQ, PORT = 2, 3  # the words of a struct nlmsghdr that differ between requests and between sockets
LAYOUTS_PER_SIZE = 4  # messages of further layouts take the careful path
MATRICES = 64  # of each layout are kept


class Layout:
    """The offsets of headers and payloads in messages of one layout.

    `headers` are the words that every such message has, by index. `row` reads the payloads of a message. A Matrix
    checks all messages of a datagram at once, and `run()` checks them one by one.
    """

    def __init__(self, size: int, headers: "dict[int, int]", row: Struct) -> None:
        self.size = size
        self.headers = headers
        self.row = row
        self.matrices: dict[tuple[int, int], Matrix] = {}  # by offset and number of messages
        indices = sorted((SEQ, PORT, *headers))
        gaps = [(after - before - 1) * NLA_ALIGNTO for before, after in zip([-1, *indices], indices)]
        self._words = Struct("=" + "".join([f"{gap}xI" for gap in gaps]))
        self._before = tuple(headers[index] for index in indices if index < SEQ)
        self._after = tuple(headers[index] for index in indices if index > PORT)

    def run(self, buffer: memoryview, offset: int, most: int, seq: int, port: int) -> int:
        """Count the messages from `offset` on that have this layout, sequence number and port, up to `most`."""
        must = (*self._before, seq, port, *self._after)
        for count in range(most):
            if self._words.unpack_from(buffer, offset + count * self.size) != must:
                return count
        return most


class Matrix:
    """Messages of one layout at one offset of a buffer, as columns of words, and the words that each must have.

    The columns are views, so one matrix serves all datagrams that are received into that buffer.
    """

    def __init__(self, buffer: memoryview, layout: Layout, offset: int, count: int) -> None:
        self.messages = buffer[offset : offset + count * layout.size]
        words, step = self.messages.cast("I"), layout.size // NLA_ALIGNTO
        self._count = count
        self._port = 0
        self._seqs, self._ports = bytearray(count * WORD.size), bytearray(count * WORD.size)
        headers = memoryview(b"".join([WORD.pack(word) * count for word in layout.headers.values()])).cast("I")
        self._columns = [words[index::step] for index in (SEQ, PORT, *layout.headers)]
        self._must = [memoryview(self._seqs).cast("I"), memoryview(self._ports).cast("I")]
        self._must += [headers[begin : begin + count] for begin in range(0, len(headers), count)]

    def is_proven(self, seq: int, port: int) -> bool:
        """Tell whether all messages have the layout, this sequence number and this port."""
        self._seqs[:] = WORD.pack(seq) * self._count
        if port != self._port:
            self._ports[:], self._port = WORD.pack(port) * self._count, port
        return self._columns == self._must


class Layouts:
    """The layouts, learnt so far, of the messages that one dump receives into one buffer.

    `nest` has the attributes. `columns` are the paths to the payloads of a row, in the kernel's order of sending, each
    with whether it may be absent. An absent payload is b"".
    """

    def __init__(self, nest: Nest, columns: Sequence[tuple[str, bool]], buffer: bytearray) -> None:
        self._nest = nest
        self._columns = columns
        self._buffer = memoryview(buffer)
        self._lengths = self._buffer.cast("I")
        self._layouts: dict[int, list[Layout]] = {}  # by size
        self._attempts: dict[int, int] = {}  # to learn one, by size

    def rows(self, offset: int, end: int, seq: int, port: int) -> "tuple[int, list[tuple[typing.Any, ...]]]":
        """Read rows from `offset` on, up to `end`, while messages have one known layout, this `seq` and this `port`.

        Return the offset after them, and the rows. There are none if the next message has no known layout.
        """
        for layout in self._layouts.get(self._lengths[offset // NLA_ALIGNTO], ()):
            most = (end - offset) // layout.size
            if most and offset <= layout.size:  # nearly every datagram has one layout, perhaps after its first message
                matrix = layout.matrices.get((offset, most)) or self._keep_matrix(layout, offset, most)
                if matrix.is_proven(seq, port):
                    return offset + most * layout.size, list(layout.row.iter_unpack(matrix.messages))
            count = layout.run(self._buffer, offset, most, seq, port)
            if count:
                stop = offset + count * layout.size
                return stop, list(layout.row.iter_unpack(self._buffer[offset:stop]))
        return offset, []

    def _keep_matrix(self, layout: Layout, offset: int, count: int) -> Matrix:
        if len(layout.matrices) >= MATRICES:
            layout.matrices.clear()
        matrix = layout.matrices[offset, count] = Matrix(self._buffer, layout, offset, count)
        return matrix

    def learn(self, message: Message) -> None:
        """Keep the layout of a message that was decoded attribute by attribute without an error."""
        size = NLMSGHDR.size + len(message.payload)
        attempts = self._attempts[size] = self._attempts.get(size, 0) + 1
        if attempts <= LAYOUTS_PER_SIZE and size % NLA_ALIGNTO == 0:
            header = NLMSGHDR.pack(size, message.type, message.flags, message.seq, message.port)
            layout = _find_layout(header + message.payload, self._nest, self._columns)
            if layout is not None:
                self._layouts.setdefault(size, []).append(layout)


def _find_layout(message: bytes, nest: Nest, columns: Sequence[tuple[str, bool]]) -> "typing.Optional[Layout]":
    """Return the layout of a message.

    Return None for the careful path: an attribute comes twice, must be decoded to be checked, or has another order than
    the columns.
    """
    begin = NLMSGHDR.size + GENLMSGHDR.size
    headers = {offset // NLA_ALIGNTO: _word(message, offset) for offset in range(0, begin, NLA_ALIGNTO)}
    del headers[SEQ], headers[PORT]
    found: list[str] = []  # the paths of all known attributes, in their order
    payloads: dict[str, tuple[int, str]] = {}  # path: offset and format

    def walk(offset: int, end: int, nest: Nest, prefix: str) -> None:
        while offset < end:
            headers[offset // NLA_ALIGNTO] = _word(message, offset)
            length, type = HEADER.unpack_from(message, offset)
            payload = offset + HEADER.size
            if type & NLA_TYPE_MASK in nest.table:
                name, kind = nest.table[type & NLA_TYPE_MASK]
                found.append(prefix + name)
                if isinstance(kind, Nest):
                    walk(payload, offset + length, kind, f"{prefix}{name}.")
                else:
                    payloads[prefix + name] = payload, kind.format(length - HEADER.size)
            offset += length + -length % NLA_ALIGNTO

    walk(begin, len(message), nest, "")
    wanted = [path for path, optional in columns if path in payloads or not optional]
    known = {path for path, _ in columns}
    in_order = wanted == [path for path in found if path in known]
    once = len(found) == len(set(found))
    if not in_order or not once or "" in [letters for _, letters in payloads.values()]:
        return None
    format, position = "=", 0
    for path, _ in columns:
        offset, letters = payloads.get(path, (position, "0s"))
        format += f"{offset - position}x{letters}"
        position = offset + Struct("=" + letters).size
    return Layout(len(message), headers, Struct(f"{format}{len(message) - position}x"))


def _word(message: bytes, offset: int) -> int:
    word: int = WORD.unpack_from(message, offset)[0]
    return word
