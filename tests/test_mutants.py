"""Catch changes to one line of the library that no other test saw.

The subject of each test is in its name and first line, so that it can move to the file of that subject.
"""

from collections.abc import Callable, Iterator
from typing import Any

import changing
import netlink
import pytest
from changing import sockets_of

from ipvsnl import Client, DumpInterruptedError
from ipvsnl._merge import Window, settle
from ipvsnl.transport import BUFFER_SIZE, SMALL_OFFER

# _merge


def full(entries: "list[int]") -> Window:
    """Return a window of a datagram that was full."""
    return Window(entries, 3300, 3328)


def short(entries: "list[int]") -> Window:
    """Return a window of a datagram that could have held more."""
    return Window(entries, 1000, 32000)


def test_a_window_too_short_to_tell_the_order_notes_no_positions() -> None:
    """_merge: notes of a round without a proof of its order must not join two orders."""
    before = list(range(40))
    after = [number * 17 % 40 for number in before]  # the table was resized
    gone = [100, 101, 102, 103, 104]

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds = [
            [full(after[start : start + 8]) for start in range(0, 40, 8)],
            [full(gone + after[:12]), short(after[17:])],  # the first five were deleted: five others are skipped
            [short(after)],
        ]
        return [iter(rounds[number]), iter(rounds[number])]

    first = [full(before[:20]), full(before[20:])]
    second = [full(before[:12])]
    assert settle(first, second, pair, lambda entry: entry, resizes=True) == after


# _dump and client: the offers of new sockets


class Noting(netlink.DumpingKernel):
    """A kernel that notes what its new sockets offer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offers: list[tuple[int, ...]] = []

    def another(self, *offers: int) -> "netlink.DumpingKernel":  # type: ignore[override]
        self.offers.append(offers)
        return netlink.DumpingKernel(self.entries)


def test_the_socket_of_real_servers_offers_a_block_of_8_kib() -> None:
    """client: the socket of real servers is opened once, with the small offer."""
    service = netlink.service()
    kernel = Noting([(service, [netlink.destination()])])
    with Client(transport=kernel) as client:
        for _ in range(3):
            assert [len(pool) for _, pool in client.dump()] == [1]
    ((offer,),) = kernel.offers
    assert offer + 320 == 8192  # with struct skb_shared_info


class Measured(changing.Kernel):
    """Notes how many entries each datagram of each dump has."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.windows: list[list[int]] = []

    def walk(self, start: int, most: int) -> "list[int]":
        entries = super().walk(start, most)
        if start == 0:
            self.windows.append([])
        self.windows[-1].append(len(entries))
        return entries


@pytest.mark.parametrize("buckets", [1, 2], ids=["real servers", "services"])
@pytest.mark.parametrize("offer", [BUFFER_SIZE, SMALL_OFFER])
def test_the_second_dump_has_datagrams_of_another_size(buckets: int, offer: int) -> None:
    """_dump: the second socket offers neither 32 KiB nor 8 KiB, so windows end at different positions."""
    kernel = Measured(1, 400, 0, buckets)
    with sockets_of(kernel):
        made = changing.reader(kernel, offer)
        kernel.windows.clear()
        assert kernel.read(made) == kernel.entries()
    first, second = kernel.windows
    size = len(changing.SERVICE if buckets > 1 else changing.DESTINATION)
    assert second[1] == 20000 // size  # after a page and before the largest offer
    assert second[1] not in first


# genl and _fastpath: NLM_F_DUMP_INTR among messages of a known layout

INTR = netlink.NLM_F_MULTI | netlink.NLM_F_DUMP_INTR
DUMPS: "dict[str, tuple[int, netlink.Tree, Callable[[Client], list[Any]]]]" = {
    "services": (netlink.NEW_SERVICE, netlink.service(), Client.services),
    "real servers": (
        netlink.NEW_DEST,
        netlink.destination(),
        lambda client: client.dests((0, 2, 6, b"\x0a\0\0\1", 80)),
    ),
}


@pytest.mark.parametrize("marked", [{0}, {2}, {4}, {5}, {2, 3, 4, 5}], ids=["first", "later", "last", "end", "rest"])
@pytest.mark.parametrize("first", [5, 2], ids=["one datagram", "two datagrams"])
@pytest.mark.parametrize("what", DUMPS)
def test_an_interrupted_dump_is_an_error_on_the_fast_path(what: str, first: int, marked: "set[int]") -> None:
    """client: NLM_F_DUMP_INTR counts in each message of a dump whose layout is known, and in NLMSG_DONE."""
    reply, tree, read = DUMPS[what]
    interrupted: set[int] = set()

    def answer(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        flags = [INTR if place in interrupted else netlink.NLM_F_MULTI for place in range(6)]
        *parts, end = [
            *(netlink.message(netlink.IPVS, netlink.pack(tree), command=reply, flags=each) for each in flags[:5]),
            netlink.message(netlink.NLMSG_DONE, netlink.s32(0), flags=flags[5]),
        ]
        datagrams = [b"".join(parts[:first]), b"".join(parts[first:]), end]
        return [netlink.readdress(each, seq=request.seq) for each in datagrams if each]

    client = Client(transport=netlink.IPVSKernel(special=answer))
    whole = read(client)  # the layout is known from now on
    interrupted |= marked
    with pytest.raises(DumpInterruptedError, match="the kernel says that entries changed"):
        read(client)
    interrupted.clear()
    assert read(client) == whole
