"""How large a buffer a socket offers the kernel, and how large the kernel's datagrams may be because of that.

A list is complete if its datagram could hold one more entry (_merge.py), so the room must be right. The kernel fills a
datagram before it knows the offer of the recv() that receives it.
"""

import errno
import os
import struct

import netlink
import pytest

from ipvsnl.transport import ASSUMED_ROOM, BUFFER_SIZE, DRAINED, LARGEST_ROOM, LEAST_ROOM, SMALL_OFFER, NetlinkSocket

DUMP = struct.pack("=IHHII", 20, 16, 0x301, 1, 0)  # NLM_F_REQUEST | NLM_F_DUMP
PLAIN = struct.pack("=IHHII", 20, 16, 0x005, 1, 0)  # NLM_F_REQUEST | NLM_F_ACK
PAGE, EIGHT, LARGE = 4352, 8448, 33024  # what SO_MEMINFO says of a datagram in a block of 4, 8 and 32 KiB


class Offered(netlink.FakeSocket):
    """Receives datagrams of these sizes, in these blocks, and notes what was offered for each."""

    def __init__(self, sizes: "list[int]", blocks: "list[int]") -> None:
        super().__init__(netlink.IPVSKernel())
        self.sizes, self.blocks = sizes, blocks
        self.offers: list[int] = []
        self.asked = 0

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (1, 55)
        self.asked += 1
        if not self.blocks:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return self.blocks[len(self.offers)]

    def send(self, request: bytes) -> int:
        return len(request)

    def recv_into(self, buffer: "memoryview | bytearray", size: int = 0, flags: int = 0) -> int:
        self.offers.append(size)
        return self.sizes.pop(0)


def receive(
    monkeypatch: pytest.MonkeyPatch, sizes: "list[int]", blocks: "list[int]", *offers: int
) -> "tuple[list[int], list[int]]":
    """Return the offers, and the room of each datagram. A datagram of 20 bytes ends a dump, and a request follows."""
    fake = Offered(list(sizes), blocks)
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket(5, None, *offers)
    rooms = []
    for size in sizes:
        transport.recv_into(bytearray(BUFFER_SIZE))
        rooms.append(transport.room)
        if size == 20:
            transport.send(DUMP)
    return fake.offers, rooms


def test_the_first_datagram_has_a_page_and_the_next_what_was_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    offers, rooms = receive(monkeypatch, [3560, 31684, 31684], [PAGE, LARGE, LARGE])
    assert (offers, rooms) == ([BUFFER_SIZE] * 3, [LEAST_ROOM, LARGEST_ROOM, LARGEST_ROOM])


def test_a_page_is_known_although_more_was_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rooms = receive(monkeypatch, [3560, 3560, 3560, 31684], [PAGE, PAGE, PAGE, LARGE])
    assert rooms == [LEAST_ROOM] * 3 + [LARGEST_ROOM]


def test_a_small_offer_is_all_that_a_datagram_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    offers, rooms = receive(monkeypatch, [36, 20, 7120, 20], [768, EIGHT, EIGHT, EIGHT], SMALL_OFFER)
    assert (offers, rooms) == ([SMALL_OFFER] * 4, [LEAST_ROOM, 0, SMALL_OFFER, 0])


def test_a_page_instead_of_a_small_offer_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rooms = receive(monkeypatch, [20, 3560], [PAGE, PAGE], SMALL_OFFER)
    assert rooms[1] == LEAST_ROOM


def test_an_offer_between_two_blocks_is_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rooms = receive(monkeypatch, [20, 19936], [PAGE, LARGE], 20000)
    assert rooms[1] == 20000


def test_after_a_full_datagram_the_largest_buffer_is_offered_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, blocks = [20, 7800, 7800, 20000, 20, 20], [PAGE, EIGHT, EIGHT, LARGE, LARGE, LARGE]
    offers, rooms = receive(monkeypatch, sizes, blocks, SMALL_OFFER)
    assert offers == [SMALL_OFFER] * 2 + [BUFFER_SIZE] * 4
    assert rooms == [LEAST_ROOM, SMALL_OFFER, SMALL_OFFER, LARGEST_ROOM, 0, LARGEST_ROOM]


def test_the_largest_offer_may_be_small(monkeypatch: pytest.MonkeyPatch) -> None:
    offers, _ = receive(monkeypatch, [3560, 7832, 7832], [PAGE, EIGHT, EIGHT], SMALL_OFFER, SMALL_OFFER)
    assert offers == [SMALL_OFFER] * 3


def test_before_linux_4_12_the_room_is_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rooms = receive(monkeypatch, [3560, 15200, 16020], [])
    assert rooms == [LEAST_ROOM, ASSUMED_ROOM, ASSUMED_ROOM]
    _, rooms = receive(monkeypatch, [20, 7120], [], SMALL_OFFER)
    assert rooms[1] == SMALL_OFFER


def test_a_short_dump_takes_one_more_system_call(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Offered([7120, 20] * 3, [EIGHT] * 6)
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket(offer=SMALL_OFFER)
    transport._offered = SMALL_OFFER
    for _ in range(3):
        transport.send(DUMP)
        transport.recv_into(bytearray(BUFFER_SIZE))
        transport.recv_into(bytearray(BUFFER_SIZE))
    assert fake.asked == 3


def test_a_reply_to_a_plain_request_takes_no_more_system_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Offered([36, 36], [PAGE, PAGE])
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket()
    for _ in range(2):
        transport.send(PLAIN)
        transport.recv_into(bytearray(BUFFER_SIZE))
    assert (fake.asked, transport.room) == (0, 0)


def test_a_datagram_that_did_not_fit_is_an_error_and_more_is_offered_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Offered([SMALL_OFFER + 1, 36], [LARGE, LARGE])
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket(offer=SMALL_OFFER)
    with pytest.raises(OSError) as caught:
        transport.recv_into(bytearray(BUFFER_SIZE))
    assert caught.value.errno == errno.EMSGSIZE
    transport.recv_into(bytearray(BUFFER_SIZE))
    assert fake.offers == [SMALL_OFFER, BUFFER_SIZE]


def test_a_dump_that_never_ends_is_not_drained_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = Offered([], [])
    received = iter(range(DRAINED + 1))
    monkeypatch.setattr(fake, "recv", lambda size: next(received))
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    NetlinkSocket().drain()
    assert list(received) == [DRAINED]
