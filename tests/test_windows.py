"""A list that others change while it is read, in a model of the kernel that changes it in all ways and at all moments.

The model does what the kernel does: entries are added at the head of a list, or of one of many buckets; a dump is
filled piece by piece and goes on by position; a table may be resized; and a walk that stands on a real server which is
just then deleted and added again goes on from the head. What stays the whole time must be found, once, or an error
raised.
"""

import random
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from ipvsnl import DumpInterruptedError
from ipvsnl.windows import Window, is_whole, once, settle

ENTRY = 352  # bytes


class Kernel:
    """Entries are numbers, those that stay from 0 on. A real server's list is a table with one bucket."""

    def __init__(
        self, seed: int, staying: int, churned: int, buckets: int, pace: float, resize: float = 0, jump: float = 0
    ) -> None:
        self.jump = jump  # how often a walk does in a window
        self.random = random.Random(seed)
        self.staying = list(range(staying))
        self.churned = list(range(10_000, 10_000 + churned))
        self.pace, self.resize = pace, resize  # how many changes between two windows; how often a resize
        self.dumps = 0
        everyone = self.staying + self.churned
        self.random.shuffle(everyone)
        self.table: list[list[int]] = []
        self._hash(everyone, buckets)
        self.turn = 0

    def _hash(self, entries: list[int], buckets: int) -> None:
        self.bucket_of = {entry: self.random.randrange(buckets) for entry in [*self.staying, *self.churned]}
        self.table = [[] for _ in range(buckets)]
        for entry in entries:
            self.add(entry)

    def add(self, entry: int) -> None:
        self.table[self.bucket_of[entry]].insert(0, entry)

    def entries(self) -> list[int]:
        return [entry for bucket in self.table for entry in bucket]

    def change(self) -> None:
        """What others do between two windows: now and then very much, as when the reader has to wait."""
        if self.random.random() < self.resize:
            self._hash(self.entries(), 1536 - len(self.table))  # between 512 and 1024 buckets
        amount = self.pace * self.random.choice([0, 1, 1, 1, 1, 30])
        for _ in range(round(self.random.uniform(0, 2 * amount))):
            # In turn, all deleted and then all added, as a script does.
            entry = self.churned[self.turn % len(self.churned)]
            deleting = self.turn // len(self.churned) % 2 == 0
            self.turn += 1
            bucket = self.table[self.bucket_of[entry]]
            if deleting and entry in bucket:
                bucket.remove(entry)
            elif not deleting and entry not in bucket:
                bucket.insert(0, entry)

    def walk(self, start: int, most: int) -> list[int]:
        """What one datagram shows: at most so many entries from a position on."""
        entries = self.entries()[start : start + most]
        places = [place for place, entry in enumerate(entries) if entry in self.churned]
        if not places or self.random.random() >= self.jump:
            return entries
        place = self.random.choice(places)
        bucket = self.table[self.bucket_of[entries[place]]]
        bucket.remove(entries[place])
        rest = self.walk(0, most - place - 1)
        bucket.insert(0, entries[place])
        return entries[: place + 1] + rest

    def dump(self, *sizes: int) -> Iterator[Window]:
        """The first windows have room for so many bytes, all others for 32 KiB. Each is filled when that before it is
        received."""
        self.dumps += 1
        left = list(sizes)

        def fill(start: int) -> Window:
            size = left.pop(0) if left else 32448
            self.change()
            entries = self.walk(start, size // ENTRY)
            return Window(entries, len(entries) * ENTRY, {32448: 32000, 3776: 3328}.get(size, size))

        first = fill(0)

        def read(window: Window, position: int) -> Iterator[Window]:
            while window.entries:
                position += len(window.entries)
                received, window = window, fill(position)
                yield received

        return read(first, 0)

    def elsewhere(self) -> Optional[Iterator[Window]]:
        return self.dump(3776, 20000)

    def read_old(self) -> list[int]:
        """As before Linux 4.9, where no datagram has more than 16 KiB, which the reader does not know."""

        def dump(*sizes: int) -> Iterator[Window]:
            windows = self.dump(*sizes, *[16384 - 320] * 100)
            return (Window(each.entries, each.size, 32000 if each.size > 3776 else 3328) for each in windows)

        first = list(dump())
        if not first or is_whole(first):
            return first[0].entries if first else []
        return settle(first, dump, lambda: dump(3776, 8192), same, looks=same, resizes=False)

    def read(self, resizes: bool = False) -> list[int]:
        first = list(self.dump())
        if not first or is_whole(first):
            return once(first[0].entries, same) if first else []
        return settle(first, self.dump, self.elsewhere, same, looks=same, resizes=resizes)


def check(kernel: Kernel, calls: int, resizes: bool = False) -> int:
    """How many calls ended in an error. All others must be right."""
    errors = 0
    for _ in range(calls):
        try:
            found = kernel.read(resizes)
        except DumpInterruptedError as error:
            assert len(set(error.entries)) == len(error.entries)
            errors += 1
            continue
        assert len(set(found)) == len(found), "an entry was repeated"
        assert set(kernel.staying) <= set(found), "an entry was lost"
    return errors


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pace", [0.1, 1, 10])
@pytest.mark.parametrize("buckets", [1, 4, 256, 4096], ids=lambda buckets: f"{buckets} buckets")
def test_what_stays_is_found_once_whatever_else_is_deleted_and_added(buckets: int, pace: float, seed: int) -> None:
    assert check(Kernel(seed, 600, 200, buckets, pace), 8) <= 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("staying, churned", [(90, 5), (85, 100), (170, 20), (1, 300), (2500, 100)])
def test_lists_of_other_lengths(staying: int, churned: int, seed: int) -> None:
    for buckets in (1, 256):
        assert check(Kernel(seed, staying, churned, buckets, 1), 4) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_what_stays_is_found_once_although_the_table_is_resized(seed: int) -> None:
    assert check(Kernel(seed, 600, 200, 512, 1, resize=0.01), 25, resizes=True) <= 2


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("staying", [1000, 3000, 6000])
def test_nothing_is_lost_where_the_first_dump_itself_is_in_two_orders(staying: int, seed: int) -> None:
    class ResizedOnce(Kernel):
        moments = 0

        def change(self) -> None:
            self.moments += 1
            if self.moments == 2:
                self._hash(self.entries(), 1024)

    kernel = ResizedOnce(seed, staying, 1, 512, 0)
    assert sorted(kernel.read(resizes=True)) == sorted(kernel.entries())


@pytest.mark.parametrize("seed", range(10))
def test_a_resize_shows_although_most_of_what_is_read_was_never_seen_before(seed: int) -> None:
    class Replacing(Kernel):
        def change(self) -> None:
            super().change()
            if self.random.random() < 0.5:
                gone = set(self.random.sample(self.churned, self.random.randrange(len(self.churned))))
                self.churned = [entry for entry in self.churned if entry not in gone]
                self.table = [[entry for entry in bucket if entry not in gone] for bucket in self.table]
                for entry in range(max(self.bucket_of) + 1, max(self.bucket_of) + 1 + len(gone)):
                    self.churned.append(entry)
                    self.bucket_of[entry] = self.random.randrange(len(self.table))
                    self.add(entry)

    check(Replacing(seed, 20, 100, 512, 0, resize=0.05), 40, resizes=True)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("pace", [0.1, 1, 10])
@pytest.mark.parametrize("staying, churned", [(600, 200), (60, 60), (300, 10)])
def test_what_stays_is_found_once_although_walks_jump_back_to_the_head(
    staying: int, churned: int, pace: float, seed: int
) -> None:
    assert check(Kernel(seed, staying, churned, 1, pace, jump=0.2), 10) <= 1


@pytest.mark.parametrize("length", [0, 1, 44, 45, 46, 47, 90, 100, 500])
def test_a_list_of_an_old_kernel_that_has_smaller_datagrams_is_read_whole(length: int) -> None:
    kernel = Kernel(1, length, 0, 16, 0)
    assert kernel.read_old() == kernel.entries()


@pytest.mark.parametrize("length", [0, 1, 86, 87, 88, 92, 93, 100, 184, 185, 276, 600, 5000])
def test_a_list_that_does_not_change_takes_one_more_dump_if_it_did_not_fit_one_datagram(length: int) -> None:
    kernel = Kernel(1, length, 0, 16, 0)
    assert kernel.read() == kernel.entries()
    assert kernel.dumps == (1 if length <= 89 else 2)


@pytest.mark.parametrize("sizes", [(), (7872, 7872)], ids=["a socket in use", "one that began with small datagrams"])
def test_a_list_of_any_length_that_does_not_change_takes_one_more_dump_at_most(sizes: tuple[int, ...]) -> None:
    for length in range(1200):
        kernel = Kernel(length, length, 0, 16, 0)
        dump = list(kernel.dump(*sizes))
        whole = not dump or is_whole(dump)
        if not whole:
            assert settle(dump, kernel.dump, kernel.elsewhere, same, looks=same, resizes=True) == kernel.entries()
        assert kernel.dumps == 2 - whole, length


def same(entry: Any) -> Any:
    return entry


def first_of(entry: tuple[str, int]) -> str:
    return entry[0]


ROOM = 32000


def test_of_a_list_that_did_not_change_the_first_values_count() -> None:
    first = [Window([("a", 1)], 31900, ROOM), Window([("b", 1), ("c", 1)], 704, ROOM)]
    second = [Window([("a", 2), ("b", 2)], 3776, 3328), Window([("c", 2)], 352, ROOM)]
    assert settle(first, never, lambda: iter(second), first_of, looks=first_of, resizes=False) == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
    ]


