"""testing.Kernel refuses what real kernels refuse, with the same errno (tests/kernel/test_writing_errors.py)."""

import errno
import struct

import pytest
from refusals import GIVEN, REQUESTS, Request

from ipvsnl import testing

# To these it replies as no kernel does: it wants the mask of flags, and reports each malformed attribute as EINVAL.
DIFFERENT = {"FLAGS of 4 bytes", "a timeout in two bytes"}


def ask(kernel: testing.Kernel, request: Request) -> int:
    kernel.send(request.message(testing.FAMILY, 1, kernel.port))
    buffer = bytearray(4096)
    kernel.recv_into(buffer)
    return -int(struct.unpack_from("=i", buffer, 16)[0])


@pytest.mark.parametrize("name", sorted(REQUESTS.keys() - DIFFERENT))
def test_each_request_has_the_errno_of_a_real_kernel(name: str) -> None:
    kernel = testing.Kernel()
    for each in (*GIVEN, *REQUESTS[name].before):
        assert ask(kernel, each) == 0
    before = repr((kernel.entries, kernel.timeouts, kernel.daemons))
    expected = REQUESTS[name].errno
    assert errno.errorcode.get(ask(kernel, REQUESTS[name])) == errno.errorcode.get(expected)
    if expected:
        assert repr((kernel.entries, kernel.timeouts, kernel.daemons)) == before
