"""Datagrams to messages, and the ends of answers: NLMSG_DONE and NLMSG_ERROR with what the kernel says in words."""

import errno
import random

import netlink
import pytest
from conftest import KERNELS, capture

from ipvsnl import DecodeError, _decode, genl


def test_a_message_has_its_header_and_its_payload() -> None:
    (message,) = genl.messages(netlink.message(0x20, b"pay!", flags=5, seq=7, port=9))
    assert (message.type, message.flags, message.seq, message.port, message.payload) == (0x20, 5, 7, 9, b"pay!")


def test_a_generic_netlink_message_has_a_command_and_attributes() -> None:
    (message,) = genl.messages(netlink.message(0x20, b"attributes!!", command=4))
    assert (message.command(), message.attributes()) == (4, b"attributes!!")


def test_messages_are_aligned_to_four_bytes() -> None:
    datagram = netlink.message(0x20, b"12345") + netlink.message(0x21, b"6")
    assert [message.payload for message in genl.messages(datagram)] == [b"12345", b"6"]


def test_the_last_message_may_come_without_its_padding() -> None:
    (message,) = genl.messages(netlink.message(0x20, b"12345")[:-3])
    assert message.payload == b"12345"


def test_an_empty_datagram_has_no_messages() -> None:
    assert list(genl.messages(b"")) == []


@pytest.mark.parametrize("length", [0, 15, 21, 2**31, 2**32 - 1])
def test_a_length_shorter_than_its_header_or_longer_than_the_datagram_is_a_decode_error(length: int) -> None:
    datagram = netlink.u32(length) + netlink.message(0x20, b"1234")[4:]
    with pytest.raises(DecodeError, match=f"says {length} bytes, 20 are left"):
        list(genl.messages(datagram))


@pytest.mark.parametrize("stray", [1, 4, 15])
def test_stray_bytes_after_the_last_message_are_a_decode_error(stray: int) -> None:
    with pytest.raises(DecodeError, match=f"{stray} stray bytes"):
        list(genl.messages(netlink.message(0x20) + bytes(stray)))


@pytest.mark.parametrize("payload", [b"", b"\x01\x01\x00"])
def test_a_message_too_short_for_a_command_is_a_decode_error(payload: bytes) -> None:
    message = genl.Message(0x20, 0, 1, 1, payload)
    with pytest.raises(DecodeError, match=f"{len(payload)} bytes"):
        message.command()


def test_a_request_is_what_the_kernel_expects() -> None:
    built = genl.request(0x20, 0x301, 7, 9, 4, netlink.attribute(1, b""))
    assert built == netlink.message(0x20, netlink.attribute(1, b""), command=4, flags=0x301, seq=7, port=9)


def result(datagram: bytes) -> "tuple[int, str | None]":
    (message,) = genl.messages(datagram)
    return genl.result(message)


QUOTED = netlink.message(0x20, b"12345", command=8, flags=5)  # 25 bytes and padding


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (netlink.done(), (0, None)),
        (netlink.done(errno.ESRCH), (errno.ESRCH, None)),
        (netlink.done(errno.ESRCH, "no such service"), (errno.ESRCH, "no such service")),
        (netlink.done(0, "a warning"), (0, "a warning")),
        (netlink.refusal(0), (0, None)),
        (netlink.refusal(0, "a warning"), (0, "a warning")),
        (netlink.refusal(errno.EPERM), (errno.EPERM, None)),
        (netlink.refusal(errno.EINVAL, "bad", QUOTED, capped=True), (errno.EINVAL, "bad")),
        (netlink.refusal(errno.EINVAL, "bad", QUOTED, capped=False), (errno.EINVAL, "bad")),
        (netlink.refusal(errno.EINVAL, None, QUOTED, capped=False), (errno.EINVAL, None)),
        (netlink.refusal(errno.EINVAL, "", QUOTED), (errno.EINVAL, "")),
    ],
)
def test_the_end_of_an_answer_has_an_errno_and_perhaps_words(end: bytes, expected: object) -> None:
    assert result(end) == expected


def test_an_acknowledgement_quotes_only_the_header_though_it_does_not_say_capped() -> None:
    """netlink_ack() sets NLM_F_CAPPED for NETLINK_CAP_ACK alone, but quotes a payload only with an error."""
    header = netlink.message(0x20, bytes(40), command=4, flags=5)[:16]
    payload = netlink.s32(0) + header + netlink.attribute(1, netlink.text("note"))
    assert result(netlink.message(netlink.NLMSG_ERROR, payload, flags=netlink.NLM_F_ACK_TLVS)) == (0, "note")


