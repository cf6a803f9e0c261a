"""A whole list from dumps that each show it piece by piece, while others change it.

The kernel fills one datagram of a dump at a time (netlink_dump() in net/netlink/af_netlink.c), and between two of them
the list may change. IPVS then goes on at the same position (cb->args[0] in ip_vs_genl_dump_services() and
ip_vs_genl_dump_dests()): where an entry before it has been deleted meanwhile, another is left out. So a datagram is a
`Window`, entries that followed each other in the list. Nothing is lost inside one, only where it ends and the next
begins.

What must be found are the entries that stay, those which exist during the whole call. They keep their order. IPVS adds
at the head, of a service's list of real servers (__ip_vs_update_dest()) or of a bucket of the table of services
(ip_vs_svc_hash()), and moves nothing, except for the resizes below. So let the rank of an entry be the number of
staying ones before it. While it is there its rank is the same; if it is deleted and added again, it comes back at the
head, with the same rank or a lower one. Ranks never grow.

Hence the rule that all of this rests on. A window is connected

    if it is the first of its dump, or if it shares an entry with a connected window that was filled before it.

Then the staying entries in all connected windows are always the first so many of them, without a gap: a first window
begins at the head; and where two windows share an entry, its rank in the older one is not beyond what is covered, its
rank in the newer one is not larger, so the newer one begins within what is covered. Once a connected window reaches the
end of the list nothing that stays is missing, whatever else was added and deleted meanwhile, and how often.

`_Merge.read()` makes windows connect: it reads two dumps in turn, one half a datagram ahead of the other, so that where
a window ends, the next to be filled has its middle.

While nothing changes a single second dump is enough, if its windows end elsewhere and it lists the same in the same
order. Were an entry missing from both, then in two places of that one list; all that is listed between these places
would have jumped over it from one dump to the next, and so all before them in the list or bucket were deleted and added
again meanwhile, in just the reverse order.

In Linux 7 the table of services grows and shrinks (svc_resize_work_handler(), which waits while a datagram is filled),
and all services come into a new, random order. That shows: of the neighbours in a window from after it hardly any were
near each other before. Then all that was read is forgotten.
"""

from itertools import chain

from .dataclass import dataclass
from .errors import DumpInterruptedError
from .transport import MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Callable

# How often two more dumps are tried. Each time at least one more window is connected, and mostly all of them are.
ROUNDS = 40

# What the other socket offers first, bytes: its windows then end far from where those of one that was in use before do,
# and from those of one that began with SMALL_OFFER.
ELSEWHERE = 20000

# Sizes of windows that may be full although there should have been room: where memory is short the kernel falls back to
# a page, at most 8 KiB (netlink_dump()), and before Linux 4.9 no datagram had more than 16 KiB (netlink_recvmsg()).
DOUBTFUL = (range(2048, 8193), range(16384 - 1536, 16385))

# A window is of the same order as a dump if in a third of it neighbours are at most so far apart there.
NEAR = 8


@dataclass
class Window:
    """The entries in one datagram, its size in bytes, and how many it had room for."""

    entries: "list[Any]"
    size: int
    room: int

    def had_room(self) -> bool:
        """Whether there was room for one more: then it was the list that ended here, and not the datagram."""
        return self.size + MESSAGE <= self.room

    def is_doubtful(self) -> bool:
        """Whether the room may have been less than it should."""
        return any(self.size in sizes for sizes in DOUBTFUL)


def is_whole(dump: "list[Window]") -> bool:
    """Whether the first window of a dump is all of the list, at one moment. There may be a second one nevertheless:
    what was added meanwhile has moved the last entries behind the position.

    Where no second one came it is not doubted that there was room: else each list of such a size would be read twice.
    """
    return dump[0].had_room() and (len(dump) == 1 or not dump[0].is_doubtful())


