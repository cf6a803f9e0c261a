"""A long hunt for bytes that break a reader, guided by coverage, with atheris from PyPI.

    python tests/fuzz_guided.py [CORPUS-FOLDER] [-max_total_time=SECONDS]    and other options of libFuzzer

It begins with the captures of real kernels. The first byte says how the others are read: as a capture, as attributes
and messages, or as the datagrams of a conversation. What it finds it writes down, and is to become a test.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ipvsnl"]):
    import test_fuzz

import netlink
from conftest import KERNELS, capture


def read(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"0":
        test_fuzz.read_capture(rest)
    elif kind == b"1":
        test_fuzz.read_attributes(rest)
    else:
        test_fuzz.read_datagrams([rest])


def seeds(folder: Path) -> None:
    for kernel in KERNELS:
        for name in ("stats.pcap", "control.pcap"):
            data = capture(kernel, name)
            (folder / f"{kernel}-{name}").write_bytes(b"0" + data)
            for number, record in enumerate(netlink.records(data)):
                datagram = netlink.datagram(record)
                mine = netlink.readdress(datagram, seq=3, port=netlink.PORT, family=netlink.IPVS)
                (folder / f"{kernel}-{name}-{number}-attributes").write_bytes(b"1" + datagram[20:])
                (folder / f"{kernel}-{name}-{number}-messages").write_bytes(b"1" + datagram)
                (folder / f"{kernel}-{name}-{number}-conversation").write_bytes(b"2" + mine)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        seeds(Path(name))
        atheris.Setup([*sys.argv, name], lambda data: read(bytes(data)))
        atheris.Fuzz()
