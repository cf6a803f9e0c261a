"""A model of a kernel whose lists change while they are dumped, and whose memory may be short.

It stands below NetlinkSocket, in place of socket.socket(), so that the whole way from a datagram's buffer to the merged
list is tested. It does what Linux does, in the order in which Linux does it:

- A dump is filled one datagram at a time, the first by send(), each other one by the recv() before it. It goes on by
  position (ip_vs_genl_dump_services(), ip_vs_genl_dump_dests()).
- Entries are added at the head of a list, or of one of many buckets. A table may be resized. A walk that stands on a
  real server that is just then deleted and added again goes on from the head (Linux 7).
- The buffer of a datagram is as large as the largest offer so far, at most `cap`. If that allocation fails it is a page
  (netlink_dump()). SO_MEMINFO tells what was allocated for all that waits (sk_get_meminfo()).

`python tests/changing.py [CALLS]` prints what comes of many calls: losses, repeats, errors and dumps.
"""

import errno
import os
import random
import struct
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Optional
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import netlink  # noqa: E402

from ipvsnl import DumpInterruptedError  # noqa: E402
from ipvsnl._dump import DUMP_DESTS, DUMP_SERVICES, ListReader  # noqa: E402
from ipvsnl.genl import Connection  # noqa: E402
from ipvsnl.transport import NetlinkSocket  # noqa: E402

SK_BUFF, SHARED_INFO = 256, 320  # struct sk_buff and struct skb_shared_info on x86, in cache lines
PAGE = 4096 - SHARED_INFO
LARGEST, LARGEST_BEFORE_4_9 = 32768 - SHARED_INFO, 16384 - SHARED_INFO
SOL_SOCKET, SO_MEMINFO = 1, 55
SERVICE = netlink.message(
    netlink.IPVS, netlink.pack(netlink.service(STATS=netlink.stats([0] * 10))), command=netlink.NEW_SERVICE
)
DESTINATION = netlink.message(netlink.IPVS, netlink.pack(netlink.destination()), command=netlink.NEW_DEST)
ADDRESS = netlink.address("10.0.0.1"), netlink.address("192.0.2.1")


def enough(block: int) -> bool:
    """Memory is there."""
    return True


def no_order_3(block: int) -> bool:
    """Memory is free, but in blocks of at most 8 KiB."""
    return block <= 8192


def pages(block: int) -> bool:
    """Memory is free, but in single pages."""
    return False


