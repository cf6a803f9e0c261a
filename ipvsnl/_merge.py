"""Merge dumps of a list that changes.

The problem. The kernel fills one datagram of a dump at a time (netlink_dump() in net/netlink/af_netlink.c). Between two
datagrams the list may change. IPVS continues at the same position (cb->args[0] in ip_vs_genl_dump_services() and
ip_vs_genl_dump_dests()). If an entry before that position was deleted, the entry that moved to its place is skipped. A
`Window` is what one datagram shows: entries that followed each other in the list. Nothing is skipped inside a window,
only between two windows of one dump.

The promise. An entry stays if it exists during the whole call. The result has every staying entry, once.

Ranks. Staying entries never change places with each other. IPVS adds at the head: of the list of a service's real
servers (__ip_vs_update_dest()), or of a bucket of the table of services (ip_vs_svc_hash()). It moves nothing, except
when it resizes the table (see below). The rank of an entry, at one moment, is the number of staying entries before it.
The rank of an entry is constant while the entry exists. If the entry is deleted and added again, it comes back at the
head of its list or bucket, and its rank is the same or lower. So ranks never grow.

The rule. A window is connected

    if it is the first of its dump, or if its first entry is in a connected window that was filled before it.

The proof. Claim: the staying entries in all connected windows are the first n staying entries, for some n. Before there
is a connected window this holds with n = 0. Let it hold for the connected windows that were filled so far, and let W be
the next one. The staying entries in W follow each other without a gap. So it is enough that at most n staying entries
were before W when W was filled.

If W is the first of its dump, none was, because W begins at the head of the list. Otherwise the first entry e of W is
in an older connected window V. When V was filled, two kinds of staying entries were before e. Those before V are among
the first n, because V was connected. Those in V before e are among the first n by the claim. So the rank of e was at
most n, and it has not grown since. Hence the claim holds with W.

If a connected window reaches the end of the list, no staying entry is behind it. Then n is the number of all staying
entries, and the merge is complete. It does not matter which other entries came and went.

The end. A window reaches the end of the list if its datagram could have held one more entry (`had_room()`). SO_MEMINFO
tells how much a datagram can hold (transport.py). A guess does not do, because netlink_dump() falls back to a page if
memory is short. A first window that reaches the end is the whole list at one moment.

Making windows connect. `_Merge.read()` reads two dumps in turn. One is about half a window ahead of the other. So each
window begins in the middle of an older window of the other dump.

Lists that do not change. A single second dump proves the first one under three conditions. Both list the same entries
in the same order. No two windows of them end at the same position. One of them reaches the end of the list. To see
this, let a staying entry x be missing from both. Each dump skipped x where one of its windows ends. These are two
positions of the same sequence, so some entries are listed before x in one dump and behind x in the other. All of these
were deleted and added again between the dumps, with all entries before them in the list or bucket, in the same order.

Equal positions. If memory is so short that every datagram is a page, all dumps end their windows at the same positions.
Then an entry behind such a position may be skipped each time. It is enough that another process deletes one entry in
the middle of each dump, and adds it again before the next one. Equal dumps prove nothing in this case, no windows
connect, and DumpInterruptedError names memory as the cause.

Real servers in Linux 7. They are walked while they change. If a walk stands on an entry that is deleted and added
again, which is then the same object (ip_vs_trash_get_dest()), the walk continues from the head. Such a window is a part
of the list, from the first entry of the window, and then the head of the list again. The rule holds for both parts.
`once()` removes the repeats.

Services in Linux 7. The table grows and shrinks (svc_resize_work_handler(), which waits while a datagram is filled). A
resize gives all services a new, random order, and an order never returns. Windows from before and after a resize must
not be merged. So a window is used only if it shows the known order: most of its entries follow each other as they did
in earlier dumps. A window with too few entries to tell is not used, and its positions are not noted. A window that
shows another order ends what was known: all connected windows are forgotten after that round. Positions noted before a
resize do no harm, because no later window can match them. Hence all connected windows are in one order, and the proof
holds.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count

from ._dataclass import dataclass
from ._typing import typing
from .errors import DumpInterruptedError
from .transport import MESSAGE, SMALL_OFFER

# How many rounds of two dumps to try before the list is given up.
ROUNDS = 80

# An entry follows another if it was at most so far behind it: other entries come and go.
NEAR = 8
# In a short list that is so often true by chance that one entry in so many counts as near.
SPARSE = 32

# So many entries tell whether a window shows the known order. In a random order it seems so once in 10,000 times.
ENOUGH = 10


@dataclass
class Window:
    """The entries of one datagram, its size in bytes, and how many bytes it could hold, at least; 0 if unknown."""

    entries: "list[typing.Any]"
    size: int
    room: int

    def had_room(self) -> bool:
        """Tell whether one more entry would have fitted: then the list ended here."""
        return self.size + MESSAGE <= self.room


def settle(
    first: Sequence[Window],
    second: Sequence[Window],
    pair: Callable[[int, bool], Sequence[Iterator[Window]]],
    identity: "Callable[[typing.Any], typing.Any]",
    *,
    resizes: bool,
) -> "list[typing.Any]":
    """Return the entries of a list that does not fit one datagram, each once, in the kernel's order.

    `first` and `second` are two dumps of it whose windows end at different positions, the second over a new socket.
    `pair(round, large)` begins two more such dumps, the first over a new socket, whose first datagram is a page. The
    others are large, or small if memory is short. If the list did not change, the values are those of the first dump,
    otherwise the newest. If the list changes too much, or memory is too short, DumpInterruptedError has what was read.
    """
    if _agree(first, second, identity):
        return [entry for window in first for entry in window.entries]
    merge = _Merge(identity, resizes)
    merge.read(_Run(iter(first), used=True))
    merge.read(_Run(iter(second), used=False))
    for number in range(ROUNDS):
        if merge.complete:
            break
        large = not merge.short or number % 3 == 2  # perhaps only some allocations fail
        dumps = pair(number, large)
        # A page and a large window are half a window ahead of a large one; a page alone is half of a small one.
        merge.read(*[_Run(dump, used) for dump, used in zip(dumps, (False, True))], ahead=large)
    if not merge.complete:
        raise DumpInterruptedError(merge.all(), merge.cause())
    return merge.connected()


def once(entries: "list[typing.Any]", identity: "Callable[[typing.Any], typing.Any]") -> "list[typing.Any]":
    """Return the entries without repeats: of each the last, at the place of the first."""
    return [*{identity(entry): entry for entry in entries}.values()]


def _agree(first: Sequence[Window], second: Sequence[Window], identity: "Callable[[typing.Any], typing.Any]") -> bool:
    """Tell whether these two dumps prove each other."""
    one, other = ([*chain(*[map(identity, window.entries) for window in dump])] for dump in (first, second))
    return one == other and len(set(one)) == len(one) and _ends(first).isdisjoint(_ends(second))


def _ends(dump: Sequence[Window]) -> set[int]:
    """Return the positions at which a window ended, perhaps, because its datagram was full."""
    ends, position = set(), 0
    for window in dump:
        position += len(window.entries)
        if not window.had_room():
            ends.add(position)
    return ends


class _Run:
    """A dump that is being read. `used` tells whether its socket has offered something before."""

    def __init__(self, windows: Iterator[Window], used: bool) -> None:
        self.rest = windows
        self.used = used
        self.begun = False
        self.ordered: list[typing.Any] = []  # the identities in all windows that are long enough to tell the order


class _Merge:
    """What the dumps so far say together."""

    def __init__(self, identity: "Callable[[typing.Any], typing.Any]", resizes: bool) -> None:
        self._identity = identity
        self._resizes = resizes
        self._reordered = False  # a window of this round showed another order
        self._newest: dict[typing.Any, typing.Any] = {}  # all entries that were read, by identity
        self._connected: dict[typing.Any, None] = {}  # identities in connected windows, in the order of the list
        self._places: dict[typing.Any, int] = {}  # where each was seen last: near each other if so in one dump
        self._next_place = 0
        self._offers = self._pages = 0  # datagrams of this round that could be large, and those of them that were pages
        self.complete = False  # the connected windows reach the end of the list

    def read(self, *every: _Run, ahead: bool = False) -> None:
        """Read these dumps in turn, to their ends; with `ahead` those over new sockets one window ahead.

        The windows come in the order in which they were filled. The kernel fills the first window when a dump begins,
        and each other one when the one before it is received.
        """
        self._offers = self._pages = 0
        runs = [run for run in every if not ahead or run.used or self._step(run)]
        while runs:
            runs = [run for run in runs if self._step(run)]
        for run in every if self._resizes else ():
            self._places.update(zip(run.ordered, count(self._next_place)))
            self._next_place += len(run.ordered) + NEAR
        if self._reordered and not self.complete:
            self._connected.clear()
        self._reordered = False

    def _step(self, run: _Run) -> bool:
        """Read one window. Return False if there is no more."""
        window = next(run.rest, None)
        if window is not None and not self.complete:
            self._add(window, run)
        elif not run.begun and not self.complete:  # the list is empty
            self._connected.clear()
            self.complete = True
        return window is not None

    def _add(self, window: Window, run: _Run) -> None:
        identities = [self._identity(entry) for entry in window.entries]
        self._newest.update(zip(identities, window.entries))
        if not run.begun and window.had_room():  # the whole list, at one moment
            self._connected.clear()
        elif not (self._is_in_order(identities, run) and (not run.begun or identities[0] in self._connected)):
            identities = []
        if run.begun or run.used:
            self._offers += 1
            self._pages += window.room < SMALL_OFFER
        self._connected.update(dict.fromkeys(identities))
        self.complete = bool(identities) and window.had_room()
        run.begun = True

    def _is_in_order(self, identities: "list[typing.Any]", run: _Run) -> bool:
        """Tell whether a window shows the known order for sure, and note what it shows."""
        if not self._resizes:
            return True
        if len(identities) < ENOUGH:
            return False
        run.ordered += identities
        reach = min(NEAR, 1 + len(self._places) // SPARSE)
        places = [self._places[identity] for identity in identities if identity in self._places]
        near = sum(0 < after - before <= reach for before, after in zip(places, places[1:]))
        in_order = near * 2 >= len(identities)
        self._reordered |= not in_order
        return in_order

    def connected(self) -> "list[typing.Any]":
        return [self._newest[identity] for identity in self._connected]

    def all(self) -> "list[typing.Any]":
        return list(self._newest.values())

    @property
    def short(self) -> bool:
        """Tell whether memory is short: the kernel allocated a page for most datagrams for which more was offered."""
        return self._pages * 2 > self._offers

    def cause(self) -> str:
        """Say why the merge is not complete."""
        if self.short:
            return "the kernel's memory is too short or too fragmented for datagrams of more than a page"
        return "the list changed too fast to be read as a whole"
