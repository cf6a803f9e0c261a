"""Bytes as nobody would send them are an answer or a typed error. tests/tools/fuzz.py goes on with other seeds."""

import tracemalloc

import netlink
import pytest
from tools.fuzz import case, read_attributes


@pytest.mark.parametrize("part", range(4))
def test_mutated_bytes_are_an_answer_or_a_typed_error(part: int) -> None:
    for seed in range(part * 250, part * 250 + 250):
        try:
            case(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}") from error


@pytest.mark.parametrize("size", [4, 8])
def test_memory_is_proportional_to_the_input(size: int) -> None:
    data = netlink.attribute(1, bytes(size - 4)) * 20_000
    tracemalloc.start()
    try:
        read_attributes(data)
        assert tracemalloc.get_traced_memory()[1] < 200 * len(data)
    finally:
        tracemalloc.stop()
