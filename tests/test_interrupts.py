"""A question that is interrupted by a signal, at whatever point: the next one is answered, at once and right."""

import contextlib
import errno
import select
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import netlink
import pytest
from conftest import PYTHONS, run_python
from interrupts import Impatient, interrupt

from ipvsnl import Client
from ipvsnl.genl import Connection
from ipvsnl.transport import BUFFER_SIZE, NetlinkSocket

SERVICE, POOL = netlink.service(), [netlink.destination()]


def test_after_an_interrupt_anywhere_the_families_are_listed_at_once() -> None:
    """Of a dump there is nothing left over here on a kernel that ends it in the datagram of its last entries, as newer
    ones do: that is for DumpingKernel, and for tests/kernel."""
    socket = Impatient()
    connection = Connection(socket)
    expected = connection.families("nlctrl")
    count = 0
    for _ in interrupt(lambda: connection.families("nlctrl"), "transport", "genl"):
        assert connection.families("nlctrl") == expected
        count += 1
    assert count > 200
    socket.close()


@pytest.mark.parametrize(("anew", "step"), [(False, 1), (True, 19)], ids=["by a client in use", "by a new client"])
def test_after_an_interrupt_at_any_instruction_both_lists_are_read_at_once(anew: bool, step: int) -> None:
    def open_client() -> Client:
        return Client(transport=netlink.DumpingKernel([(SERVICE, POOL)]))

    def ask() -> None:
        if anew:
            clients.append(open_client())
        list(clients[-1].dump())

    clients, count = [open_client()], 0
    expected = list(clients[0].dump())
    for _ in interrupt(ask, "client", "transport", "genl", "_dump", "_fastpath", step=step):
        assert list(clients[-1].dump()) == expected
        count += 1
    assert count > 300


INTERRUPTS = """
import random, signal
from ipvsnl import Client, testing

class Interrupt(Exception):
    pass

def interrupt(*_):
    raise Interrupt

signal.signal(signal.SIGALRM, interrupt)
client = Client(transport=testing.Kernel([(testing.service(), [])]))
expected, count = client.info(), 0
while count < 3000:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 2e-4))
        while True:
            client.info()
    except Interrupt:
        count += 1
    assert client.info() == expected
print(count)
"""


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).name)
def test_after_a_signal_at_any_moment_the_client_is_not_busy(python: str) -> None:
    """Interpreters handle signals between instructions that no trace tells apart, such as inside a call."""
    assert run_python(INTERRUPTS, python=python) == "3000\n"


@contextlib.contextmanager
def alarms(seconds: float, handler: Callable[[], None]) -> Iterator[None]:
    """Signals at such intervals."""
    usual = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, usual)


@pytest.fixture
def ticking() -> Iterator[None]:
    """A signal comes every 5 ms, and its handler returns, for a while."""
    ticks = iter(range(3000))
    with alarms(0.005, lambda: None if next(ticks, None) is not None else pytest.fail("this has no end")):
        yield


@pytest.mark.usefixtures("ticking")
def test_signals_more_frequent_than_the_timeout_do_not_make_it_longer() -> None:
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
    def give_up() -> None:
        raise KeyboardInterrupt

    socket = NetlinkSocket(timeout=None)
    with pytest.raises(KeyboardInterrupt), alarms(0.1, give_up):
        socket.recv_into(bytearray(BUFFER_SIZE))
    socket.close()


def test_a_socket_that_a_signal_closes_while_it_waits_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    socket = NetlinkSocket()
    poll = select.poll
    monkeypatch.setattr("select.poll", lambda: socket.close() or poll())
    with pytest.raises(OSError) as caught:
        socket.recv_into(bytearray(BUFFER_SIZE))
    assert caught.value.errno == errno.EBADF
