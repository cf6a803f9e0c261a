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

    if it is the first of its dump, or if its first entry is in a connected window that was filled before it.

Then the staying entries in all connected windows are always the first so many of them, without a gap: a first window
begins at the head; and where a window begins with an entry of an older one, that entry's rank there is not beyond what
is covered, its rank now is not larger, so the newer window begins within what is covered. Once a connected window
reaches the end of the list nothing that stays is missing, whatever else was added and deleted meanwhile, and how often.

(In Linux 7 the real servers are walked while others change them, and a deleted one that is added again is the same
object (ip_vs_trash_get_dest()): a walk that just stands on it goes on from the head. Such a window is a part of the
list, from its first entry on, and then the list's head once more; the rule holds for both. `once()` is for lists that
are in one datagram.)

`_Merge.read()` makes windows connect: it reads two dumps in turn, one half a datagram ahead of the other, so that where
a window ends, the next to be filled has its middle.

While nothing changes a single second dump is enough, if its windows end elsewhere and it lists the same in the same
order. Were an entry missing from both, then in two places of that one list; all that is listed between these places
would have jumped over it from one dump to the next, and so all before them in the list or bucket were deleted and added
again meanwhile, such that all were in the same order again.

In Linux 7 the table of services grows and shrinks (svc_resize_work_handler(), which waits while a datagram is filled),
and all services come into a new, random order; what was read before and after says nothing of each other. So services
are merged only from windows that are in the old order: most of their entries follow each other as they did when they
were last seen, in the dumps read before. In a new order hardly any do. One window that is not, and all that was merged
is forgotten; the order it shows is the old one for what is read next. Hence all merged windows are from between two
resizes. The first dump shows nothing but the order.
"""

from itertools import chain, count

from ._dataclass import dataclass
from .errors import DumpInterruptedError
from .transport import MESSAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, Callable

# How often two more dumps are tried before the list is given up.
ROUNDS = 40

# What the other socket offers first, bytes: its windows then end far from where those of one that was in use before do,
# and from those of one that began with SMALL_OFFER. So one of two last windows is long enough to be judged.
ELSEWHERE = 20000

# Sizes of windows that may be full although there should have been room: where memory is short the kernel falls back to
# a page, at most 8 KiB (netlink_dump()), and before Linux 4.9 no datagram had more than 16 KiB (netlink_recvmsg()).
PAGES = (range(4096 - 768 - MESSAGE, 4097), range(8192 - 768 - MESSAGE, 8193))
DOUBTFUL = (*PAGES, range(16384 - 768 - MESSAGE, 16385))

# An entry follows another if it is at most so far behind it: others come and go.
NEAR = 8

# So many entries tell whether a window is in the old order: by chance it looks so once in thousands of times.
ENOUGH = 16


@dataclass
class Window:
    """The entries in one datagram, its size in bytes, and how many it had room for."""

    entries: "list[Any]"
    size: int
    room: int

    def had_room(self) -> bool:
        """Whether there was room for one more: then it was the list that ended here, and not the datagram."""
        return self.size + MESSAGE <= self.room

    def is_one_of(self, sizes: "tuple[range, ...]") -> bool:
        """Whether it has a size at which the room may have been less than it should: of PAGES, or DOUBTFUL."""
        return any(self.size in each for each in sizes)


def is_whole(dump: "list[Window]") -> bool:
    """Whether the first window of a dump is all of the list, at one moment. There may be a second one nevertheless:
    what was added meanwhile has moved the last entries behind the position.

    Where no second one came it is not doubted that there was room: else each list of such a size would be read twice.
    """
    return dump[0].had_room() and (len(dump) == 1 or not dump[0].is_one_of(DOUBTFUL))


def settle(
    first: "list[Window]",
    again: "Callable[[], Iterator[Window]]",
    elsewhere: "Callable[[], Iterator[Window] | None]",
    identity: "Callable[[Any], Any]",
    *,
    looks: "Callable[[Any], Any]",
    resizes: bool,
) -> "list[Any]":
    """The entries of a list that did not fit one datagram, each once, in the kernel's order; with the values of the
    first dump if the list did not change meanwhile, else with the newest.

    `first` is a dump of it, `again()` begins another like it, `elsewhere()` one whose windows end elsewhere, or is None
    if there is none to be had. What `looks` alike has the same identity, and is found out faster. DumpInterruptedError
    where the list changes too much.
    """
    ahead = elsewhere()
    if ahead is None:
        return once([entry for window in first for entry in window.entries], identity)
    second = list(ahead)
    if _agree(first, second, looks):
        return [entry for window in first for entry in window.entries]
    merge = _Merge(identity, first, resizes)
    merge.read(iter(second))
    rounds = 0
    while not merge.complete:
        if rounds == ROUNDS:
            raise DumpInterruptedError(merge.all())
        rounds += 1
        ahead = elsewhere()
        merge.read(*([ahead] if ahead else []), again())
    return merge.connected()


def once(entries: "list[Any]", identity: "Callable[[Any], Any]") -> "list[Any]":
    """The entries without repeats: of each the last, at the place of the first."""
    return [*{identity(entry): entry for entry in entries}.values()]


def _agree(first: "list[Window]", second: "list[Window]", looks: "Callable[[Any], Any]") -> bool:
    """Whether these two dumps are of a list that did not change."""
    one, other = ([*chain(*[map(looks, window.entries) for window in dump])] for dump in (first, second))
    return (
        one == other
        and len(set(one)) == len(one)
        and set(_ends(first)).isdisjoint(_ends(second))
        and (first[-1].had_room() or second[-1].had_room())
    )


class _Run:
    """One dump that is being read: its windows so far, whether the last of them is connected, and whether all of them
    are in the old order."""

    def __init__(self, windows: "Iterator[Window]") -> None:
        self.rest = windows
        self.dump: list[Window] = []
        self.connected = self.in_order = True


class _Merge:
    """What dumps say together."""

    def __init__(self, identity: "Callable[[Any], Any]", first: "list[Window]", resizes: bool) -> None:
        self._identity = identity
        self._resizes = self._reordered = resizes
        self._newest: dict[Any, Any] = {}  # all entries that were read, by identity
        self._connected: dict[Any, None] = {}  # identities in connected windows, in the order of the list
        self._places: dict[Any, int] = {}  # where each was seen last: near each other, if they were so in one dump
        self._next_place = 0
        self._largest = 0  # window, bytes
        self.complete = False  # the connected windows reach the end of the list
        self.read(iter(first))

    def read(self, *dumps: "Iterator[Window]") -> None:
        """Reads these dumps in turn. Their windows come in the order in which they were filled: the kernel fills the
        first when a dump is begun, and each other one when that before it is received."""
        runs = every = [_Run(dump) for dump in dumps]
        if len(runs) > 1:
            self._step(runs[0])  # which then is half a datagram ahead
        while runs:
            runs = [run for run in runs if self._step(run)]
        if self._resizes:
            self._note_places(every)
        if self._reordered and not self.complete:
            self._reordered = False
            self._connected.clear()

    def _note_places(self, runs: "list[_Run]") -> None:
        for run in runs:
            entries = [entry for window in run.dump for entry in window.entries]
            self._places.update(zip(map(self._identity, entries), count(self._next_place)))
            self._next_place += len(entries) + NEAR

    def _step(self, run: _Run) -> bool:
        """Reads one window. False where there is no more."""
        window = next(run.rest, None)
        if window is not None:
            self._add(window, run)
        elif not run.dump:  # nothing is there
            self.complete = True
        elif is_whole(run.dump):
            self._connected = dict.fromkeys(map(self._identity, run.dump[0].entries))
            self.complete = True
        elif run.connected and run.in_order and self._is_end(run.dump[-1]):
            self.complete = True
        return window is not None

    def _add(self, window: Window, run: _Run) -> None:
        identities = [self._identity(entry) for entry in window.entries]
        self._newest.update(zip(identities, window.entries))
        self._largest = max(self._largest, window.size)
        # Too few entries do not tell their order. The next window will, and without one they neither join nor end it.
        tells = len(identities) >= ENOUGH
        in_order = not (self._resizes and tells) or self._is_in_order(identities)
        joins = identities[0] in self._connected and (tells or not self._resizes)
        run.connected = in_order and (not run.dump or joins)
        if run.connected:
            self._connected.update(dict.fromkeys(identities))
        run.in_order &= in_order
        run.dump.append(window)

    def _is_in_order(self, identities: "list[Any]") -> bool:
        places = [self._places[identity] for identity in identities if identity in self._places]
        near = sum(0 < after - before <= NEAR for before, after in zip(places, places[1:]))
        in_order = near * 2 >= len(identities)
        self._reordered |= not in_order
        return in_order

    def _is_end(self, window: Window) -> bool:
        """Whether the list ended here for sure: there was room for more, as larger windows show."""
        return window.size + MESSAGE <= min(window.room, self._largest) and not window.is_one_of(PAGES)

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
