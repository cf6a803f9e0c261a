"""A dump reads as its messages do, one by one: however many of them are alike, and whatever stands among them.

A client may read messages that are alike in a faster way than single ones. Nothing of that may show. The oracle is the
single message: genl.messages(), and _decode.decode_service() or _decode.decode_destination().
"""

import random
import struct
from collections.abc import Iterator

import netlink
import pytest
from conftest import KERNELS, capture
from dumper import Dumper, one_by_one
from trees import CHANGES, DESTINATION, SERVICE, without

from ipvsnl import (
    DecodeError,
    Destination,
    Service,
    _dump,
)

SERVICES = [
    SERVICE,
    netlink.service(),
    netlink.service(AF=netlink.u16(10), ADDR=netlink.address("2001:db8::1"), NETMASK=netlink.u32(64)),
    netlink.service(ADDR=b"\x0a\0\0\1"),
    netlink.service(PROTOCOL=netlink.u16(47), SCHED_NAME=netlink.text("wlc")),
    netlink.service(PORT=netlink.be16(0), FLAGS=netlink.u32(0x80000002) + netlink.u32(0)),
    netlink.fwmark_service(47),
    netlink.fwmark_service(48, 10),
    without(SERVICE, netlink.SVC["STATS64"]),
    without(SERVICE, netlink.SVC["PE_NAME"]),
    *(change(SERVICE) for change in CHANGES.values()),
]
DESTINATIONS = [
    DESTINATION,
    netlink.destination(),
    netlink.destination(ADDR=netlink.address("2001:db8::2"), ADDR_FAMILY=netlink.u16(10)),
    netlink.destination(ADDR_FAMILY=None),
    netlink.destination(ADDR=b"\xc0\0\2\1"),
    netlink.destination(FWD_METHOD=netlink.u32(9), WEIGHT=netlink.s32(-1)),
    without(DESTINATION, netlink.DEST["STATS64"]),
    without(DESTINATION, netlink.DEST["TUN_TYPE"], netlink.DEST["TUN_PORT"], netlink.DEST["TUN_FLAGS"]),
    *(change(DESTINATION) for change in CHANGES.values()),
]


@pytest.fixture(autouse=True)
def keep_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the same real server stands for many that are alike."""
    monkeypatch.setattr(_dump.DUMP_DESTS, "jumps", False)


def message(tree: netlink.Tree, reply: int, nested: int = netlink.NLA_F_NESTED, **header: int) -> bytes:
    return netlink.message(netlink.IPVS, netlink.pack(tree, nested), command=reply, **header)


KINDS = pytest.mark.parametrize(
    ("trees", "reply"),
    [(SERVICES, netlink.NEW_SERVICE), (DESTINATIONS, netlink.NEW_DEST)],
    ids=["services", "real servers"],
)


@KINDS
def test_messages_that_are_all_alike(trees: list[netlink.Tree], reply: int) -> None:
    for tree in trees:
        for count in (1, 2, 3, 50):
            datagram = message(tree, reply) * count
            expected = one_by_one(datagram, reply)
            assert len(expected) == count  # type: ignore[arg-type]
            dumper = Dumper(reply)
            assert dumper.read(datagram) == dumper.read(datagram) == expected


@KINDS
@pytest.mark.parametrize("kernel", KERNELS)
def test_one_real_message_is_read_with_care_and_all_like_it_at_once(
    kernel: str, trees: list[netlink.Tree], reply: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is what makes a dump fast, in the first datagram and in each one after it."""
    command = netlink.GET_SERVICE if reply == netlink.NEW_SERVICE else netlink.GET_DEST
    real = netlink.readdress(
        netlink.replies_to(capture(kernel), command=command)[0], seq=1, port=netlink.PORT, family=netlink.IPVS
    )
    first = real[: int.from_bytes(real[:4], netlink.BYTE_ORDER)]
    rows = (_dump.DUMP_SERVICES if reply == netlink.NEW_SERVICE else _dump.DUMP_DESTS).rows
    careful, calls = rows.row, []
    monkeypatch.setattr(rows, "row", lambda *arguments: calls.append(arguments) or careful(*arguments))
    dumper = Dumper(reply)
    assert [len(dumper.read(first * count)) for count in (50, 50, 7)] == [50, 50, 7]  # type: ignore[arg-type]
    assert len(calls) == 1


@KINDS
def test_attributes_and_lists_of_them_that_come_twice(trees: list[netlink.Tree], reply: int) -> None:
    """The last counts, as in the kernel's nla_parse(), also where the first one has what the last one lacks."""
    for kind, attributes in [trees[0][0], trees[1][0]]:
        for position, (type, payload) in enumerate(attributes):
            others = [*attributes[:position], *attributes[position + 1 :]]
            for half in [payload] if isinstance(payload, bytes) else [payload[:5], payload[5:], []]:
                for twice in ([*attributes, (type, half)], [*others, (type, half), (type, payload)]):
                    datagram = message([(kind, twice)], reply) * 3
                    assert Dumper(reply).read(datagram) == one_by_one(datagram, reply)


@KINDS
def test_messages_of_a_length_that_is_no_multiple_of_four(trees: list[netlink.Tree], reply: int) -> None:
    unknown = (99, b"123")  # an attribute at the end, whose padding a message may lack
    for tree in trees:
        single = message([*tree, unknown], reply)
        length = len(single) - 1
        single = netlink.u32(length) + single[4:length] + b"\0"
        datagram = single * 3
        assert len(one_by_one(datagram, reply)) == 3  # type: ignore[arg-type]
        assert Dumper(reply).read(datagram) == one_by_one(datagram, reply)


