"""Lists that change while they are dumped, in a model of the kernel (changing.py).

What stays is found, once, or an error is raised.
"""

import random
from collections.abc import Iterator
from itertools import product
from typing import Any

import changing
import pytest
from changing import Kernel, chance, no_order_3, pages, read_often, reader, sockets_of

from ipvsnl import DumpInterruptedError
from ipvsnl._merge import Window, once, settle
from ipvsnl.transport import BUFFER_SIZE, SMALL_OFFER

OFFERS = [BUFFER_SIZE, SMALL_OFFER]


def check(kernel: Kernel, calls: int, errors: int = 0, offer: int = BUFFER_SIZE) -> None:
    counted = read_often(kernel, calls, offer)
    assert (counted["losses"], counted["repeats"], counted["reordered"]) == (0, 0, 0), counted
    assert counted["errors for changes"] + counted["errors for want of memory"] <= errors, counted


@pytest.mark.parametrize("pace", [0.1, 1, 10])
@pytest.mark.parametrize("buckets", [1, 4, 256, 4096], ids=lambda buckets: f"{buckets} buckets")
def test_what_stays_is_found_whatever_comes_and_goes(buckets: int, pace: float) -> None:
    check(Kernel(1, 600, 200, buckets, pace), 10, errors=1)


@pytest.mark.parametrize("staying, churned", [(90, 5), (85, 100), (170, 20), (1, 300), (2500, 100)])
def test_lists_of_other_lengths(staying: int, churned: int) -> None:
    for buckets in (1, 256):
        check(Kernel(1, staying, churned, buckets, 1), 5, errors=1)


