"""Bytes as nobody would send them: mutated datagrams and captures. What comes of them is a typed error or, as far as
there is an oracle, the right answer; and the next answer is as if nothing had been.

tests/test_fuzz.py tries the same seeds in each run. `.venv/bin/python tests/tools/fuzz.py SECONDS` goes on with others
and prints the seeds of what it finds.
"""

import contextlib
import io
import random
import sys
import time
from pathlib import Path
from unittest.mock import patch

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import netlink  # noqa: E402
from conftest import KERNELS, capture  # noqa: E402
from dumper import Dumper, one_by_one  # noqa: E402

from ipvsnl import Client, IPVSError, _decode, _dump, genl  # noqa: E402
from ipvsnl.capture import Replay  # noqa: E402

LENGTHS = [0, 1, 3, 4, 5, 15, 16, 17, 0x7FFF, 0xFFFF]
NUMBERS = [0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The bytes with a few changes of the kinds that hurt readers."""
    copy = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        if len(copy) < 8:
            break
        at = chance.randrange(len(copy)) & ~3
        kind = chance.randrange(6)
        if kind == 0:
            copy[at : at + 2] = chance.choice(LENGTHS).to_bytes(2, sys.byteorder)
        elif kind == 1:
            copy[at : at + 4] = chance.choice(NUMBERS).to_bytes(4, sys.byteorder)
        elif kind == 2:
            copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
        elif kind == 3:
            del copy[chance.randrange(len(copy)) :]
        elif kind == 4:
            end = at + 4 * chance.randrange(1, 20)
            copy[at:at] = copy[at:end]
        else:
            del copy[at : at + 4 * chance.randrange(1, 20)]
    return bytes(copy)


def good_datagram(kernel: str, reply: int) -> bytes:
    """Services, or real servers, as that kernel sent them."""
    command = {netlink.NEW_SERVICE: netlink.GET_SERVICE, netlink.NEW_DEST: netlink.GET_DEST}[reply]
    real = netlink.replies_to(capture(kernel), command=command)[0]
    return netlink.readdress(real, seq=1, port=netlink.PORT, family=netlink.IPVS)


@patch.object(_dump.DUMP_DESTS, "jumps", False)  # a message may be doubled here
def read_datagram(datagram: bytes, good: bytes, reply: int) -> None:
    """As a client reads it that has read a good one before, so that its fast path is on; after it a good one again.
    What each message is on its own is the oracle."""
    dumper = Dumper(reply)
    for each in (good, datagram, good):
        read, expected = dumper.read(each), one_by_one(each, reply)
        assert read == expected, (each.hex(), read, expected)


def read_capture(data: bytes) -> None:
    with contextlib.suppress(IPVSError):
        list(Client(transport=Replay(io.BytesIO(data))).dump())


def read_attributes(data: bytes) -> None:
    for decode in (
        _decode.decode_service,
        _decode.decode_info,
        _decode.decode_timeouts,
        _decode.decode_daemon,
        _decode.decode_key,
    ):
        with contextlib.suppress(IPVSError):
            decode(data)
    with contextlib.suppress(IPVSError):
        _decode.decode_destination(data, "inet")
    with contextlib.suppress(IPVSError):
        for message in genl.messages(data):
            genl.result(message)


def case(seed: int) -> None:
    chance = random.Random(seed)
    data = capture(chance.choice(KERNELS), chance.choice(["stats.pcap", "control.pcap"]))
    kind = seed % 4
    if kind == 0:
        read_capture(mutate(data, chance))
    elif kind == 1:
        records = netlink.records(data)
        datagram = netlink.datagram(chance.choice(records))
        read_attributes(mutate(datagram[20:], chance))
        read_attributes(mutate(datagram, chance))
    else:
        reply = chance.choice([netlink.NEW_SERVICE, netlink.NEW_DEST])
        good = good_datagram(chance.choice(KERNELS), reply)
        read_datagram(mutate(good, chance), good, reply)


if __name__ == "__main__":
    end, seed = time.monotonic() + float(sys.argv[1]), 1000
    while time.monotonic() < end:
        try:
            case(seed)
        except Exception as error:
            print(f"seed {seed}: {error!r}")
        seed += 1
    print(f"{seed - 1000} cases")