@KINDS
def test_messages_of_all_shapes_in_any_order(trees: list[netlink.Tree], reply: int) -> None:
    chance, dumper = random.Random(3), Dumper(reply)
    for _ in range(300):
        datagram = b""
        for _ in range(chance.randrange(1, 9)):
            nested = chance.choice((0, netlink.NLA_F_NESTED))
            datagram += message(chance.choice(trees), reply, nested) * chance.choice((1, 1, 2, 7))
        assert dumper.read(datagram) == one_by_one(datagram, reply)


@KINDS
def test_messages_of_others_among_them(trees: list[netlink.Tree], reply: int) -> None:
    chance, dumper = random.Random(4), Dumper(reply)
    strangers = [
        *(message(tree, reply, seq=99) for tree in trees),
        *(message(tree, reply, port=99) for tree in trees),
        netlink.message(netlink.NLMSG_NOOP),
        netlink.done(seq=99),
        netlink.refusal(1, port=99),
    ]
    for _ in range(300):
        own = [message(tree, reply) for tree in chance.sample(trees, 3)]
        datagram = b"".join(chance.choice(own if chance.random() < 0.7 else strangers) for _ in range(20))
        assert dumper.read(datagram) == one_by_one(datagram, reply)


@KINDS
def test_the_end_among_them(trees: list[netlink.Tree], reply: int) -> None:
    dumper, own = Dumper(reply), message(trees[0], reply)
    ends = [netlink.done(), netlink.done(12), netlink.refusal(0), netlink.refusal(1), message(trees[0], 99)]
    for end in ends:
        for before in range(4):
            datagram = own * before + end + own * 2
            # The dump is over; the end that our kernel sends after this datagram is skipped, it belongs to nobody.
            assert dumper.read(datagram) == one_by_one(datagram, reply)


@KINDS
def test_any_values(trees: list[netlink.Tree], reply: int) -> None:
    """The same shape with any bytes in each payload."""
    chance, dumper = random.Random(5), Dumper(reply)

    def scramble(tree: netlink.Tree) -> netlink.Tree:
        return [
            (type, p if not isinstance(p, bytes) or chance.random() < 0.7 else chance.randbytes(len(p)))
            for type, p in tree
        ]

    refused = 0
    for _ in range(300):
        tree = chance.choice(trees)
        datagram = b"".join(message(netlink.everywhere(tree, scramble), reply) for _ in range(3))
        datagram = message(tree, reply) + datagram
        expected = one_by_one(datagram, reply)
        refused += not isinstance(expected, list)
        assert dumper.read(datagram) == expected
    assert 0 < refused < 300


@KINDS
def test_any_byte_changed(trees: list[netlink.Tree], reply: int) -> None:
    chance, dumper = random.Random(6), Dumper(reply)
    good = message(trees[0], reply) * 3
    assert dumper.read(good) == one_by_one(good, reply)
    for position in range(len(good)):
        changed = bytearray(good)
        changed[position] ^= 1 << chance.randrange(8)
        assert dumper.read(bytes(changed)) == one_by_one(bytes(changed), reply), position


def length_fields(datagram: bytes, offset: int, end: int) -> "Iterator[tuple[int, int]]":
    """Where each attribute from `offset` to `end` has its length, with those inside it, and the largest that fits. Not
    inside the 32-bit counters, which nobody reads where there are those of 64 bits."""
    while offset < end:
        length, type = struct.unpack_from("=HH", datagram, offset)
        yield offset, end - offset
        if type & netlink.NLA_F_NESTED and type & 0xFF != netlink.SVC["STATS"]:
            yield from length_fields(datagram, offset + 4, offset + length)
        offset += length + -length % 4


@KINDS
def test_any_length_that_cannot_be_is_a_decode_error(trees: list[netlink.Tree], reply: int) -> None:
    """Of a message and of each attribute at each level: shorter than its header, or beyond what holds it."""
    dumper, tried = Dumper(reply), 0
    for tree in trees[:7]:
        single = message(tree, reply)
        assert dumper.read(single * 2) == one_by_one(single * 2, reply)  # from now on it knows how they look
        for before in (0, len(single)):  # as the first message, and where others like it went before
            fields = [(before, 2 * len(single) - before), *length_fields(single * 2, before + 20, before + len(single))]
            for position, most in fields:
                for length in (0, 1, 3, most + 1, 0xFFFF):
                    changed = bytearray(single * 2)
                    changed[position : position + 2] = netlink.u16(length)
                    assert dumper.read(bytes(changed)) is DecodeError, (position, length)
                    assert one_by_one(bytes(changed), reply) is DecodeError
                    tried += 1
    assert tried > 1500


@KINDS
def test_any_end_cut_off(trees: list[netlink.Tree], reply: int) -> None:
    dumper = Dumper(reply)
    good = message(trees[0], reply) * 2
    for size in range(1, len(good)):
        assert dumper.read(good) == one_by_one(good, reply)
        assert dumper.read(good[:size]) == one_by_one(good[:size], reply), size


@pytest.mark.parametrize("kernel", KERNELS)
def test_real_dumps(kernel: str) -> None:
    for command, reply in ((netlink.GET_SERVICE, netlink.NEW_SERVICE), (netlink.GET_DEST, netlink.NEW_DEST)):
        datagram = netlink.replies_to(capture(kernel), command=command)[0]
        datagram = netlink.readdress(datagram, seq=1, port=netlink.PORT, family=netlink.IPVS)
        expected = one_by_one(datagram, reply)
        assert isinstance(expected, list) and isinstance(expected[0], (Service, Destination))
        dumper = Dumper(reply)
        assert [dumper.read(datagram) for _ in range(3)] == [expected] * 3
