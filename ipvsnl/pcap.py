"""Capture files: classic pcap of link type 253, LINKTYPE_NETLINK, to and from netlink datagrams.

pcap-savefile(5) defines the format: a file header, then records, each a header and the bytes. With this link type the
bytes begin with a "cooked" header of 16 bytes in network byte order. The datagram follows in the byte order of its
host. tcpdump and Wireshark read and write such files. `tcpdump -i nlmon0 -w FILE` records all netlink of a machine.
"""

import sys
from collections.abc import Iterator
from struct import Struct

from ._dataclass import dataclass
from ._typing import typing
from .errors import DecodeError
from .transport import NETLINK_GENERIC

LINKTYPE_NETLINK = 253
MICROSECONDS, NANOSECONDS = 0xA1B2C3D4, 0xA1B23C4D  # magic numbers, by the unit of the times
UNITS = {MICROSECONDS: 1000, NANOSECONDS: 1}  # in nanoseconds
OTHER_FILES = {  # by their first bytes: what it is, and the command that converts it
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
SNAP_LENGTH = 262144  # as tcpdump writes; netlink datagrams are much smaller


@dataclass
class Record:
    """A datagram of generic netlink and when it was seen, nanoseconds since 1970.

    `room` is Transport.room at that time. A Recorder writes it as the address of the sender. Other programs write no
    address, and `room` is None.
    """

    time: int
    datagram: bytes
    room: "typing.Optional[int]"


def read(file: "typing.BinaryIO") -> Iterator[Record]:
    """Yield the generic netlink of a capture, in order. Another kind of file is a DecodeError that names the kind."""
    unit = _read_file_header(file)
    while True:
        header = file.read(RECORD_HEADER.size)
        if not header:
            return
        seconds, fraction, size, true_size = RECORD_HEADER.unpack(_whole(header, RECORD_HEADER.size))
        if not COOKED_HEADER.size <= size <= SNAP_LENGTH:
            raise DecodeError(f"the capture is damaged: a record of {size} bytes", "record it again")
        packet = _whole(file.read(size), size)
        _, _, length, room, protocol = COOKED_HEADER.unpack_from(packet)
        if protocol != NETLINK_GENERIC:
            continue
        if size < true_size:
            raise DecodeError(f"the capture has only {size} of {true_size} bytes of a datagram", "use tcpdump -s 0")
        time = seconds * 1_000_000_000 + fraction * unit
        yield Record(time, packet[COOKED_HEADER.size :], room if length == ROOM_SIZE else None)


def _read_file_header(file: "typing.BinaryIO") -> int:
    """Return the unit of the records' fractions of a second, in nanoseconds."""
    header = file.read(FILE_HEADER.size)
    if not header:
        raise DecodeError("the capture is empty", "record it again")
    for beginning, (what, command) in OTHER_FILES.items():
        if header.startswith(beginning):
            name = str(getattr(file, "name", "FILE")).replace("'", r"'\''")
            raise DecodeError(f"this is {what}, not a pcap file", f"convert it: {command.format(name)}")
    if int.from_bytes(header[:4][::-1], sys.byteorder) in UNITS:
        what = "the capture is from a machine of the other byte order, and netlink has its host's byte order"
        raise DecodeError(what, f"replay it on a {'big' if sys.byteorder == 'little' else 'little'}-endian machine")
    magic = int.from_bytes(header[:4], sys.byteorder)
    if magic not in UNITS:
        raise DecodeError("this is not a pcap file", "record with --record, or with tcpdump -i nlmon0 -w")
    link_type = FILE_HEADER.unpack(_whole(header, FILE_HEADER.size))[6] & 0xFFFF  # above: frame check sequences
    if link_type != LINKTYPE_NETLINK:
        what = f"the capture has link type {link_type}, not 253 (netlink)"
        raise DecodeError(what, "record an nlmon interface: tcpdump -i nlmon0")
    return UNITS[magic]


def _whole(data: bytes, size: int) -> bytes:
    """Return the data, which must have so many bytes."""
    if len(data) < size:
        raise DecodeError("the capture is cut short: it ends inside a record", "let the recording end by itself")
    return data


def file_header() -> bytes:
    """Encode the header of a capture file."""
    return FILE_HEADER.pack(MICROSECONDS, 2, 4, 0, 0, SNAP_LENGTH, LINKTYPE_NETLINK)


def record(time: int, packet_type: int, datagram: bytes, room: "typing.Optional[int]" = None) -> bytes:
    """Encode the record of a datagram that was seen at `time`, nanoseconds since 1970."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    size = COOKED_HEADER.size + len(datagram)
    length = 0 if room is None else ROOM_SIZE
    cooked = COOKED_HEADER.pack(packet_type, ARPHRD_NETLINK, length, room or 0, NETLINK_GENERIC)
    return RECORD_HEADER.pack(seconds, nanoseconds // 1000, size, size) + cooked + datagram
