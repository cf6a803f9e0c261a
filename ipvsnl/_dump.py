"""Dump a list that IPVS has, virtual services or the real servers of one, complete and without repeats.

The kernel may skip or repeat entries in a dump longer than one datagram. Such a list is dumped again over other sockets
until the dumps agree, or can be merged safely (_merge.py). Datagrams are read at once if their messages have a known
layout (_fastpath.py), otherwise message by message. All this works on rows, of which _decode.py makes objects at last.
"""

from collections.abc import Iterator
from contextlib import ExitStack

from . import _schema
from ._dataclass import dataclass
from ._decode import DEST_ROWS, SERVICE_ROWS, Row, Rows
from ._fastpath import Layouts
from ._merge import Window, once, settle
from ._typing import typing
from .errors import DumpInterruptedError, netlink_error
from .genl import NLM_F_DUMP, Connection, expect
from .transport import BUFFER_SIZE, MESSAGE, SMALL_OFFER

# What new sockets offer at first, in turn. Their windows end far from those of a socket that has offered BUFFER_SIZE.
# They also differ from each other: if the last window of a list is nearly full with one, it is not with another.
LARGE_OFFERS = (20000, 9000, 30000)

# How many datagrams to receive after one that reached the end of the list.
BEYOND = 20


@dataclass
class DumpCommand:
    """What one dump requests and receives, and what may happen to its list in the kernel."""

    command: int
    reply: int
    doing: str  # for errors
    rows: Rows
    resizes: bool  # the kernel may put the list in another order
    jumps: bool  # the kernel may walk through the head again, in one datagram


DUMP_SERVICES = DumpCommand(
    _schema.GET_SERVICE, _schema.NEW_SERVICE, "dumping the services", SERVICE_ROWS, resizes=True, jumps=False
)
DUMP_DESTS = DumpCommand(
    _schema.GET_DEST, _schema.NEW_DEST, "dumping real servers", DEST_ROWS, resizes=False, jumps=True
)


class ListReader:
    """Dumps one list, or those of all services, over one connection."""

    def __init__(self, connection: Connection, dump: DumpCommand, layouts: "typing.Optional[Layouts]" = None) -> None:
        self._connection = connection
        self._command = dump
        self._rows = dump.rows
        self._layouts = layouts or Layouts(_schema.COMMAND, dump.rows.paths, connection.buffer)

    def read(self, family: int, attributes: bytes, *context: "typing.Any") -> "list[typing.Any]":
        """Return the whole list that a request with these attributes asks for.

        `context` is passed on to `Rows.make`: for real servers it is the address family of their service.
        """
        self._begin(family, attributes)
        found = self._datagram(family)
        size, room = self._connection.end, self._connection.transport.room
        if found and size + MESSAGE <= room:  # nearly all dumps: the list ended in the first datagram
            self._finish(family)
        elif found:
            first = [Window(found, size, room), *self._windows(family)]
            found = self._settle(first, family, attributes, context)
        if self._command.jumps and len({*map(self._rows.telling, found)}) < len(found):  # perhaps there are repeats
            found = once(found, self._rows.identity)
        return self._rows.make(found, *context)

    def _dump(self, family: int, attributes: bytes) -> Iterator[Window]:
        """Begin a dump, and return its windows, each received when it is asked for."""
        self._begin(family, attributes)
        return self._windows(family)

    def _begin(self, family: int, attributes: bytes) -> None:
        """Begin a dump: the kernel fills the first datagram now, each other one when the one before it is received."""
        self._connection.begin(family, NLM_F_DUMP, self._command.command, attributes, self._command.doing)

    def _windows(self, family: int) -> Iterator[Window]:
        """Yield the windows of the dump that was begun, up to one that reached the end of the list."""
        while found := self._datagram(family):
            window = Window(found, self._connection.end, self._connection.transport.room)
            yield window
            if window.had_room():
                self._finish(family)
                return

    def _finish(self, family: int) -> None:
        """Receive the end of a dump that reached the end of the list.

        If entries are added at the head, the kernel sends the last ones again, for ever if one is added for each
        datagram. So only so many are received before the dump is given up.
        """
        for _ in range(BEYOND):
            if not self._datagram(family):
                break

    def _datagram(self, family: int) -> list[Row]:
        """Return the rows of the next datagram that has any; none at the end of the dump."""
        connection, command = self._connection, self._command
        found: list[Row] = []
        while connection.awaited and not found:
            connection.receive(command.doing)
            end = connection.end
            while (offset := connection.offset) < end:
                offset, alike = self._layouts.rows(offset, end, connection.seq, connection.transport.port)
                if alike:
                    connection.offset = offset
                    found = found + alike if found else alike
                elif message := connection.message(command.doing):
                    expect(message, family, command.reply, command.doing)
                    found.append(self._rows.row(message.attributes()))
                    self._layouts.learn(message)
        return found

    def _settle(
        self, first: list[Window], family: int, attributes: bytes, context: "tuple[typing.Any, ...]"
    ) -> list[Row]:
        """Return the rows of a list of which this first dump does not prove that it is complete."""
        rows = self._rows
        with ExitStack() as sockets:

            def pair(number: int, large: bool) -> list[Iterator[Window]]:
                """Begin two dumps whose windows end at different positions.

                Their windows have one size, but one of the dumps begins with a page. For small windows the kernel needs
                no large block of memory.
                """
                sockets.close()  # those of the round before
                largest = BUFFER_SIZE if large else SMALL_OFFER
                offer = LARGE_OFFERS[number % len(LARGE_OFFERS)] if large else SMALL_OFFER
                new, used = self._another(sockets, offer, largest), self._another(sockets, largest, largest)
                if used:
                    # The kernel learns an offer from a reply that is received, and that of nlctrl is short.
                    used._connection.load_family("nlctrl")
                return [reader._dump(family, attributes) for reader in (new, used) if reader]

            other = self._another(sockets, LARGE_OFFERS[0])
            if other is None:  # no kernel can be asked again: what the dump shows is all that there is
                return once([entry for window in first for entry in window.entries], rows.identity)
            try:
                return settle(
                    first, [*other._dump(family, attributes)], pair, rows.identity, resizes=self._command.resizes
                )
            except DumpInterruptedError as error:
                raise DumpInterruptedError(rows.make(error.entries, *context), error.why) from None

    def _another(self, sockets: ExitStack, *offers: int) -> "typing.Optional[ListReader]":
        """Open one more socket, which `sockets` closes. Return None if there is no kernel that can be asked again."""
        transport = self._connection.transport
        try:
            other = transport.another(*offers) if hasattr(transport, "another") else None
        except OSError as error:
            raise netlink_error(error.errno or 0, f"{self._command.doing}: opening one more socket") from None
        if other is None:
            return None
        sockets.callback(other.close)
        return ListReader(Connection(other, self._connection.buffer), self._command, self._layouts)
