"""Dump very often, with failures and abandoned dumps among them, and count what is left behind.

.venv/bin/python tests/tools/soak.py [COUNT]    by default 100000
"""

import contextlib
import errno
import gc
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import netlink  # noqa: E402

from ipvsnl import Client, IPVSError  # noqa: E402

ENTRIES = [
    (netlink.service(PORT=netlink.be16(port)), [netlink.destination(PORT=netlink.be16(n)) for n in range(3)])
    for port in range(1, 4)
]
LONG = [(netlink.service(PORT=netlink.be16(port)), []) for port in range(1, 101)]  # takes a second dump


class Socket(netlink.IPVSKernel):
    """Has a descriptor, as a socket has, and there may be more of it. Only those others have room for the long list."""

    def __init__(self, entries: "list[tuple[netlink.Tree, list[netlink.Tree]]]", room: int = 32000) -> None:
        super().__init__(entries)
        self.room = room
        self.descriptor = os.open(os.devnull, os.O_RDONLY)

    def another(self, offer: int, largest: int = 0) -> "Socket":
        return Socket(self.entries, 64000)

    def close(self) -> None:
        if not self.closed:
            os.close(self.descriptor)
        super().close()


def fault(number: int) -> netlink.Reply:
    return [OSError(errno.ENOBUFS, "lost"), b"\xff" * 40, netlink.done(errno.ENOMEM, seq=2)][number % 3]


def run(count: int) -> None:
    """As many dumps, every tenth with a client of its own, every seventh with a fault, every fifth given up, every
    hundredth of a long list."""
    client = Client(transport=Socket(ENTRIES))
    for number in range(count):
        if number % 10 == 0:
            client.close()
            client = Client(transport=Socket(ENTRIES))
        if number % 7 == 0:
            kernel = Socket(ENTRIES)
            with Client(transport=kernel) as broken:
                reply = fault(number)
                kernel.special = lambda request, reply=reply: [reply]  # type: ignore[misc]
                with contextlib.suppress(IPVSError):
                    broken.services()
        if number % 100 == 0:
            with Client(transport=Socket(LONG)) as long:
                assert len(long.services()) == len(LONG)
        entries = client.dump()
        next(entries)
        if number % 5:
            list(entries)
    client.close()


def usage() -> "tuple[int, int]":
    """Open descriptors, and allocated blocks of memory."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()


if __name__ == "__main__":
    if sys.argv[2:] or not all(argument.isdigit() for argument in sys.argv[1:]):
        sys.exit(__doc__)
    run(1000)
    print("descriptors, blocks:", usage())
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print("descriptors, blocks:", usage())