def test_of_one_that_changed_the_newest_values_count() -> None:
    first = [Window([("a", 1)], 31900, ROOM), Window([("b", 1), ("c", 1)], 704, ROOM)]
    second = [Window([("new", 2), ("a", 2)], 3776, 3328), Window([("b", 2), ("c", 2)], 704, ROOM)]
    third = [Window([("new", 3), ("a", 3), ("b", 3), ("c", 3)], 1408, ROOM)]
    dumps = iter([second, third])
    found = settle(first, lambda: iter(third), lambda: iter(next(dumps)), first_of, looks=first_of, resizes=False)
    assert sorted(found) == [("a", 3), ("b", 3), ("c", 3), ("new", 3)]


def test_where_nothing_can_be_asked_again_the_first_dump_is_all_there_is() -> None:
    first = [Window([("a", 1), ("b", 1)], 31900, ROOM), Window([("b", 2), ("c", 1)], 704, ROOM)]
    found = settle(first, never, lambda: None, first_of, looks=first_of, resizes=False)
    assert found == [("a", 1), ("b", 2), ("c", 1)]


def test_a_list_that_never_stands_still_is_an_error_with_all_that_was_read() -> None:
    numbers = iter(range(1_000_000))

    def dump() -> Iterator[Window]:
        return iter([Window([next(numbers) for _ in range(90)], 31900, ROOM) for _ in range(2)])

    with pytest.raises(DumpInterruptedError, match="ask again") as caught:
        settle(list(dump()), dump, dump, same, looks=same, resizes=False)
    assert caught.value.entries == list(range(next(numbers)))


def never() -> Any:
    raise AssertionError("one more dump would have been enough")
