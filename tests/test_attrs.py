"""The attribute codec, on its own: bytes to values and back, and no bytes that are believed without a check.

The bytes here are written out by hand, or made by tests/netlink.py; netlink(7) has the layout.
"""

import random
import sys

import netlink
import pytest

from ipvsnl import DecodeError
from ipvsnl.attrs import Nest, binary, s32, split, text, u8, u16, u32, u64

INNER = Nest("INNER", {1: ("NUMBER", u32)})
OUTER = Nest(
    "OUTER",
    {
        **{1: ("BYTE", u8), 2: ("SHORT", u16), 3: ("NUMBER", u32), 4: ("LONG", u64), 5: ("SIGNED", s32)},
        **{7: ("NAME", text), 8: ("DATA", binary), 9: ("INNER", INNER)},
    },
)
EXAMPLES = [
    ("BYTE", 1, b"\xff", 255),
    ("SHORT", 2, (0x1234).to_bytes(2, sys.byteorder), 0x1234),
    ("NUMBER", 3, (0xDEADBEEF).to_bytes(4, sys.byteorder), 0xDEADBEEF),
    ("LONG", 4, (2**64 - 1).to_bytes(8, sys.byteorder), 2**64 - 1),
    ("SIGNED", 5, b"\xff\xff\xff\xff", -1),
    ("NAME", 7, b"rr\0", "rr"),
    ("DATA", 8, b"\x01\x02\x03", b"\x01\x02\x03"),
    ("INNER", 9, netlink.pack([(1, netlink.u32(7))]), {"NUMBER": 7}),
]


@pytest.mark.parametrize(("name", "type", "payload", "value"), EXAMPLES)
def test_each_kind_is_read(name: str, type: int, payload: bytes, value: object) -> None:
    assert OUTER.decode(netlink.attribute(type, payload)) == {name: value}


@pytest.mark.parametrize(("name", "type", "payload", "value"), EXAMPLES)
def test_each_kind_is_written(name: str, type: int, payload: bytes, value: object) -> None:
    assert OUTER.encode({name: value}) == netlink.attribute(type, payload)


def test_what_is_written_is_read_back() -> None:
    chance = random.Random(2)
    for _ in range(200):
        values = {
            "BYTE": chance.randrange(2**8),
            "SIGNED": chance.randrange(-(2**31), 2**31),
            "LONG": chance.randrange(2**64),
            "SHORT": chance.randrange(2**16),
            "NAME": "ä" * chance.randrange(9),
            "DATA": bytes(chance.randrange(9)),
            "INNER": {"NUMBER": chance.randrange(2**32)},
        }
        names = chance.sample(sorted(values), chance.randrange(len(values) + 1))
        some = {name: values[name] for name in names}
        assert OUTER.decode(OUTER.encode(some)) == some


def test_nothing_has_no_attributes() -> None:
    assert OUTER.decode(b"") == {}


def test_an_attribute_is_padded_to_four_bytes() -> None:
    assert OUTER.encode({"NAME": "wlc", "BYTE": 1}) == (
        netlink.u16(8) + netlink.u16(7) + b"wlc\0" + netlink.u16(5) + netlink.u16(1) + b"\x01\0\0\0"
    )


def test_the_last_attribute_may_come_without_its_padding() -> None:
    assert OUTER.decode(netlink.u16(5) + netlink.u16(1) + b"\x07") == {"BYTE": 7}


@pytest.mark.parametrize("flag", [0, netlink.NLA_F_NESTED, netlink.NLA_F_NET_BYTEORDER, 0xC000])
def test_the_flags_of_a_type_do_not_matter(flag: int) -> None:
    assert OUTER.decode(netlink.attribute(9 | flag, netlink.attribute(1 | flag, netlink.u32(5)))) == {
        "INNER": {"NUMBER": 5}
    }


@pytest.mark.parametrize("type", [0, 6, 10, 99, 0x3FFF])
def test_an_unknown_attribute_is_skipped(type: int) -> None:
    unknown = netlink.attribute(type, b"whatever")
    assert OUTER.decode(unknown + netlink.attribute(1, b"\x07") + unknown) == {"BYTE": 7}


def test_of_an_attribute_that_comes_twice_the_last_counts() -> None:
    assert OUTER.decode(netlink.pack([(1, b"\x01"), (1, b"\x02")])) == {"BYTE": 2}


def test_a_text_ends_at_its_first_nul() -> None:
    assert OUTER.decode(netlink.attribute(7, b"rr\0\0junk"))["NAME"] == "rr"


def test_a_value_that_was_not_sent_is_a_decode_error_that_names_it() -> None:
    with pytest.raises(DecodeError, match="OUTER_SHORT is missing"):
        OUTER.decode(b"")["SHORT"]


@pytest.mark.parametrize("size", [0, 1, 3, 5, 8])
def test_a_number_of_another_size_is_a_decode_error_that_names_it(size: int) -> None:
    with pytest.raises(DecodeError, match=f"OUTER_NUMBER: {size} bytes where 4 belong"):
        OUTER.decode(netlink.attribute(3, bytes(size)))


def test_an_error_inside_a_nested_list_names_the_attribute_there() -> None:
    with pytest.raises(DecodeError, match="INNER_NUMBER: 2 bytes where 4 belong"):
        OUTER.decode(netlink.pack([(9, [(1, b"\0\0")])]))


@pytest.mark.parametrize("payload", [b"", b"rr", b"\xff\0"])
def test_a_text_without_nul_or_not_utf_8_is_a_decode_error(payload: bytes) -> None:
    with pytest.raises(DecodeError, match="OUTER_NAME"):
        OUTER.decode(netlink.attribute(7, payload))


@pytest.mark.parametrize("length", [0, 1, 2, 3, 9, 0x7FFF, 0xFFFF])
def test_an_attribute_length_that_cannot_be_is_a_decode_error(length: int) -> None:
    with pytest.raises(DecodeError, match=f"says {length} bytes, 8 are left"):
        OUTER.decode(netlink.u16(length) + netlink.u16(3) + bytes(4))


@pytest.mark.parametrize("stray", [1, 2, 3])
def test_stray_bytes_after_the_last_attribute_are_a_decode_error(stray: int) -> None:
    with pytest.raises(DecodeError, match=f"{stray} stray bytes"):
        OUTER.decode(netlink.attribute(1, b"\x01") + bytes(stray))


def test_any_bytes_are_read_or_are_a_decode_error() -> None:
    chance = random.Random(1)
    read = 0
    for _ in range(5000):
        data = b"".join(
            netlink.u16(chance.choice((4, 5, 6, 8, 12, chance.randrange(40))))
            + netlink.u16(chance.randrange(11))
            + chance.choice((b"", bytes(4), b"ab\0\0"))
            for _ in range(chance.randrange(5))
        )
        try:
            OUTER.decode(data)
            read += 1
        except DecodeError:
            pass
    assert 0 < read < 5000


def test_an_attribute_that_is_too_long_says_how_many_bytes_are_left() -> None:
    """attrs: the bytes left are counted from the attribute, not from the first one."""
    first, second = netlink.attribute(1, b"1234"), netlink.attribute(2, b"12345678")
    with pytest.raises(DecodeError, match="an attribute of type 2 says 12 bytes, 8 are left"):
        split(first + second[:8], "TEST")
