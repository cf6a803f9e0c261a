"""A question that is interrupted by a signal, at whatever point: the next one is answered, at once and right."""

import signal
import time
from collections.abc import Iterator

import netlink
import pytest
from interrupts import Impatient, interrupt

from ipvsnl import Client
from ipvsnl.genl import Connection
from ipvsnl.transport import BUFFER_SIZE, NetlinkSocket

SERVICE, POOL = netlink.service(), [netlink.destination()]


def test_after_an_interrupt_at_any_instruction_the_families_are_listed_at_once() -> None:
    socket = Impatient()
    connection = Connection(socket)
    expected = connection.families("nlctrl")
    count = 0
    for _ in interrupt(lambda: connection.families("nlctrl"), "transport", "genl"):
        assert connection.families("nlctrl") == expected
        count += 1
    assert count > 200
    socket.close()


def test_after_an_interrupt_at_any_instruction_both_lists_are_read_at_once() -> None:
    kernel = netlink.DumpingKernel([(SERVICE, POOL)])
    with Client(transport=kernel) as client:
        expected = list(client.dump())
        count = 0
        for _ in interrupt(lambda: list(client.dump()), "transport", "genl", "lists", "layout"):
            assert list(client.dump()) == expected
            count += 1
    assert count > 500


@pytest.fixture
def ticking() -> Iterator[None]:
    """A signal comes every 5 ms, and its handler returns."""
    usual = signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, usual)


@pytest.mark.usefixtures("ticking")
def test_signals_that_come_more_often_than_the_timeout_do_not_make_it_longer() -> None:
    socket = NetlinkSocket(timeout=0.2)
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        socket.recv_into(bytearray(BUFFER_SIZE))
    assert 0.2 <= time.monotonic() - begun < 5
    socket.close()


@pytest.mark.usefixtures("ticking")
def test_signals_during_dumps_go_unnoticed() -> None:
    socket = NetlinkSocket()
    connection = Connection(socket)
    expected, end = connection.families(), time.monotonic() + 0.5
    while time.monotonic() < end:
        assert connection.families() == expected
    socket.close()


def test_a_signal_whose_handler_raises_ends_the_waiting() -> None:
    def give_up(*_: object) -> None:
        raise KeyboardInterrupt

    socket = NetlinkSocket(timeout=None)
    usual = signal.signal(signal.SIGALRM, give_up)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            socket.recv_into(bytearray(BUFFER_SIZE))
    finally:
        signal.signal(signal.SIGALRM, usual)
        socket.close()
