"""The two lists that IPVS has, of its virtual services and of the real servers of each: read whole, and as they are.

A list comes in datagrams. Each is read at once as far as its messages are of a known layout (layout.py), and message by
message where they are not. A list that does not fit one datagram is made sure by further dumps (windows.py). All that
is done with rows; what comes out of it is made objects of, once (_decode.py).
"""

import os
from contextlib import ExitStack

from . import _decode, _schema
from ._dataclass import dataclass
from ._fastpath import Layouts
from .errors import DumpInterruptedError, netlink_error
from .genl import NLM_F_DUMP, Connection, expect
from .transport import MESSAGE
from .windows import ELSEWHERE, Window, is_whole, once, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Callable

    from ._decode import Row


@dataclass
class Kind:
    """What is to be known of a list: the command that asks for it and the one that answers, what to call that in an
    error; where the row of a message is, how to read it with care, what in it tells entries apart, and what of that
    can be had at once (`looks`); and how to make the model of _decode. The kernel may put all of it in another order
    (`resizes`), or walk through the beginning of it again in one datagram (`jumps`): windows.py."""

    command: int
    reply: int
    doing: str
    paths: "list[tuple[str, bool]]"
    row: "Callable[[bytes], Row]"
    identity: "Callable[[Row], Row]"
    looks: "Callable[[Row], Row]"
    make: "Callable[..., list[Any]]"
    resizes: bool
    jumps: bool


# Up to Linux 6 a mutex is held while a datagram is filled, and looking for repeats would be for nothing.
WALKED_UNDER_MUTEX = hasattr(os, "uname") and os.uname().release.startswith(("2.", "3.", "4.", "5.", "6."))

SERVICES = Kind(
    _schema.GET_SERVICE,
    _schema.NEW_SERVICE,
    "dumping the services",
    _decode.SERVICES.paths,
    _decode.SERVICES.row,
    _decode.service_identity,
    _decode.SERVICES.identifying,
    _decode.services,
    resizes=True,
    jumps=False,
)
DESTINATIONS = Kind(
    _schema.GET_DEST,
    _schema.NEW_DEST,
    "dumping real servers",
    _decode.DESTINATIONS.paths,
    _decode.DESTINATIONS.row,
    _decode.DESTINATIONS.identifying,
    _decode.DESTINATIONS.identifying,
    _decode.destinations,
    resizes=False,
    jumps=not WALKED_UNDER_MUTEX,
)


class ListReader:
    """Reads lists of one kind over one connection."""

    def __init__(self, connection: Connection, kind: Kind, layouts: "Layouts | None" = None) -> None:
        self._connection = connection
        self._kind = kind
        self._layouts = layouts or Layouts(_schema.COMMAND, kind.paths, connection.buffer)

    def read(self, family: int, attributes: bytes, *context: "Any") -> "list[Any]":
        """The whole list that a request with these attributes asks for. `context` is what making its entries takes
        besides: for real servers the address family of their service."""
        self._begin(family, attributes)
        found = self._datagram(family)
        if found:
            size, room = self._connection.end, self._connection.transport.room
            more = self._datagram(family)
            if more or size + MESSAGE > room:
                found = self._settle(Window(found, size, room), more, family, attributes, context)
            if self._kind.jumps and len({*map(_decode.DESTINATIONS.identifying, found)}) < len(found):
                found = once(found, self._kind.identity)
        return self._kind.make(found, *context)

    def _begin(self, family: int, attributes: bytes) -> None:
        """Begin a dump: the kernel fills its first datagram now, and each other one when that before it is received."""
        self._connection.begin(family, NLM_F_DUMP, self._kind.command, attributes, self._kind.doing)

    def _datagram(self, family: int) -> "list[Row]":
        """The rows of the next datagram that has any; none at the end of the dump."""
        connection, kind = self._connection, self._kind
        found: list[Row] = []
        while connection.awaited and not found:
            connection.receive(kind.doing)
            end = connection.end
            while (offset := connection.offset) < end:
                offset, alike = self._layouts.rows(offset, end, connection.seq, connection.transport.port)
                if alike:
                    connection.offset = offset
                    found = found + alike if found else alike
                elif message := connection.message(kind.doing):
                    expect(message, family, kind.reply, kind.doing)
                    found.append(kind.row(message.attributes()))
                    self._layouts.learn(message)
        return found

    def _windows(self, family: int) -> "Iterator[Window]":
        """The rest of a dump, datagram by datagram, each received when it is asked for."""
        while found := self._datagram(family):
            yield Window(found, self._connection.end, self._connection.transport.room)

    def _settle(
        self, first: Window, more: "list[Row]", family: int, attributes: bytes, context: "tuple[Any, ...]"
    ) -> "list[Row]":
        """A list that the first datagram of a dump may not have had all of; `more` is what the second had."""
        dump = [first]
        if more:
            dump += [Window(more, self._connection.end, self._connection.transport.room), *self._windows(family)]
        if is_whole(dump):
            return first.entries
        with ExitStack() as others:

            def again() -> "Iterator[Window]":
                self._begin(family, attributes)
                return self._windows(family)

            def elsewhere() -> "Iterator[Window] | None":
                others.close()  # the last one, which has been read to its end
                transport = self._connection.transport
                try:
                    other = transport.another(ELSEWHERE) if hasattr(transport, "another") else None
                except OSError as error:
                    raise netlink_error(error.errno or 0, f"{self._kind.doing}: opening one more socket") from None
                if other is None:
                    return None
                others.callback(other.close)
                reader = ListReader(Connection(other, self._connection.buffer), self._kind, self._layouts)
                reader._begin(family, attributes)
                return reader._windows(family)

            try:
                kind = self._kind
                return settle(dump, again, elsewhere, kind.identity, looks=kind.looks, resizes=kind.resizes)
            except DumpInterruptedError as error:
                raise DumpInterruptedError(self._kind.make(error.entries, *context)) from None
