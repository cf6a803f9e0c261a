"""Every errno with which a real kernel refuses a write, provoked by bytes that the package has not made."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator

import netlink
import pytest
from director import KERNEL
from linux import run
from netlink import be16
from refusals import ABSENT, DEL_DEST, GIVEN, KEY, NEW_DEST, REQUESTS, Request, dest

NETLINK_GENERIC, SOL_NETLINK, NETLINK_CAP_ACK, NETLINK_EXT_ACK = 16, 270, 10, 11

# Linux 5.10 has no limit for these.
NO_LIMIT = {"U_THRESH of 2**31", "an edit to U_THRESH of 2**31"} if KERNEL < (6, 1) else set()


class Raw:
    """A generic netlink socket that knows nothing but the family id of IPVS."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC)
        self.socket.bind((0, 0))
        self.socket.settimeout(10)
        for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK):
            self.socket.setsockopt(SOL_NETLINK, option, 1)
        name = netlink.attribute(2, netlink.text("IPVS"))
        self.socket.send(netlink.message(netlink.NLCTRL, name, command=netlink.GETFAMILY, flags=netlink.NLM_F_REQUEST))
        (self.family,) = struct.unpack("=H", dict(netlink.attributes(self.socket.recv(65536)[20:]))[1])

    def ask(self, request: Request) -> tuple[int, str | None]:
        """The errno and the text with which the kernel answers; the errno is 0 for success."""
        self.socket.send(request.message(self.family, 1, 0))
        seq, number, text = self.answer()
        assert seq == 1
        return number, text

    def answer(self) -> tuple[int, int, str | None]:
        datagram = self.socket.recv(65536)
        _, type, flags, seq, _, number = struct.unpack_from("=IHHIIi", datagram)
        assert type == netlink.NLMSG_ERROR
        texts = dict(netlink.attributes(datagram[36:])) if flags & netlink.NLM_F_ACK_TLVS else {}
        return seq, -number, texts[1].rstrip(b"\0").decode() if 1 in texts else None


@pytest.fixture
def raw() -> Iterator[Raw]:
    made = Raw()
    with made.socket:
        yield made


# How ipvsadm prints what a command could change.
PRINTED = {
    netlink.SET_CONFIG: ["-Ln", "--timeout"],
    netlink.NEW_DAEMON: ["-Ln", "--daemon"],
    netlink.DEL_DAEMON: ["-Ln", "--daemon"],
}


def real_servers() -> int:
    return run("ipvsadm", "-Ln").count("\n  -> ") - 1  # without the title


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_has_its_errno(raw: Raw, name: str) -> None:
    request = REQUESTS[name]
    for each in (*GIVEN, *request.before):
        assert raw.ask(each) == (0, None)
    printed = ["ipvsadm", *PRINTED.get(request.command, ["-Sn"])]
    before = run(*printed)
    expected = 0 if name in NO_LIMIT else request.errno
    assert raw.ask(request) == (expected, request.text)
    if expected:
        assert run(*printed) == before


def test_a_family_that_is_not_there(raw: Raw) -> None:
    raw.family = 0x3FF
    assert raw.ask(GIVEN[0]) == (errno.ENOENT, None)


def many(raw: Raw, requests: list[Request]) -> bytes:
    """These requests in one datagram, numbered from 1 on."""
    return b"".join(each.message(raw.family, seq, 0) for seq, each in enumerate(requests, 1))


def additions(count: int) -> list[Request]:
    return [Request(NEW_DEST, KEY + dest(PORT=be16(port))) for port in range(1, count + 1)]


def test_a_datagram_beyond_the_send_buffer_is_not_sent(raw: Raw) -> None:
    raw.ask(GIVEN[0])
    with pytest.raises(OSError) as caught:
        raw.socket.send(many(raw, additions(1600)))
    assert (caught.value.errno, real_servers()) == (errno.EMSGSIZE, 0)


def test_answers_beyond_the_receive_buffer_are_lost_but_all_is_done(raw: Raw) -> None:
    raw.ask(GIVEN[0])
    raw.socket.send(many(raw, additions(1000)))
    with pytest.raises(OSError) as caught:
        raw.socket.recv(65536)
    assert (caught.value.errno, real_servers()) == (errno.ENOBUFS, 1000)


def test_each_failure_of_a_datagram_is_answered_in_order(raw: Raw) -> None:
    raw.ask(GIVEN[0])
    absent = Request(DEL_DEST, ABSENT + dest())
    one, two = additions(2)
    raw.socket.send(many(raw, [one, absent, one, two]))
    assert [raw.answer()[:2] for _ in range(4)] == [(1, 0), (2, errno.ESRCH), (3, errno.EEXIST), (4, 0)]


def test_what_follows_a_bad_length_is_neither_done_nor_answered(raw: Raw) -> None:
    raw.ask(GIVEN[0])
    one, two, three = (each.message(raw.family, seq, 0) for seq, each in enumerate(additions(3), 1))
    raw.socket.send(one + struct.pack("=I", 8) + two[4:] + three)
    raw.socket.settimeout(0.5)
    assert raw.answer()[:2] == (1, 0)
    with pytest.raises(socket.timeout):
        raw.answer()
    assert real_servers() == 1
