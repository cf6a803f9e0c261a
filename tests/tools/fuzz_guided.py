"""Search for bytes that break a reader, guided by coverage, with atheris.

    .venv/bin/python -m pip install -r tests/tools/requirements.txt
    .venv/bin/python tests/tools/fuzz_guided.py [CORPUS-FOLDER] [-max_total_time=SECONDS]

Other options of libFuzzer work as well. The search begins with the captures of real kernels. The first byte tells how
the others are read: as a capture, as attributes and messages, or as a datagram of services or of real servers. A
finding is written to a file; make it a test.
"""

import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

try:
    import atheris
except ModuleNotFoundError:
    sys.exit("this needs atheris: run .venv/bin/python -m pip install -r tests/tools/requirements.txt")

with atheris.instrument_imports(include=["ipvsnl"]):
    from tools import fuzz

import netlink  # noqa: E402
from conftest import KERNELS, capture  # noqa: E402


def read(data: bytes) -> None:
    kind, rest = data[:1], data[1:]
    if kind == b"0":
        fuzz.read_capture(rest)
    elif kind == b"1":
        fuzz.read_attributes(rest)
    else:
        reply = netlink.NEW_SERVICE if kind == b"2" else netlink.NEW_DEST
        fuzz.read_datagram(rest, fuzz.good_datagram(KERNELS[-1], reply), reply)


def seeds(folder: Path) -> None:
    for kernel in KERNELS:
        for kind, reply in ((b"2", netlink.NEW_SERVICE), (b"3", netlink.NEW_DEST)):
            (folder / f"{kernel}-{reply}").write_bytes(kind + fuzz.good_datagram(kernel, reply))
        for name in ("stats.pcap", "control.pcap"):
            data = capture(kernel, name)
            (folder / f"{kernel}-{name}").write_bytes(b"0" + data)
            for number, record in enumerate(netlink.records(data)):
                datagram = netlink.datagram(record)
                (folder / f"{kernel}-{name}-{number}-attributes").write_bytes(b"1" + datagram[20:])
                (folder / f"{kernel}-{name}-{number}-messages").write_bytes(b"1" + datagram)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        seeds(Path(name))
        atheris.Setup([*sys.argv, name], lambda data: read(bytes(data)))
        atheris.Fuzz()
