"""The requests that change testing.Kernel, byte by byte: what it refuses, and which of two errors it reports."""

import errno
import struct

import pytest

from ipvsnl import Daemon, genl, testing


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


def refusal(kernel: testing.Kernel, command: int, attributes: bytes) -> int:
    """The errno of the reply, 0 for success."""
    kernel.send(genl.request(testing.FAMILY, 5, 1, 1, command, attributes))  # with NLM_F_ACK
    buffer = bytearray(4096)
    kernel.recv_into(buffer)
    return -int(struct.unpack_from("=i", buffer, 16)[0])


@pytest.mark.parametrize(
    "number, command, attributes",
    [
        (errno.EOPNOTSUPP, 18, b""),
        (errno.EOPNOTSUPP, 14, b""),
        (errno.EINVAL, 1, b""),
        (errno.EINVAL, 1, service_request(scheduler=b"s" * 16)),
        (errno.EEXIST, 1, service_request()),
        (errno.EEXIST, 1, service_request(scheduler=b"nosuch")),
        (errno.EAFNOSUPPORT, 1, service_request(3)),
        (errno.EAFNOSUPPORT, 3, service_request(3)),
        (errno.EINVAL, 16, attribute(1, b"")),
        (0, 16, b""),
        (0, 5, service_request() + dest_request([127, 0, 0, 1])),
        (errno.EINVAL, 5, service_request() + dest_request([127, 255, 255, 255])),
        (errno.EAFNOSUPPORT, 5, service_request() + dest_request([192, 0, 2, 9], 3)),
        (0, 9, daemon_request()),
        (errno.EINVAL, 9, daemon_request(state=3)),
        (errno.EINVAL, 9, daemon_request(group=[10, 0, 0, 1])),
    ],
)
def test_a_request_is_refused_with_the_errno_of_real_kernels(number: int, command: int, attributes: bytes) -> None:
    assert refusal(testing.Kernel([(testing.service(), [])]), command, attributes) == number


@pytest.mark.parametrize(
    "number, command, attributes",
    [
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
    ],
)
def test_of_two_errors_the_first_of_the_kernel_counts(number: int, command: int, attributes: bytes) -> None:
    kernel = testing.Kernel([(testing.service(), [])])
    kernel.daemons = [Daemon("backup", "lo", 0, 1472, "224.0.0.81", 8848, 1)]
    assert refusal(kernel, command, attributes) == number
