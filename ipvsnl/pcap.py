"""Capture files: classic pcap of link type 253, LINKTYPE_NETLINK, to and from netlink datagrams.

The format is that of pcap-savefile(5): a file header, then records, each a header and the bytes. With this link type
the bytes begin with a "cooked" header of 16, always in network byte order; then comes the datagram, as the host had it.
tcpdump and Wireshark read and write such files, and `tcpdump -i nlmon0 -w FILE` sees all netlink of a machine.
"""

import sys
from struct import Struct

from ._dataclass import dataclass
from ._typing import typing
from .errors import DecodeError
from .transport import NETLINK_GENERIC

LINKTYPE_NETLINK = 253
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D  # the magic numbers, which also tell the unit of the times
OTHER_FILES = {  # by their first bytes: what they are, and the command that makes a pcap file of one
    b"\x0a\x0d\x0d\x0a": ("a pcapng file", "editcap -F pcap '{}' NEW"),
    b"\x1f\x8b": ("a gzip file", "gunzip -c '{}' > NEW"),
    b"BZh": ("a bzip2 file", "bunzip2 -c '{}' > NEW"),
    b"\xfd7zXZ\0": ("an xz file", "unxz -c '{}' > NEW"),
    b"\x28\xb5\x2f\xfd": ("a zstd file", "unzstd -c '{}' > NEW"),
}

FILE_HEADER = Struct("=IHHiIII")  # magic, version 2.4, time zone, accuracy, snap length, link type
RECORD_HEADER = Struct("=IIII")  # seconds, microseconds or nanoseconds, bytes in the file, bytes on the wire
COOKED_HEADER = Struct(">HHHI4xH")  # packet type, ARPHRD_NETLINK, address length, address, netlink protocol
ARPHRD_NETLINK = 824
ROOM_SIZE = 4  # bytes
TO_US, FROM_US = 0, 4  # packet types
SNAP_LENGTH = 262144  # as tcpdump writes; no netlink datagram is near it


@dataclass
class Record:
    """A datagram of generic netlink and when it was seen, nanoseconds since 1970.

    `room` is what the transport of a Recorder said about it (Transport.room), which is in the file as the address of
    the datagram's sender. Other programs write no address, and `room` is None.
    """

    time: int
    datagram: bytes
    room: "typing.Optional[int]"


def read(file: "typing.BinaryIO") -> "typing.Iterator[Record]":
    """The generic netlink of a capture, in order. What the file is, if it is no such capture, is a DecodeError."""
    unit = _read_file_header(file)
    while True:
        header = file.read(RECORD_HEADER.size)
        if not header:
            return
        if len(header) < RECORD_HEADER.size:
            raise _cut_short()
        seconds, fraction, size, true_size = RECORD_HEADER.unpack(header)
        if size > SNAP_LENGTH:
            raise DecodeError(f"the capture is damaged: a record of {size} bytes", "record it again")
        packet = file.read(size)
        if len(packet) < size:
            raise _cut_short()
        if size < COOKED_HEADER.size:
            raise DecodeError(f"the capture is damaged: a record of {size} bytes, its header has 16", "record it again")
        _, _, length, room, protocol = COOKED_HEADER.unpack_from(packet)
        if protocol != NETLINK_GENERIC:
            continue
        if size < true_size:
            raise DecodeError(f"the capture has only {size} of {true_size} bytes of a datagram", "use tcpdump -s 0")
        time = seconds * 1_000_000_000 + fraction * unit
        yield Record(time, packet[COOKED_HEADER.size :], room if length == ROOM_SIZE else None)


def _read_file_header(file: "typing.BinaryIO") -> int:
    """The unit of the records' fractions of a second, in nanoseconds."""
    header = file.read(FILE_HEADER.size)
    if not header:
        raise DecodeError("the capture is empty", "record it again")
    magic = int.from_bytes(header[:4], sys.byteorder)
    for beginning, (what, command) in OTHER_FILES.items():
        if header.startswith(beginning):
            name = str(getattr(file, "name", "FILE")).replace("'", r"'\''")
            raise DecodeError(f"this is {what}, not a pcap file", f"convert it: {command.format(name)}")
    if int.from_bytes(header[:4][::-1], sys.byteorder) in (MICROSECONDS, NANOSECONDS):
        raise DecodeError(
            "the capture is from a machine of the other byte order, and netlink is in its host's order",
            f"replay it on a {'big' if sys.byteorder == 'little' else 'little'}-endian machine",
        )
    if magic not in (MICROSECONDS, NANOSECONDS):
        raise DecodeError("this is not a pcap file", "record with --record, or with tcpdump -i nlmon0 -w")
    if len(header) < FILE_HEADER.size:
        raise _cut_short()
    link_type = FILE_HEADER.unpack(header)[6] & 0xFFFF  # the upper half is about frame check sequences
    if link_type != LINKTYPE_NETLINK:
        raise DecodeError(
            f"the capture is of link type {link_type}, not of 253 (netlink)",
            "record an nlmon interface: tcpdump -i nlmon0",
        )
    return 1000 if magic == MICROSECONDS else 1


def _cut_short() -> DecodeError:
    return DecodeError("the capture is cut short: it ends inside a record", "let the recording end by itself")


def file_header() -> bytes:
    """What a capture begins with."""
    return FILE_HEADER.pack(MICROSECONDS, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_NETLINK)


def record(time: int, packet_type: int, datagram: bytes, room: "typing.Optional[int]" = None) -> bytes:
    """Encode one datagram, seen at `time` (nanoseconds since 1970), as it stands in a capture."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    size = COOKED_HEADER.size + len(datagram)
    length = 0 if room is None else ROOM_SIZE
    cooked = COOKED_HEADER.pack(packet_type, ARPHRD_NETLINK, length, room or 0, NETLINK_GENERIC)
    return RECORD_HEADER.pack(seconds, nanoseconds // 1000, size, size) + cooked + datagram
