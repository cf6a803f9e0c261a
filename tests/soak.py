"""Many dumps, also such that fail or are given up: does anything grow?

python tests/soak.py [COUNT]        by default 100000
"""

import contextlib
import errno
import gc
import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]

import netlink  # noqa: E402

from ipvsnl import Client, IPVSError  # noqa: E402

ENTRIES = [
    (netlink.service(PORT=netlink.be16(port)), [netlink.destination(PORT=netlink.be16(n)) for n in range(3)])
    for port in range(1, 4)
]


def fault(number: int) -> netlink.Reply:
    return [OSError(errno.ENOBUFS, "lost"), b"\xff" * 40, netlink.done(errno.ENOMEM, seq=2)][number % 3]


def run(count: int) -> None:
    """As many dumps, every tenth with a client of its own, every seventh with a fault, every fifth given up."""
    client = Client(transport=netlink.IPVSKernel(ENTRIES))
    for number in range(count):
        if number % 10 == 0:
            client.close()
            client = Client(transport=netlink.IPVSKernel(ENTRIES))
        if number % 7 == 0:
            kernel = netlink.IPVSKernel(ENTRIES)
            broken = Client(transport=kernel)
            reply = fault(number)
            kernel.special = lambda request, reply=reply: [reply]  # type: ignore[misc]
            with contextlib.suppress(IPVSError):
                broken.services()
        entries = client.dump()
        next(entries)
        if number % 5:
            list(entries)


def usage() -> "tuple[int, int]":
    """Open descriptors, and allocated blocks of memory."""
    gc.collect()
    return len(os.listdir("/proc/self/fd")), sys.getallocatedblocks()


if __name__ == "__main__":
    run(1000)
    print("descriptors, blocks:", usage())
    run(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
    print("descriptors, blocks:", usage())
