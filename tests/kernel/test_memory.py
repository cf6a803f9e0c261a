"""Long lists if the kernel cannot have large datagrams, and lists whose last datagram is nearly full."""

from __future__ import annotations

import mmap
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from director import VIP, configure
from linux import run

from ipvsnl import Client
from ipvsnl.genl import CTRL_CMD_GETFAMILY, GENL_ID_CTRL, NLM_F_DUMP, Connection
from ipvsnl.transport import LEAST_ROOM, SMALL_OFFER, NetlinkSocket

PAGE = mmap.PAGESIZE
MIB = 1 << 20
SO_SNDBUFFORCE = 32


class Seen(list[int]):
    """Notes the room of each datagram that is received, and how many requests are sent."""

    requests = 0

    def __init__(self) -> None:
        self.then: list[Callable[[], object]] = []  # what to do when the next datagram was received


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    seen, send, receive = Seen(), NetlinkSocket.send, NetlinkSocket.recv_into

    def count(self: NetlinkSocket, request: bytes) -> None:
        seen.requests += 1
        send(self, request)

    def note(self: NetlinkSocket, buffer: bytearray) -> int:
        size = receive(self, buffer)
        seen.append(self.room)
        if seen.then:
            seen.then.pop()()
        return size

    monkeypatch.setattr(NetlinkSocket, "send", count)
    monkeypatch.setattr(NetlinkSocket, "recv_into", note)
    return seen


def real_servers(count: int) -> list[str]:
    return [f"192.0.{number >> 8}.{number & 255}" for number in range(count)]


def set_up(count: int) -> None:
    configure(f"-A -t {VIP}:80 -s rr\n" + "".join(f"-a -t {VIP}:80 -r {each}:80 -g\n" for each in real_servers(count)))


@pytest.mark.parametrize("count", [89, 90, 180, 181, 182, 271])
def test_no_length_is_blind(count: int, seen: Seen) -> None:
    """One real server is deleted during the first dump, and nothing changes after that."""
    set_up(count)
    with Client() as client:
        (web,) = client.services()
        assert len(client.dests(web)) == count  # the socket has offered the largest buffer from then on
        seen.requests = 0
        last = real_servers(count)[-1]
        seen.then.append(lambda: run("ipvsadm", "-d", "-t", f"{VIP}:80", "-r", f"{last}:80"))
        found = {destination.address for destination in client.dests(web)}
        assert found >= {*real_servers(count)} - {last}
        assert seen.requests <= 5


def free_blocks() -> list[int]:
    """How many blocks of each order are free."""
    lines = Path("/proc/buddyinfo").read_text().splitlines()
    return [sum(numbers) for numbers in zip(*(map(int, line.split()[4:]) for line in lines))]


def gets_large_blocks(probe: Connection) -> bool:
    """Tell whether the kernel allocates 32 KiB for a datagram."""
    probe.begin(GENL_ID_CTRL, NLM_F_DUMP, CTRL_CMD_GETFAMILY, b"", "probing")
    probe.receive("probing")
    return probe.transport.room > SMALL_OFFER


def set_sysctl(name: str, value: str) -> str:
    path = Path("/proc/sys", name)
    before = path.read_text()
    path.write_text(value)
    return before


@contextmanager
def fragmented_memory() -> Iterator[None]:
    """Memory is free, but in no block of order 3.

    Locked pages fill the memory, of which three in eight are freed again. Data in the buffers of sockets takes the
    larger blocks that are left. Compaction moves no locked pages, and the kernel's threads do not run before us.
    """
    with ExitStack() as stack:
        for name, value in {"vm/compact_unevictable_allowed": "0", "kernel/sched_rt_runtime_us": "-1"}.items():
            stack.callback(set_sysctl, name, set_sysctl(name, value))
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        stack.callback(os.sched_setscheduler, 0, os.SCHED_OTHER, os.sched_param(0))
        Path("/proc/sys/vm/drop_caches").write_text("3")
        free = sum(blocks << order for order, blocks in enumerate(free_blocks())) * PAGE
        memory = mmap.mmap(-1, (free - 100 * MIB) & -MIB, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        stack.callback(memory.close)
        memory.madvise(mmap.MADV_NOHUGEPAGE)
        import ctypes

        libc = ctypes.CDLL(None, use_errno=True)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        assert libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(len(memory))) == 0, os.strerror(ctypes.get_errno())
        for offset in range(0, min(len(memory), 160 * MIB), 8 * PAGE):
            libc.munlock(ctypes.c_void_p(address + offset), ctypes.c_size_t(3 * PAGE))
            memory.madvise(mmap.MADV_DONTNEED, offset, 3 * PAGE)
        probe = Connection(NetlinkSocket())
        stack.callback(probe.transport.close)
        probe.families()
        refusals = 0
        while refusals < 5:
            if not gets_large_blocks(probe):
                refusals += 1
                time.sleep(0.2)  # the kernel may free some more
                continue
            refusals = 0
            one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.callback(one.close)
            stack.callback(other.close)
            one.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 4 * MIB)
            one.setblocking(False)
            with suppress(BlockingIOError):  # this one is full
                for _ in range(30):
                    one.send(bytes(36000))  # a page, and a block of order 3 while there is one
        print(f"\nfree blocks by order: {free_blocks()}")
        yield
        print(f"free blocks by order: {free_blocks()}")


@pytest.mark.skipif(
    os.uname().release.startswith("5."), reason="Linux 5.10 waits for kswapd, which cannot run before us"
)
@pytest.mark.parametrize("count", [22, 100, 300])
def test_fragmented_memory_is_enough(count: int, seen: Seen, disposable_kernel: None) -> None:
    set_up(count)
    configure("".join(f"-A -t {VIP}:{port} -s rr\n" for port in range(1000, 1000 + count)))
    with Client() as client:
        web = client.service("tcp", VIP, 80)
        services, destinations = client.services(), client.dests(web)
        assert (len(services), len(destinations)) == (count + 1, count)
        with fragmented_memory():
            for _ in range(10):  # at any moment the kernel may free a large block, and it is taken at once
                del seen[:]
                seen.requests = 0
                assert [each.port for each in client.services()] == [each.port for each in services]
                assert [each.address for each in client.dests(web)] == [each.address for each in destinations]
                rooms = set(seen)
                if max(rooms) <= SMALL_OFFER:
                    break
        print(f"{count}: {seen.requests} requests, rooms {sorted(rooms)}")
        assert max(rooms) <= SMALL_OFFER and LEAST_ROOM in rooms, "memory was not fragmented"