class Kernel:
    """Entries are numbers: those that stay from 0 on, others from 10,000 on. Real servers are a table of one bucket."""

    def __init__(
        self,
        seed: int,
        staying: int,
        churned: int = 0,
        buckets: int = 1,
        pace: float = 0,
        *,
        resize: float = 0,  # the chance of one between two datagrams
        jump: float = 0,  # the chance that a walk jumps, a datagram
        memory: "Callable[[int], bool]" = enough,  # whether there is a block of so many bytes
        cap: int = LARGEST,
        tells: bool = True,  # whether there is SO_MEMINFO, since Linux 4.12
        steady: bool = False,  # as many changes between any two datagrams; else there are bursts
    ) -> None:
        self.random = random.Random(seed)
        self.staying = list(range(staying))
        self.churned = list(range(10_000, 10_000 + churned))
        self.pace, self.resize, self.jump, self.steady = pace, resize, jump, steady
        self.memory, self.cap, self.tells = memory, cap, tells
        self.services = buckets > 1
        self.dumps = self.filled = self.turn = 0
        everyone = self.staying + self.churned
        self.random.shuffle(everyone)
        self.hash(everyone, buckets)

    def hash(self, entries: list[int], buckets: int) -> None:
        self.bucket_of = {entry: self.random.randrange(buckets) for entry in [*self.staying, *self.churned]}
        self.table: list[list[int]] = [[] for _ in range(buckets)]
        for entry in entries:
            self.add(entry)

    def add(self, entry: int) -> None:
        self.table[self.bucket_of[entry]].insert(0, entry)

    def delete(self, entry: int) -> None:
        self.table[self.bucket_of[entry]].remove(entry)

    def entries(self) -> list[int]:
        return [entry for bucket in self.table for entry in bucket]

    def change(self) -> None:
        """What others do between two datagrams: now and then very much, as when the reader has to wait."""
        if self.random.random() < self.resize:
            self.hash(self.entries(), 1536 - len(self.table))  # between 512 and 1024 buckets
        amount = self.pace * self.random.choice([0, 1, 1, 1, 1, 30])
        for _ in range(round(self.pace if self.steady else self.random.uniform(0, 2 * amount))):
            # In turn, all deleted and then all added, as a script does.
            entry = self.churned[self.turn % len(self.churned)]
            deleting = self.turn // len(self.churned) % 2 == 0
            self.turn += 1
            if deleting == (entry in self.table[self.bucket_of[entry]]):
                (self.delete if deleting else self.add)(entry)

    def walk(self, start: int, most: int) -> list[int]:
        """What one datagram shows: at most so many entries from a position on."""
        entries = self.entries()[start : start + most]
        places = [place for place, entry in enumerate(entries) if entry >= 10_000]
        if not places or self.random.random() >= self.jump:
            return entries
        place = self.random.choice(places)
        self.delete(entries[place])
        rest = self.walk(0, most - place - 1)
        self.add(entries[place])
        return entries[: place + 1] + rest

    def message(self, entry: int, seq: int, port: int) -> bytes:
        template, old = (SERVICE, ADDRESS[0]) if self.services else (DESTINATION, ADDRESS[1])
        message = template.replace(old, (entry + (10 << 24)).to_bytes(4, "big") + bytes(12), 1)
        return message[:8] + struct.pack("=II", seq, port) + message[16:]

    def allocate(self, offered: int) -> "tuple[int, int]":
        """How many bytes a datagram may have, and what SO_MEMINFO says of it."""
        size = min(offered, self.cap)
        block = 1 << (size + SHARED_INFO - 1).bit_length()
        if size > PAGE and self.memory(block):
            return size, block + SK_BUFF
        return PAGE, 4096 + SK_BUFF

    def read(self, reader: "ListReader") -> list[int]:
        """The list, as the library reads it."""
        found = reader.read(netlink.IPVS, b"", *([] if self.services else ["inet"]))
        return [int.from_bytes(bytes(map(int, each.address.split("."))), "big") - (10 << 24) for each in found]


class Socket(netlink.FakeSocket):
    """A netlink socket of this kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self.model = kernel
        self.file = open(os.devnull, "rb")  # noqa: SIM115
        self.offered = 0
        self.waiting: list[tuple[bytes, int]] = []  # datagrams, each with what it takes in memory
        self.position: Optional[int] = None  # of the dump that runs

    def getsockname(self) -> "tuple[int, int]":
        return netlink.PORT, 0

    def send(self, request: bytes) -> int:
        self.request = netlink.parse_request(request)
        if self.request.type == netlink.NLCTRL:
            family = netlink.family(netlink.NLCTRL, "nlctrl")
            reply = netlink.message(netlink.NLCTRL, family, command=netlink.NEWFAMILY, seq=self.request.seq)
            self.waiting.append((reply, 512 + SK_BUFF))
            return len(request)
        assert self.request.is_dump
        if self.position is not None:
            self.waiting.append((netlink.refusal(errno.EBUSY, seq=self.request.seq), 512 + SK_BUFF))
            return len(request)
        self.position = 0
        self.model.dumps += 1
        self.fill()
        return len(request)

    def fill(self) -> None:
        assert self.position is not None
        self.model.change()
        self.model.filled += 1
        seq, port = self.request.seq, netlink.PORT
        room, memory = self.model.allocate(self.offered)
        entries = self.model.walk(self.position, room // (len(SERVICE) if self.model.services else len(DESTINATION)))
        self.position += len(entries)
        datagram = b"".join([self.model.message(entry, seq, port) for entry in entries])
        if not entries:
            datagram, self.position = netlink.done(seq=seq, port=port), None
        self.waiting.append((datagram, memory))

    def getsockopt(self, level: int, option: int) -> int:
        assert (level, option) == (SOL_SOCKET, SO_MEMINFO)
        if not self.model.tells:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        return sum(memory for _, memory in self.waiting)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if not self.waiting:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        datagram, _ = self.waiting.pop(0)
        self.offered = max(self.offered, size)
        if self.position is not None:
            self.fill()
        return datagram

    def recv_into(self, buffer: "memoryview | bytearray", size: int = 0, flags: int = 0) -> int:
        datagram = self.recv(size)
        assert len(datagram) <= size, "a datagram was cut off"
        buffer[: len(datagram)] = datagram
        return len(datagram)

    def close(self) -> None:
        self.file.close()


def reader(kernel: Kernel, offer: int = 65536) -> ListReader:
    """A reader over a socket that has received something before, as all of a client's have."""
    transport = NetlinkSocket(offer=offer)
    kernel_list, kernel.table = kernel.table, [[]]
    made = ListReader(Connection(transport), DUMP_SERVICES if kernel.services else DUMP_DESTS)
    before = kernel.pace, kernel.resize
    kernel.pace = kernel.resize = 0
    made.read(netlink.IPVS, b"", *([] if kernel.services else ["inet"]))
    kernel.table, (kernel.pace, kernel.resize) = kernel_list, before
    kernel.dumps = kernel.filled = 0
    return made