def test_unknown_attributes_of_an_error_are_skipped() -> None:
    words = netlink.pack([(2, netlink.u32(24)), (99, b"new"), (1, netlink.text("bad")), (4, [(1, netlink.u32(3))])])
    payload = netlink.s32(-errno.EINVAL) + QUOTED[:16] + words
    flags = netlink.NLM_F_ACK_TLVS | netlink.NLM_F_CAPPED
    assert result(netlink.message(netlink.NLMSG_ERROR, payload, flags=flags)) == (errno.EINVAL, "bad")


@pytest.mark.parametrize("type", [netlink.NLMSG_DONE, netlink.NLMSG_ERROR])
@pytest.mark.parametrize("size", [0, 3])
def test_an_end_too_short_for_an_errno_is_a_decode_error(type: int, size: int) -> None:
    with pytest.raises(DecodeError, match=f"{size} bytes"):
        result(netlink.message(type, bytes(size)))


def test_a_positive_errno_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="no negative errno"):
        result(netlink.message(netlink.NLMSG_ERROR, netlink.s32(1) + bytes(16)))


@pytest.mark.parametrize(
    "end", [netlink.refusal(22, "bad", QUOTED, capped=False), netlink.refusal(22, "bad"), netlink.done(22, "bad")]
)
def test_an_end_that_is_cut_anywhere_is_read_or_is_a_decode_error(end: bytes) -> None:
    _, type, flags, seq, port = netlink.header(end)
    for size in range(16, len(end)):
        try:
            number, words = genl.result(genl.Message(type, flags, seq, port, end[16:size]))
        except DecodeError:
            continue
        assert number == 22
        assert words in (None, "bad")


def service_dump(kernel: str) -> bytes:
    """The datagram of a real service dump; it has services of all kinds."""
    return netlink.replies_to(capture(kernel), command=netlink.GET_SERVICE)[0]


def destination_dumps(kernel: str) -> list[bytes]:
    datagrams = [netlink.datagram(record) for record in netlink.records(capture(kernel))]
    return [each for each in datagrams if len(each) > 20 and each[16] == netlink.NEW_DEST and each[6:8] == b"\x02\0"]


def decode(datagram: bytes) -> list[object]:
    """All services or real servers of a datagram."""
    found: list[object] = []
    for message in genl.messages(datagram):
        if message.command() == netlink.NEW_SERVICE:
            found.append(_decode.decode_service(message.attributes()))
        else:
            found.append(_decode.decode_destination(message.attributes(), "inet"))
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_datagram_that_is_cut_anywhere_is_a_decode_error_unless_between_messages(kernel: str) -> None:
    for datagram in (service_dump(kernel), *destination_dumps(kernel)):
        whole = decode(datagram)
        readable = 0
        for size in range(1, len(datagram)):
            try:
                read = decode(datagram[:size])
            except DecodeError:
                continue
            readable += 1
            assert read == whole[: len(read)]
        assert readable == len(whole) - 1


def cut(tree: bytes, size: int) -> bytes:
    """A message's attributes, of which only the first `size` bytes came, with lengths that say so."""
    inner = tree[4:size]
    return netlink.u16(4 + len(inner)) + tree[2:4] + inner


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_service_with_fewer_attributes_is_whole_or_a_decode_error(kernel: str) -> None:
    for message in genl.messages(service_dump(kernel)):
        attributes = message.attributes()
        whole = _decode.decode_service(attributes)
        for size in range(4, len(attributes)):
            try:
                read = _decode.decode_service(cut(attributes, size))
            except DecodeError:
                continue
            # All that a service can do without, if it is not persistent by an engine, is what comes last.
            assert read.address == whole.address and read.netmask == whole.netmask


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_datagram_with_any_byte_changed_is_read_or_is_a_decode_error(kernel: str) -> None:
    chance = random.Random(kernel)
    datagram = destination_dumps(kernel)[0] + service_dump(kernel)
    refused = 0
    for position in range(len(datagram)):
        changed = bytearray(datagram)
        changed[position] ^= chance.randrange(1, 256)
        try:
            decode(bytes(changed))
        except DecodeError:
            refused += 1
    assert refused
