"""The requests that change testing.Kernel, byte by byte: what it refuses, and which of two errors it reports."""

import errno
import struct

import pytest
from refusals import FIRST_OF_TWO, attribute, daemon_request, dest_request, service_request

from ipvsnl import Daemon, genl, testing


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


@pytest.mark.parametrize("number, command, attributes", FIRST_OF_TWO)
def test_of_two_errors_the_first_of_the_kernel_counts(number: int, command: int, attributes: bytes) -> None:
    kernel = testing.Kernel([(testing.service(), [])])
    kernel.daemons = [Daemon("backup", "lo", 0, 1472, "224.0.0.81", 8848, 1)]
    assert refusal(kernel, command, attributes) == number