def sockets_of(kernel: Kernel) -> Any:
    """While this context lasts every netlink socket is one of this kernel."""
    return patch("socket.socket", lambda *arguments: Socket(kernel))


def cause(error: DumpInterruptedError) -> str:
    return "errors for want of memory" if "memory" in str(error) else "errors for changes"


def read_often(kernel: Kernel, calls: int, offer: int = 65536) -> "Counter[str]":
    """What comes of so many calls."""
    counted: Counter[str] = Counter(calls=calls)
    with sockets_of(kernel):
        made = reader(kernel, offer)
        for _ in range(calls):
            try:
                found = kernel.read(made)
            except DumpInterruptedError as error:
                counted[cause(error)] += 1
                continue
            stayed = [entry for entry in found if entry < 10_000]
            counted["losses"] += not set(stayed).issuperset(kernel.staying)
            counted["repeats"] += len(set(found)) != len(found)
            in_order = stayed == [entry for entry in kernel.entries() if entry < 10_000]
            counted["reordered"] += not kernel.resize and not in_order
        counted["dumps"] = kernel.dumps
    return counted


def chance(seed: int, failing: float) -> "Callable[[int], bool]":
    """Memory of which so large a share of all allocations beyond a page fails."""
    luck = random.Random(seed)
    return lambda block: luck.random() >= failing


LENGTHS = [5, 12, 21, 30, 44, 60, 89, 100, 180, 300, 600]


MEMORIES: "dict[str, Callable[[int], Any]]" = {
    "enough memory": lambda seed: {},
    "5 % of the allocations fail": lambda seed: {"memory": chance(seed, 0.05)},
    "90 % of the allocations fail": lambda seed: {"memory": chance(seed, 0.9)},
    "no block of order 3": lambda seed: {"memory": no_order_3},
    "all allocations fail": lambda seed: {"memory": pages},
    "16 KiB, no SO_MEMINFO": lambda seed: {"cap": LARGEST_BEFORE_4_9, "tells": False},
}
LISTS: "dict[str, dict[str, Any]]" = {
    "real servers": {"buckets": 1, "steady": True},
    "services": {"buckets": 256, "steady": True},
    "services of Linux 7": {"buckets": 512, "steady": True, "resize": 0.02},
    "real servers of Linux 7, bursts": {"buckets": 1, "jump": 0.1},
}


def main(calls: int) -> None:
    columns = ["calls", "losses", "repeats", "reordered", "errors for changes", "errors for want of memory", "dumps"]
    for memory, of_seed in MEMORIES.items():
        for name, options in LISTS.items():
            total: Counter[str] = Counter()
            for seed, length in enumerate(LENGTHS):
                for offer in (65536, 7872):
                    kernel = Kernel(seed, length, 1 + length // 4, pace=1, **options, **of_seed(seed))
                    total += read_often(kernel, max(1, calls // len(LENGTHS) // 2), offer)
            print(f"{name}, {memory}: ", ", ".join(f"{column} {total[column]}" for column in columns), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 220)
