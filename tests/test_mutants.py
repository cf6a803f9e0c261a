"""Catch changes to one line of the library that no other test saw.

The subject of each test is in its name and first line, so that it can move to the file of that subject.
"""

from collections.abc import Callable, Iterator
from typing import Any

import changing
import netlink
import pytest
from changing import sockets_of

from ipvsnl import Client, DecodeError, DumpInterruptedError, NetlinkError, genl
from ipvsnl._decode import decode_key
from ipvsnl._merge import Window, settle
from ipvsnl.attrs import split
from ipvsnl.transport import BUFFER_SIZE, SMALL_OFFER

# _merge


def full(entries: "list[int]") -> Window:
    """Return a window of a datagram that was full."""
    return Window(entries, 3300, 3328)


def short(entries: "list[int]") -> Window:
    """Return a window of a datagram that could have held more."""
    return Window(entries, 1000, 32000)


@pytest.mark.parametrize("length", [8, 20])
def test_windows_in_two_orders_are_not_merged(length: int) -> None:
    """_merge: short windows note no positions, and long ones in another order end what was known."""
    before = list(range(40))
    after = [number * 17 % 40 for number in before]  # the table was resized
    gone = [100, 101, 102, 103, 104]

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds = [
            [full(after[start : start + length]) for start in range(0, 40, length)],
            [full(gone + after[:12]), short(after[17:])],  # the first five were deleted: five others are skipped
            [short(after)],
        ]
        return [iter(rounds[number]), iter(rounds[number])]

    first = [full(before[:20]), full(before[20:])]
    second = [full(before[:12])]
    assert settle(first, second, pair, lambda entry: entry, resizes=True) == after


def never(number: int, large: bool) -> Any:
    raise AssertionError("two dumps were enough")


def test_windows_of_the_first_two_dumps_are_merged() -> None:
    """_merge: what the first dump showed counts when the second one is read."""
    first = [full([0, 1, 2, 3, 4, 5]), full([6, 7, 8, 9])]
    second = [full([0, 1, 2]), short([4, 5, 6, 7, 8, 9, 10])]  # 3 was skipped in the second, 10 in the first
    assert settle(first, second, never, lambda entry: entry, resizes=False) == list(range(11))


def test_a_window_that_begins_behind_all_others_is_not_merged() -> None:
    """_merge: a window whose first entry is new proves nothing, even if it reaches the end of the list."""
    first = [full([0, 1, 2, 3]), short([5, 6])]  # 4 was skipped
    second = [full([0, 1]), short([6])]
    rounds: list[int] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds.append(number)
        return [iter([full([0, 1, 2]), short([3, 4, 5, 6])]), iter([full([0, 1, 2, 3]), short([4, 5, 6])])]

    assert settle(first, second, pair, lambda entry: entry, resizes=False) == list(range(7))
    assert rounds == [0]


def test_what_is_connected_in_the_known_order_counts_in_the_next_round() -> None:
    """_merge: only a window in another order makes a round forget what is connected."""
    entries = list(range(40))
    rounds: list[int] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds.append(number)
        return [iter([full(entries[:10]), short(entries[15:])]), iter([full(entries[:10])])]

    first, second = [full(entries[:20]), full(entries[20:])], [full(entries[:20])]
    assert settle(first, second, pair, lambda entry: entry, resizes=True) == entries
    assert rounds == [0]


@pytest.mark.parametrize("rooms, large", [([3328], True), ([3328, 32000], True), ([3328, 3328, 3328], False)])
def test_the_page_of_a_new_socket_does_not_mean_that_memory_is_short(rooms: "list[int]", large: bool) -> None:
    """_merge: memory is short if later datagrams are pages, because the first of a new socket always is one."""
    asked: list[bool] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        asked.append(large)
        return [iter([short([0, 1, 2])])]

    second = [Window([number], room, room) for number, room in enumerate(rooms)]
    assert settle([full([7])], second, pair, lambda entry: entry, resizes=False) == [0, 1, 2]
    assert asked == [large]


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


# genl: failures without a number


@pytest.mark.parametrize("fails", ["send", "recv_into"])
def test_a_failure_without_an_errno_has_none_in_the_error(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """genl: an OSError of a transport need not have an errno, and is no refusal then."""
    kernel = netlink.IPVSKernel()
    client = Client(transport=kernel)

    def fail(*arguments: Any) -> Any:
        raise OSError("a transport of another kind")

    monkeypatch.setattr(kernel, fails, fail)
    with pytest.raises(NetlinkError) as caught:
        client.info()
    assert (type(caught.value), caught.value.errno) == (NetlinkError, 0)


@pytest.mark.parametrize("error", [OSError("a transport of another kind"), OSError(24, "no descriptor is left")])
def test_a_second_socket_that_cannot_be_opened_is_an_error(error: OSError) -> None:
    """_dump: an OSError of another() keeps its errno, and need not have one."""

    class Failing(netlink.IPVSKernel):
        room = 0

        def another(self, *offers: int) -> Any:
            raise error

    client = Client(transport=Failing([(netlink.service(), [])]))
    with pytest.raises(NetlinkError, match="opening one more socket") as caught:
        client.services()
    assert (type(caught.value), caught.value.errno) == (NetlinkError, error.errno or 0)


# _decode


@pytest.mark.parametrize("family, mark", [(2, 1), (10, 0xFFFFFFFF)])
def test_the_key_of_a_mark_has_zeros_for_all_else(family: int, mark: int) -> None:
    """_decode: the key from a message is the key that sorts and compares."""
    message = netlink.pack(netlink.fwmark_service(mark, family))
    assert decode_key(message) == (mark, family, 0, b"", 0)


# genl and attrs: limits


def test_the_largest_errno_is_4095() -> None:
    """genl: MAX_ERRNO of include/linux/err.h is an error of the kernel, and one more is malformed."""
    end = genl.Message(netlink.NLMSG_ERROR, 0, 1, 1, netlink.s32(-4095))
    assert genl.result(end) == (4095, None)
    end.payload = netlink.s32(-4096)
    with pytest.raises(DecodeError, match="carries -4096, which is no negative errno"):
        genl.result(end)


@pytest.mark.parametrize("type, command", [(0x31, 3), (0x31, 5), (0x30, 4), (0x32, 4)])
def test_a_message_of_another_command_or_family_is_no_reply(type: int, command: int) -> None:
    """genl: command and family of a reply are exactly those that are expected."""
    message = genl.Message(type, 0, 1, 1, bytes([command, 1, 0, 0]))
    with pytest.raises(DecodeError, match="that is not the reply 4 of family 49"):
        genl.expect(message, 0x31, 4, "asking")


def test_an_attribute_that_is_too_long_says_how_many_bytes_are_left() -> None:
    """attrs: the bytes left are counted from the attribute, not from the first one."""
    first, second = netlink.attribute(1, b"1234"), netlink.attribute(2, b"12345678")
    with pytest.raises(DecodeError, match="an attribute of type 2 says 12 bytes, 8 are left"):
        split(first + second[:8], "TEST")
