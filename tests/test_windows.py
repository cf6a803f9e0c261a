"""A list that others change while it is read, in a model of the kernel that changes it in all ways and at all moments.

The model does what the kernel does: entries are added at the head of a list, or of one of many buckets; a dump is
filled piece by piece and goes on by position; a table may be resized. What stays the whole time must be found, once, or
an error raised.
"""

import random
from collections.abc import Iterator
from typing import Any, Optional

import pytest

from ipvsnl import DumpInterruptedError
from ipvsnl.windows import Window, is_whole, settle

ENTRY = 352  # bytes


class Kernel:
    """Entries are numbers, those that stay from 0 on. A real server's list is a table with one bucket."""

    def __init__(self, seed: int, staying: int, churned: int, buckets: int, pace: float, resize: float = 0) -> None:
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

    def dump(self, *sizes: int) -> Iterator[Window]:
        """The first windows have these sizes, all others 32 KiB. Each is filled when that before it is received."""
        self.dumps += 1
        left = list(sizes)

        def fill(start: int) -> Window:
            size = left.pop(0) if left else 32448
            self.change()
            entries = self.entries()[start : start + size // ENTRY]
            return Window(entries, len(entries) * ENTRY)

        first = fill(0)

        def read(window: Window, position: int) -> Iterator[Window]:
            while window.entries:
                position += len(window.entries)
                received, window = window, fill(position)
                yield received

        return read(first, 0)

    def elsewhere(self) -> Optional[Iterator[Window]]:
        return self.dump(3776, 12288)

    def read(self, resizes: bool = False) -> list[int]:
        first = list(self.dump())
        if is_whole(first):
            return first[0].entries if first else []
        return settle(first, self.dump, self.elsewhere, lambda entry: entry, resizes=resizes)


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


@pytest.mark.parametrize("length", [0, 1, 86, 87, 88, 92, 93, 100, 184, 185, 276, 600, 5000])
def test_a_list_that_does_not_change_takes_one_more_dump_if_it_did_not_fit_one_datagram(length: int) -> None:
    kernel = Kernel(1, length, 0, 16, 0)
    assert kernel.read() == kernel.entries()
    assert kernel.dumps == (1 if length <= 87 else 2)


def test_values_are_the_newest() -> None:
    dumps = iter([[Window([("a", 2), ("b", 2)], 3776), Window([("c", 2)], 352)]])
    first = [Window([("a", 1)], 3776), Window([("b", 1), ("c", 1)], 704)]
    found = settle(first, never, lambda: iter(next(dumps)), lambda entry: entry[0], resizes=False)
    assert found == [("a", 2), ("b", 2), ("c", 2)]


def test_where_nothing_can_be_asked_again_the_first_dump_is_all_there_is() -> None:
    first = [Window([("a", 1), ("b", 1)], 32000), Window([("b", 2), ("c", 1)], 704)]
    found = settle(first, never, lambda: None, lambda entry: entry[0], resizes=False)
    assert found == [("a", 1), ("b", 2), ("c", 1)]


def test_a_list_that_never_stands_still_is_an_error_with_all_that_was_read() -> None:
    numbers = iter(range(1_000_000))

    def dump() -> Iterator[Window]:
        return iter([Window([next(numbers) for _ in range(90)], 32000) for _ in range(2)])

    with pytest.raises(DumpInterruptedError, match="ask again") as caught:
        settle(list(dump()), dump, dump, lambda entry: entry, resizes=False)
    assert caught.value.entries == list(range(next(numbers)))


def never() -> Any:
    raise AssertionError("one more dump would have been enough")
