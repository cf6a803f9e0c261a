"""Requests that a kernel refuses, byte by byte, for testing.Kernel and for real ones: the two must not diverge."""

import errno
import struct


def attribute(number: int, payload: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(payload), number) + payload + bytes(-len(payload) % 4)


def service_request(
    family: int = 2, scheduler: bytes = b"rr", last: int = 1, rest: "tuple[int, ...]" = (7, 8)
) -> bytes:
    key = [(1, struct.pack("=H", family)), (2, struct.pack("=H", 6)), (3, bytes([10, 0, 0, last])), (4, b"\0P")]
    settings = [
        (6, scheduler + b"\0"),
        (9, b"\xff" * 4),
        *[(number, bytes(8 if number == 7 else 4)) for number in rest],
    ]
    return attribute(1, b"".join([attribute(*each) for each in key + settings]))


ABSENT = service_request(last=99)


def dest_request(address: "list[int]", family: int = 2, rest: "tuple[int, ...]" = (3, 4, 5, 6)) -> bytes:
    values = [(1, bytes(address)), (2, b"\0P"), *[(number, bytes(4)) for number in rest]]
    return attribute(2, b"".join([attribute(*each) for each in [*values, (11, struct.pack("=H", family))]]))


def daemon_request(state: int = 1, group: "list[int]" = [224, 0, 0, 81], interface: bytes = b"lo") -> bytes:  # noqa: B006
    values = [(1, struct.pack("=I", state)), (2, interface + b"\0"), (3, bytes(4)), (5, bytes(group))]
    return attribute(3, b"".join([attribute(*each) for each in values]))


# Requests that are wrong in two ways: the errno, the command, the attributes. The service 10.0.0.1:80 exists.
FIRST_OF_TWO = [
    (errno.ESRCH, 5, ABSENT),
    (errno.ESRCH, 5, ABSENT + dest_request([192, 0, 2, 9], rest=(3, 4, 5))),
    (errno.ESRCH, 6, ABSENT + dest_request([192, 0])),
    (errno.ESRCH, 7, ABSENT + attribute(2, b"\1")),
    (errno.EAFNOSUPPORT, 5, service_request(3) + attribute(2, b"\1")),
    (errno.EINVAL, 5, service_request() + attribute(2, b"\1")),
    (errno.EINVAL, 5, service_request() + dest_request([192, 0, 2, 9], 3, rest=(3, 4, 5))),
    (errno.EINVAL, 2, service_request(last=99, rest=(7,))),
    (errno.ESRCH, 2, service_request(last=99, scheduler=b"nosuch")),
    (errno.ENOENT, 2, service_request(scheduler=b"nosuch")),
    (errno.ENODEV, 9, daemon_request(state=3, interface=b"nosuch0")),
    (errno.ENODEV, 9, daemon_request(state=2, interface=b"nosuch0")),
    (errno.EINVAL, 9, daemon_request(group=[10, 0, 0, 1], interface=b"nosuch0")),
]
