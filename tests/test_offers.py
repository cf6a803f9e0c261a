"""How large a buffer a socket offers the kernel, and how large the kernel's datagrams may be in turn.

A list is believed to be whole because its datagram had room for more (windows.py), so this must be right: a datagram is
as large as what was offered before it was made, which is one datagram earlier than it is received.
"""

import errno

import netlink
import pytest

from ipvsnl.transport import BUFFER_SIZE, LARGEST_ROOM, LEAST_ROOM, SMALL_OFFER, NetlinkSocket


class Offered(netlink.FakeSocket):
    """Sends datagrams of these sizes, and notes what it was offered for each."""

    sizes: list[int]
    offers: list[int]

    def recv_into(self, buffer: "memoryview | bytearray", size: int = 0, flags: int = 0) -> int:  # type: ignore[override]
        self.offers.append(size)
        return self.sizes.pop(0)


def receive(monkeypatch: pytest.MonkeyPatch, offer: int, sizes: "list[int]") -> "tuple[list[int], list[int]]":
    """The offers, and the room that each datagram is said to have had."""
    fake = Offered(netlink.IPVSKernel())
    fake.sizes, fake.offers = list(sizes), []
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket(offer=offer)
    rooms = []
    for _ in sizes:
        transport.recv_into(bytearray(BUFFER_SIZE))
        rooms.append(transport.room)
    return fake.offers, rooms


def test_the_first_datagram_has_the_least_room_and_the_next_what_was_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    offers, rooms = receive(monkeypatch, BUFFER_SIZE, [36, 36])
    assert (offers, rooms) == ([BUFFER_SIZE] * 2, [LEAST_ROOM, LARGEST_ROOM])


def test_short_lists_are_offered_little(monkeypatch: pytest.MonkeyPatch) -> None:
    offers, rooms = receive(monkeypatch, SMALL_OFFER, [36, 7120, 20, 7120, 20])
    assert (offers, rooms) == ([SMALL_OFFER] * 5, [LEAST_ROOM] + [SMALL_OFFER] * 4)


def test_after_a_datagram_that_may_have_been_full_the_largest_is_offered_for_good(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offers, rooms = receive(monkeypatch, SMALL_OFFER, [36, 7800, 7800, 20000, 20, 20])
    assert offers == [SMALL_OFFER] * 2 + [BUFFER_SIZE] * 4
    assert rooms == [LEAST_ROOM, SMALL_OFFER, SMALL_OFFER] + [LARGEST_ROOM] * 3


def test_a_datagram_that_did_not_fit_is_an_error_and_the_next_one_is_offered_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = Offered(netlink.IPVSKernel())
    fake.sizes, fake.offers = [SMALL_OFFER + 1, 36], []
    monkeypatch.setattr("socket.socket", lambda *arguments: fake)
    transport = NetlinkSocket(offer=SMALL_OFFER)
    with pytest.raises(OSError) as caught:
        transport.recv_into(bytearray(BUFFER_SIZE))
    assert caught.value.errno == errno.EMSGSIZE
    transport.recv_into(bytearray(BUFFER_SIZE))
    assert fake.offers == [SMALL_OFFER, BUFFER_SIZE]
