"""The file format of captures: what is written, what is read, and what each broken or other file is said to be."""

import gzip
import io
import re
import struct
import subprocess
from pathlib import Path

import netlink
import pytest
from conftest import capture

from ipvsnl import DecodeError, pcap

GOOD = capture("linux-6.1")
RECORDS = netlink.records(GOOD)
OTHER_ORDER = ">" if struct.pack("=H", 1) == struct.pack("<H", 1) else "<"


def read(content: bytes) -> "list[pcap.Record]":
    return list(pcap.read(io.BytesIO(content)))


def test_a_recording_is_a_classic_pcap_of_link_type_253() -> None:
    magic, major, minor, _, _, snap, link_type = struct.unpack("=IHHiIII", pcap.file_header())
    assert (magic, major, minor, link_type) == (netlink.MICROSECONDS, 2, 4, netlink.LINKTYPE_NETLINK)
    assert snap >= 32768 + 16


def test_a_record_is_as_the_format_says() -> None:
    seconds, fraction, size, true_size = struct.unpack_from("=IIII", pcap.record(1_500_000_000_000_001_999, 4, b"1234"))
    assert (seconds, fraction, size, true_size) == (1_500_000_000, 1, 20, 20)
    assert pcap.record(0, 4, b"1234")[16:] == bytes([0, 4, 3, 56]) + bytes(10) + bytes([0, 16]) + b"1234"


def test_the_room_of_a_datagram_is_the_address_of_its_sender() -> None:
    assert pcap.record(0, 0, b"", 0x01020304)[16:] == bytes([0, 0, 3, 56, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 16])


@pytest.mark.parametrize(
    ("magic", "fraction", "nanoseconds"), [(netlink.MICROSECONDS, 123456, 123456000), (netlink.NANOSECONDS, 9, 9)]
)
def test_a_record_has_its_time_and_datagram_and_no_room(magic: int, fraction: int, nanoseconds: int) -> None:
    content = netlink.pcap([netlink.record(b"1234", seconds=17, fraction=fraction)], magic=magic)
    assert read(content) == [pcap.Record(17 * 10**9 + nanoseconds, b"1234", None)]


def test_the_room_that_a_recorder_wrote_is_read_even_if_it_is_0() -> None:
    content = pcap.file_header() + pcap.record(5000, 0, b"1", 3328) + pcap.record(6000, 0, b"2", 0)
    assert read(content) == [pcap.Record(5000, b"1", 3328), pcap.Record(6000, b"2", 0)]


def test_other_netlink_is_skipped_even_if_it_is_cut_short() -> None:
    route, short = netlink.record(b"a route", protocol=0), netlink.record(b"a ro", protocol=0, true_size=999)
    found = read(netlink.pcap([route, short, netlink.record(b"1234"), route]))
    assert [record.datagram for record in found] == [b"1234"]


def test_what_a_file_header_says_of_frame_checks_does_not_matter() -> None:
    """The upper half of the link type, pcap-savefile(5)."""
    assert read(netlink.pcap(RECORDS, link_type=0x1400_0000 | netlink.LINKTYPE_NETLINK)) == read(GOOD)


def test_the_command_that_converts_a_file_quotes_its_name(tmp_path: Path) -> None:
    path = tmp_path / "it's.pcap.gz"
    path.write_bytes(gzip.compress(GOOD))
    with path.open("rb") as file, pytest.raises(DecodeError) as caught:
        next(pcap.read(file))
    (command,) = re.findall("convert it: (.*) > NEW", str(caught.value))
    assert subprocess.run(command, shell=True, capture_output=True).stdout == GOOD


def snapped(size: int) -> list[bytes]:
    """The records as a capture with this snap length has them."""
    short = []
    for record in RECORDS:
        seconds, fraction, _, true_size = struct.unpack_from("=IIII", record)
        packet = record[16 : 16 + size]
        short.append(struct.pack("=IIII", seconds, fraction, len(packet), true_size) + packet)
    return short


BROKEN = {
    "an empty file": (b"", "empty"),
    "one byte": (GOOD[:1], ""),
    "a cut file header": (GOOD[:23], "cut short"),
    "a text": (b"ipvs_virtual_server,address=10.0.0.1\n" * 9, "not a pcap"),
    "a gzip file": (b"\x1f\x8b\x08\0" + bytes(60), "gunzip -c "),
    "a bzip2 file": (b"BZh9" + bytes(60), "bunzip2 -c "),
    "an xz file": (b"\xfd7zXZ\0" + bytes(60), "unxz -c "),
    "a zstd file": (b"\x28\xb5\x2f\xfd" + bytes(60), "unzstd -c "),
    "pcapng": (b"\x0a\x0d\x0d\x0a" + struct.pack("=III", 28, 0x1A2B3C4D, 1) + bytes(16), "editcap -F pcap "),
    "Ethernet": (netlink.pcap(RECORDS, link_type=1), "link type 1,"),
    "cooked Linux packets": (netlink.pcap(RECORDS, link_type=113), "link type 113,"),
    "the other byte order": (netlink.pcap(RECORDS, order=OTHER_ORDER), "byte order"),
    "the other byte order, nanoseconds": (
        netlink.pcap(RECORDS, magic=netlink.NANOSECONDS, order=OTHER_ORDER),
        "byte order",
    ),
    "a cut record": (GOOD[:-1], "cut short"),
    "a cut record header": (GOOD[: 24 + 7], "cut short"),
    "a snap length of 96": (netlink.pcap(snapped(96)), "96 of"),
    "an impossible record": (GOOD[:24] + struct.pack("=IIII", 1, 1, 2**32 - 1, 2**32 - 1) + bytes(99), "damaged"),
    "a record without its header": (GOOD[:24] + struct.pack("=IIII", 1, 1, 15, 15) + bytes(15), "damaged"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_file_that_cannot_be_read_is_an_error_that_says_what_it_is(what: str) -> None:
    content, said = BROKEN[what]
    with pytest.raises(DecodeError) as caught:
        read(content)
    assert said in str(caught.value)


def test_a_capture_that_is_cut_within_a_record_is_an_error() -> None:
    content = capture("linux-6.1", "control.pcap")
    ends = {24}
    for record in netlink.records(content):
        ends.add(max(ends) + len(record))
    for size in range(len(content)):
        if size in ends:
            assert len(list(pcap.read(io.BytesIO(content[:size])))) == sorted(ends).index(size)
        else:
            with pytest.raises(DecodeError):
                list(pcap.read(io.BytesIO(content[:size])))