def settle(
    first: "list[Window]",
    again: "Callable[[], Iterator[Window]]",
    elsewhere: "Callable[[], Iterator[Window] | None]",
    identity: "Callable[[Any], Any]",
    *,
    resizes: bool,
) -> "list[Any]":
    """The entries of a list that did not fit one datagram, each once, in the kernel's order; with the values of the
    first dump if the list did not change meanwhile, else with the newest.

    `first` is a dump of it, `again()` begins another like it, `elsewhere()` one whose windows end elsewhere, or is None
    if there is none to be had. DumpInterruptedError where the list changes too much.
    """
    ahead = elsewhere()
    if ahead is None:
        return _Merge(identity, first, resizes).all()
    second = list(ahead)
    if _agree(first, second, identity):
        return [entry for window in first for entry in window.entries]
    merge = _Merge(identity, first, resizes)
    merge.read(iter(second))
    for _ in range(ROUNDS):
        if merge.resized:
            merge = _Merge(identity, list(again()), resizes)
        elif merge.complete:
            return merge.connected()
        ahead = elsewhere()
        merge.read(*([ahead] if ahead else []), again())
    raise DumpInterruptedError(merge.all())


def _agree(first: "list[Window]", second: "list[Window]", identity: "Callable[[Any], Any]") -> bool:
    """Whether these two dumps are of a list that did not change."""
    one, other = ([*chain(*[map(identity, window.entries) for window in dump])] for dump in (first, second))
    return (
        one == other
        and len(set(one)) == len(one)
        and set(_ends(first)).isdisjoint(_ends(second))
        and (first[-1].had_room() or second[-1].had_room())
    )


class _Merge:
    def __init__(self, identity: "Callable[[Any], Any]", first: "list[Window]", resizes: bool) -> None:
        self._identity = identity
        self._resizes = resizes
        self._newest: dict[Any, Any] = {}  # all entries that were read, by identity
        self._connected: dict[Any, None] = {}  # identities in connected windows, in the order of the list
        self._places: dict[Any, int] = {}  # where each was in the first dump
        self.complete = False  # the connected windows reach the end of the list
        self.resized = False
        self.read(iter(first))
        for window in first:
            for entry in window.entries:
                self._places.setdefault(identity(entry), len(self._places))

    def read(self, *dumps: "Iterator[Window]") -> None:
        """Reads these dumps in turn. Their windows come in the order in which they were filled: the kernel fills the
        first when a dump is begun, and each other one when that before it is received."""
        running: list[tuple[Iterator[Window], Window | None, bool]] = [(dump, None, True) for dump in dumps]
        ahead = len(dumps) > 1  # the first dump has one window before its turns
        while running:
            dump, last, connected = running.pop(0)
            window = next(dump, None)
            if window is not None:
                running.insert(0 if ahead else len(running), (dump, window, self._add(window, last is None)))
                ahead = False
            elif connected and (last is None or self._is_end(last)):
                self.complete = True

    def _add(self, window: Window, is_first: bool) -> bool:
        identities = [self._identity(entry) for entry in window.entries]
        self._newest.update(zip(identities, window.entries))
        places = [self._places[identity] for identity in identities if identity in self._places]
        if self._resizes and len(places) >= NEAR:
            near = sum(0 < after - before <= NEAR for before, after in zip(places, places[1:]))
            self.resized |= near < len(places) // 3
        connected = is_first or not self._connected.keys().isdisjoint(identities)
        if connected:
            self._connected.update(dict.fromkeys(identities))
        return connected

    def _is_end(self, window: Window) -> bool:
        """Whether the list ended here for sure; and if it may have been resized, the window is long enough to tell."""
        long_enough = not self._resizes or len(window.entries) >= NEAR
        return window.had_room() and not window.is_doubtful() and long_enough

    def connected(self) -> "list[Any]":
        return [self._newest[identity] for identity in self._connected]

    def all(self) -> "list[Any]":
        return list(self._newest.values())


def _ends(dump: "Iterable[Window]") -> "Iterator[int]":
    """The positions in the list where one window ends and another begins."""
    position = 0
    for window in dump:
        if position:
            yield position
        position += len(window.entries)