@pytest.mark.parametrize("memory", [0.05, 0.9])
@pytest.mark.parametrize("buckets", [1, 256], ids=["real servers", "services"])
def test_nothing_is_lost_if_allocations_fail(buckets: int, memory: float) -> None:
    for seed, staying in enumerate([12, 30, 100, 300]):
        kernel = Kernel(seed, staying, 1 + staying // 4, buckets, 1, steady=True, memory=chance(seed, memory))
        check(kernel, 10, errors=0 if memory < 0.5 else 10)


@pytest.mark.parametrize("memory", [0.05, 0.9])
@pytest.mark.parametrize("staying", [20, 150, 300])
def test_nothing_is_lost_if_a_table_is_resized_while_memory_is_short(staying: int, memory: float) -> None:
    for seed in range(4):
        kernel = Kernel(seed, staying, staying // 4, 512, 1, steady=True, resize=0.02, memory=chance(seed, memory))
        check(kernel, 8, errors=8)


class Once(Kernel):
    """A list in which one entry is deleted and one is added, each when so many datagrams were filled, and no more."""

    deletion = addition = -1
    fails = -1  # the datagram whose allocation fails

    def change(self) -> None:
        if self.filled == self.deletion and self.entries():
            entry = self.entries()[0]
            self.delete(entry)
            self.staying.remove(entry)
        if self.filled == self.addition:
            self.bucket_of[20_000] = 0
            self.add(20_000)

    def allocate(self, offered: int) -> "tuple[int, int]":
        self.memory = lambda block: self.filled - 1 != self.fails
        return super().allocate(offered)


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("services", [False, True], ids=["real servers", "services"])
def test_no_length_is_blind(services: bool, offer: int) -> None:
    """Each list is read soon, although one entry is deleted during the first dump."""
    lengths = [*range(120), *random.Random(offer).sample(range(120, 4000), 40), 180, 181, 182, 271, 272, 362, 453]
    for length in lengths:
        kernel = Once(length, length, 0, 2 if services else 1)
        with sockets_of(kernel):
            made = reader(kernel, offer)
            kernel.deletion = 1
            assert set(kernel.read(made)) >= set(kernel.staying), length
        assert kernel.dumps <= 6, length


@pytest.mark.parametrize("cap", [changing.LARGEST, changing.LARGEST_BEFORE_4_9], ids=["Linux 4.9", "before Linux 4.9"])
@pytest.mark.parametrize("services", [False, True], ids=["real servers", "services"])
def test_no_length_is_blind_if_the_room_is_unknown(services: bool, cap: int) -> None:
    """_dump: before Linux 4.12 a last window of more than 15,104 bytes may be one of many."""
    for length in range(80, 220):
        kernel = Once(length, length, 0, 2 if services else 1, cap=cap, tells=False)
        with sockets_of(kernel):
            made = reader(kernel)
            kernel.deletion = 1
            assert set(kernel.read(made)) >= set(kernel.staying), length
        assert kernel.dumps <= 10, length


@pytest.mark.parametrize("length", [150, 238, 331])
def test_rounds_differ_in_what_their_new_sockets_offer(length: int) -> None:
    """_dump: Linux 4.9 to 4.11 do not tell the room, so at these lengths the last windows of one round tell nothing."""
    kernel = Once(length, length, tells=False)
    with sockets_of(kernel):
        made = reader(kernel)
        kernel.deletion = 1
        assert set(kernel.read(made)) >= set(kernel.staying)
    assert kernel.dumps <= 8


@pytest.mark.parametrize("change", ["deletion", "addition"])
@pytest.mark.parametrize("length", [11, 12, 21, 23, 44, 92, 181])
def test_no_single_change_loses_an_entry_if_one_allocation_fails(length: int, change: str) -> None:
    for offer in OFFERS:
        for fails in range(5):
            for moment in range(5):
                kernel = Once(length, length)
                with sockets_of(kernel):
                    made = reader(kernel, offer)
                    kernel.fails = fails
                    setattr(kernel, change, moment)
                    found = kernel.read(made)
                assert set(found) >= set(kernel.staying), (offer, fails, moment)
                assert len(set(found)) == len(found)


@pytest.mark.parametrize("buckets", [1, 256], ids=["real servers", "services"])
def test_fragmented_memory_is_enough_for_any_length(buckets: int) -> None:
    for length in [1, 11, 12, 22, 23, 32, 66, 100, 181, 300, 1000]:
        kernel = Kernel(length, length, 0, buckets, memory=no_order_3)
        with sockets_of(kernel):
            assert kernel.read(reader(kernel)) == kernel.entries()
        assert kernel.dumps <= 6, length


def test_single_pages_are_an_error_that_names_memory() -> None:
    """All windows end at the same positions, so an entry behind one may be skipped each time."""
    kernel = Kernel(1, 100, memory=pages)
    with sockets_of(kernel), pytest.raises(DumpInterruptedError, match="memory is too short") as caught:
        kernel.read(reader(kernel))
    assert len(caught.value.entries) == 100


def test_single_pages_are_enough_for_a_list_of_a_page() -> None:
    kernel = Kernel(1, 7, memory=pages)
    with sockets_of(kernel):
        assert kernel.read(reader(kernel)) == kernel.entries()
    assert kernel.dumps == 1


class Growing(Kernel):
    """One entry is added for each datagram."""

    grows = False

    def change(self) -> None:
        if self.grows:
            number = 30_000 + len(self.bucket_of)
            self.bucket_of[number] = 0
            self.add(number)


@pytest.mark.parametrize("length", [12, 100])
def test_a_dump_ends_while_one_entry_is_added_for_each_datagram(length: int) -> None:
    kernel = Growing(1, length)
    with sockets_of(kernel):
        made = reader(kernel)
        kernel.grows = True
        assert set(kernel.read(made)) >= set(kernel.staying)
    assert kernel.filled < 500


@pytest.mark.parametrize("length", [0, 1, 44, 45, 46, 47, 90, 100, 500])
def test_an_old_kernel_with_smaller_datagrams_is_read(length: int) -> None:
    kernel = Kernel(1, length, cap=changing.LARGEST_BEFORE_4_9, tells=False)
    with sockets_of(kernel):
        assert kernel.read(reader(kernel)) == kernel.entries()


def test_nothing_is_lost_on_an_old_kernel() -> None:
    for seed, staying in enumerate([40, 45, 90, 135, 300]):
        kernel = Kernel(seed, staying, 10, 1, 1, steady=True, cap=changing.LARGEST_BEFORE_4_9, tells=False)
        check(kernel, 20, errors=1)


@pytest.mark.parametrize("offer", OFFERS)
def test_a_list_that_does_not_change_takes_two_dumps_at_most(offer: int) -> None:
    for length in [*range(200), *range(200, 1200, 7)]:
        kernel = Kernel(length, length)
        with sockets_of(kernel):
            assert kernel.read(reader(kernel, offer)) == kernel.entries()
        fits = 88 if offer == BUFFER_SIZE else 20
        assert kernel.dumps == (1 if length <= fits else 2), length


@pytest.mark.parametrize("seed", range(4))
def test_what_stays_is_found_although_the_table_is_resized(seed: int) -> None:
    check(Kernel(seed, 600, 200, 512, 1, resize=0.01), 15, errors=2)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("staying", [1000, 3000])
def test_nothing_is_lost_if_the_first_dump_is_in_two_orders(staying: int, seed: int) -> None:
    class ResizedOnce(Kernel):
        def change(self) -> None:
            if self.filled == 1:
                self.hash(self.entries(), 1024)

    kernel = ResizedOnce(seed, staying, 1, 512)
    with sockets_of(kernel):
        made = reader(kernel)
        assert sorted(kernel.read(made)) == sorted(kernel.entries())


@pytest.mark.parametrize("seed", range(10))
def test_a_resize_shows_although_most_entries_are_new(seed: int) -> None:
    class Replacing(Kernel):
        def change(self) -> None:
            super().change()
            if self.random.random() < 0.5 and len(self.table) > 1:
                gone = set(self.random.sample(self.churned, self.random.randrange(len(self.churned))))
                self.churned = [entry for entry in self.churned if entry not in gone]
                self.table = [[entry for entry in bucket if entry not in gone] for bucket in self.table]
                for entry in range(max(self.bucket_of) + 1, max(self.bucket_of) + 1 + len(gone)):
                    self.churned.append(entry)
                    self.bucket_of[entry] = self.random.randrange(len(self.table))
                    self.add(entry)

    check(Replacing(seed, 20, 100, 512, 0, resize=0.05), 20, errors=20)


@pytest.mark.parametrize("pace", [0.1, 1, 10])
@pytest.mark.parametrize("staying, churned", [(600, 200), (60, 60), (300, 10)])
def test_what_stays_is_found_although_walks_jump_to_the_head(staying: int, churned: int, pace: float) -> None:
    check(Kernel(1, staying, churned, 1, pace, jump=0.2), 12, errors=1)


# What one window says about another, without a kernel.

ROOM = 32000


def first_of(entry: "tuple[str, int]") -> str:
    return entry[0]


def never(number: int, large: bool) -> Any:
    raise AssertionError("two dumps were enough")


FIRST = [Window([("a", 1)], 31900, ROOM), Window([("b", 1), ("c", 1)], 704, ROOM)]


def test_if_a_list_did_not_change_the_first_values_count() -> None:
    second = [Window([("a", 2), ("b", 2)], 3776, 3328), Window([("c", 2)], 352, ROOM)]
    assert settle(FIRST, second, never, first_of, resizes=False) == [("a", 1), ("b", 1), ("c", 1)]


def test_if_a_list_changed_the_newest_values_count() -> None:
    second = [Window([("new", 2), ("a", 2)], 3776, 3328), Window([("b", 2), ("c", 2)], 704, ROOM)]
    third = [Window([("new", 3), ("a", 3), ("b", 3), ("c", 3)], 1408, ROOM)]
    found = settle(FIRST, second, lambda number, large: [iter(third)] * 2, first_of, resizes=False)
    assert found == [("new", 3), ("a", 3), ("b", 3), ("c", 3)]


def test_dumps_that_end_windows_at_one_position_do_not_prove_each_other() -> None:
    rounds: list[int] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds.append(number)
        return [iter([Window([("a", 3), ("x", 3), ("b", 3), ("c", 3)], 1408, ROOM)]), iter(())]

    found = settle(FIRST, FIRST, pair, first_of, resizes=False)
    assert rounds == [0] and ("x", 3) in found


def test_a_list_that_is_empty_at_last_is_empty() -> None:
    assert settle(FIRST, [], never, first_of, resizes=False) == []


def test_a_list_that_never_stands_still_is_an_error_with_what_was_read() -> None:
    numbers = iter(range(1_000_000))

    def dump() -> "list[Window]":
        return [Window([next(numbers) for _ in range(90)], 31900, ROOM) for _ in range(2)]

    with pytest.raises(DumpInterruptedError, match="changed too fast") as caught:
        settle(dump(), dump(), lambda number, large: [iter(dump()), iter(dump())], lambda entry: entry, resizes=False)
    assert caught.value.entries == list(range(next(numbers)))


def test_of_repeats_the_last_is_kept_at_the_place_of_the_first() -> None:
    assert once([("a", 1), ("b", 1), ("a", 2)], first_of) == [("a", 2), ("b", 1)]


def full(entries: "list[int]") -> Window:
    """Return a window of a datagram that was full."""
    return Window(entries, 3300, 3328)


def short(entries: "list[int]") -> Window:
    """Return a window of a datagram that could have held more."""
    return Window(entries, 1000, 32000)


@pytest.mark.parametrize("size, had_room", [(31488, True), (31489, False)])
def test_a_window_had_room_if_512_more_bytes_would_have_fitted(size: int, had_room: bool) -> None:
    """_merge: no message is larger (ip_vs_genl_fill_service(), ip_vs_genl_fill_dest())."""
    assert Window([1], size, 32000).had_room() == had_room


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


@pytest.mark.parametrize(
    "rooms, large",
    [
        *[([3328], True), ([3328, 32000], True), ([3328, 3328, 32000], True), ([3328, 3328, 3328], False)],
        ([3328, SMALL_OFFER, SMALL_OFFER], True),  # more than a page
    ],
)
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


def test_while_memory_is_short_one_round_in_three_asks_for_large_datagrams() -> None:
    """_merge: perhaps only some allocations fail, and large windows are then merged sooner."""
    asked: list[bool] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        asked.append(large)
        return [iter([full([0]), full([1])]), iter([full([0]), full([1])])]

    with pytest.raises(DumpInterruptedError, match="memory is too short"):
        settle([full([0]), full([1])], [full([0]), full([1])], pair, lambda entry: entry, resizes=False)
    rounds = range(len(asked) - 2)
    assert [sum(asked[number : number + 3]) for number in rounds] == [1] * len(rounds)


def is_merged(window: "list[int]", first: "list[int]", second: "list[int]") -> bool:
    """Tell whether a window is taken to show the order that these two dumps, with nothing in common, have shown."""
    rounds: list[int] = []

    def pair(number: int, large: bool) -> "list[Iterator[Window]]":
        rounds.append(number)
        end = short([window[-1], *first[:20]])  # it is connected if the window is
        return [iter([full(window), end] if number == 0 else [short([0])])]

    settle([full(first)], [full(second)], pair, lambda entry: entry, resizes=True)
    return rounds == [0]


@pytest.mark.parametrize("in_order, merged", [(15, False), (20, False), (21, True)])
def test_half_of_a_window_in_the_known_order_is_enough(in_order: int, merged: bool) -> None:
    """_merge: 20 of 40 entries follow another one; a window with less shows another order."""
    window = [*range(in_order), *range(150, 110 + in_order, -1)]
    assert len(window) == 40
    assert is_merged(window, list(range(200)), list(range(1000, 1024))) == merged


@pytest.mark.parametrize("length, merged", [(5, False), (20, True)])
def test_a_window_with_a_few_entries_does_not_tell_the_order(length: int, merged: bool) -> None:
    """_merge: five entries may follow each other by chance."""
    assert is_merged(list(range(length)), list(range(200)), [1000]) == merged


def test_an_entry_of_one_dump_is_not_near_one_of_another() -> None:
    """_merge: what two dumps showed does not tell which entry follows which."""
    first, second = list(range(248)), list(range(1000, 1024))
    for ahead, start in product((0, 5), range(244)):
        window = [entry for place in (4, 3, 2, 1, 0) for entry in (first[start + place], second[ahead + place])]
        assert not is_merged(window, first, second), start


@pytest.mark.parametrize(
    "known, step, merged",
    [
        (25, 1, True),
        (25, 2, False),
        (39, 2, True),
        (39, 3, False),
        (200, 7, True),
        (200, 8, False),
        (400, 8, True),
        (400, 9, False),
    ],
)
def test_the_longer_a_list_the_further_a_following_entry_may_be(known: int, step: int, merged: bool) -> None:
    """_merge: in a short list entries are close by chance, in a long one others come and go between them."""
    window = list(range(0, known, step))
    assert is_merged(window, list(range(known)), [1000]) == merged


def test_two_equal_dumps_with_a_repeat_prove_nothing() -> None:
    """_merge: an entry that comes twice in a dump was moved during it."""
    first = [full([0, 1, 2]), short([0, 3])]
    second = [full([0, 1]), short([2, 0, 3])]
    found = settle(first, second, lambda number, large: [], lambda entry: entry, resizes=False)
    assert sorted(found) == [0, 1, 2, 3]
