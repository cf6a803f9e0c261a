"""Messages and conversations of generic netlink. Nothing in this file is about IPVS: the family is made up.

The kernel here is a script (tests/netlink.py). What this machine's own kernel says is in test_genl_live.py.
"""

import errno
import os
from collections.abc import Callable, Iterator

import netlink
import pytest

from ipvsnl import DecodeError, DumpInterruptedError, NetlinkError, PermissionDeniedError, genl
from ipvsnl.genl import Connection, Family

# Datagrams to messages, and the ends of answers: NLMSG_DONE and NLMSG_ERROR with what the kernel says in words.


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
def test_a_message_length_that_cannot_be_is_a_decode_error(length: int) -> None:
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


def test_an_acknowledgement_quotes_only_the_header_without_saying_capped() -> None:
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


# What belongs to an answer, how it ends, and how a connection goes on after a failure.

FAMILY, ASK, TELL = 0x31, 3, 4


def connection(*replies: netlink.Reply) -> "tuple[Connection, netlink.ScriptedKernel]":
    """A connection to a kernel that sends these datagrams after the first request, and none after others."""
    left = list(replies)

    def answer(request: netlink.Request) -> "list[netlink.Reply]":
        now, left[:] = left[:], []
        return now

    kernel = netlink.ScriptedKernel(answer)
    return Connection(kernel), kernel


def begin(connection: Connection) -> "Iterator[bytes]":
    """The attributes of each message of a dump, lazily."""
    messages = connection.dump(FAMILY, ASK, b"", reply=TELL, doing="dumping")
    return (message.attributes() for message in messages)


def dump(connection: Connection) -> list[bytes]:
    return list(begin(connection))


def ask(connection: Connection) -> bytes:
    return connection.request(FAMILY, ASK, b"", reply=TELL, doing="asking")


def tell(payload: bytes, **header: int) -> bytes:
    return netlink.message(FAMILY, payload, command=TELL, **header)


def test_a_dump_is_every_message_until_done() -> None:
    client, _ = connection(tell(b"1111") + tell(b"2222"), tell(b"3333"), netlink.done())
    assert dump(client) == [b"1111", b"2222", b"3333"]


def test_an_empty_dump_is_no_message() -> None:
    client, _ = connection(netlink.done())
    assert dump(client) == []


def test_a_dump_may_be_done_in_the_datagram_of_its_data() -> None:
    client, _ = connection(tell(b"1111") + netlink.done())
    assert dump(client) == [b"1111"]


def test_a_message_without_its_padding_ends_a_datagram_of_a_dump() -> None:
    client, _ = connection(tell(b"1111") + tell(b"22222")[:-3], tell(b"3333"), netlink.done())
    assert dump(client) == [b"1111", b"22222", b"3333"]


def test_a_request_is_answered_by_one_message() -> None:
    client, _ = connection(tell(b"1111", flags=0))
    assert ask(client) == b"1111"


def test_a_request_says_what_it_wants() -> None:
    client, kernel = connection(netlink.done())
    list(client.dump(FAMILY, ASK, b"key!", reply=TELL, doing="dumping"))
    (request,) = kernel.requests
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    expected = netlink.message(FAMILY, b"key!", command=ASK, flags=flags, seq=1, port=kernel.port)
    assert request.raw == expected


def test_each_request_has_a_sequence_number_of_its_own() -> None:
    kernel = netlink.ScriptedKernel(lambda request: [tell(b"", seq=request.seq)])
    client = Connection(kernel)
    for _ in range(3):
        ask(client)
    assert len({request.seq for request in kernel.requests}) == 3


@pytest.mark.parametrize("other", [{"seq": 99}, {"seq": 0}, {"port": netlink.PORT + 1}, {"port": 0}])
def test_messages_of_another_conversation_are_skipped(other: "dict[str, int]") -> None:
    stale = [tell(b"bad!", **other), netlink.done(errno.EINVAL, **other), netlink.refusal(errno.EPERM, **other)]
    client, _ = connection(*stale, stale[0] + tell(b"good"), *stale, netlink.done())
    assert dump(client) == [b"good"]


def test_noop_messages_are_skipped() -> None:
    client, _ = connection(netlink.message(netlink.NLMSG_NOOP) + tell(b"good"), netlink.done())
    assert dump(client) == [b"good"]


def test_a_dump_ends_with_an_acknowledgement_as_well() -> None:
    client, _ = connection(tell(b"good"), netlink.refusal(0))
    assert dump(client) == [b"good"]


def test_a_refusal_is_an_error_with_the_kernels_number_and_words() -> None:
    client, _ = connection(netlink.refusal(errno.EINVAL, "wrong attribute"))
    with pytest.raises(NetlinkError) as caught:
        ask(client)
    assert (caught.value.errno, caught.value.ext_ack, caught.value.doing) == (errno.EINVAL, "wrong attribute", "asking")


def test_a_dump_that_ends_in_an_error_is_that_error() -> None:
    client, _ = connection(tell(b"good"), netlink.done(errno.ENOMEM, "too much"))
    with pytest.raises(NetlinkError, match="too much") as caught:
        dump(client)
    assert caught.value.errno == errno.ENOMEM


def test_a_dump_gives_what_came_before_its_error() -> None:
    client, _ = connection(tell(b"good"), netlink.done(errno.ENOMEM))
    messages = begin(client)
    assert next(messages) == b"good"
    with pytest.raises(NetlinkError):
        next(messages)


CHANGED = netlink.NLM_F_MULTI | netlink.NLM_F_DUMP_INTR


@pytest.mark.parametrize(
    "replies",
    [
        [tell(b"1111", flags=CHANGED), netlink.done()],
        [tell(b"1111") + tell(b"2222", flags=CHANGED), netlink.done()],
        [tell(b"1111"), netlink.message(netlink.NLMSG_DONE, netlink.s32(0), flags=CHANGED)],
    ],
    ids=["the first message", "another message", "the end"],
)
def test_a_dump_of_which_the_kernel_says_that_it_changed_is_an_error(replies: "list[netlink.Reply]") -> None:
    client, kernel = connection(*replies)
    with pytest.raises(DumpInterruptedError, match=r"dumping: .* during the dump"):
        dump(client)
    kernel.answer = pages
    assert dump(client) == [netlink.u32(2)] * 3


def test_a_refused_permission_is_a_permission_denied_error() -> None:
    client, _ = connection(netlink.refusal(errno.EPERM))
    with pytest.raises(PermissionDeniedError):
        dump(client)


@pytest.mark.parametrize("number", [errno.ENOBUFS, errno.EMSGSIZE, errno.ETIMEDOUT, errno.EBADF])
def test_a_failing_socket_is_a_netlink_error(number: int) -> None:
    client, _ = connection(OSError(number, "as the system says"))
    with pytest.raises(NetlinkError) as caught:
        dump(client)
    assert caught.value.errno == number


@pytest.mark.parametrize(
    "strange",
    [
        netlink.message(FAMILY + 1, b"", command=TELL),
        netlink.message(FAMILY, b"", command=TELL + 1),
        netlink.message(FAMILY, b""),
        netlink.message(0, b""),
        netlink.message(4, b"overrun!"),
    ],
)
def test_a_message_that_is_no_reply_is_a_decode_error(strange: bytes) -> None:
    client, _ = connection(strange, netlink.done())
    with pytest.raises(DecodeError):
        dump(client)


def test_an_end_where_one_message_belongs_is_a_decode_error() -> None:
    client, _ = connection(netlink.done())
    with pytest.raises(DecodeError, match="asking"):
        ask(client)


def pages(request: netlink.Request) -> "list[netlink.Reply]":
    """A dump over three datagrams whose messages say by which request they were asked for."""
    page = tell(netlink.u32(request.seq), seq=request.seq)
    return [page + page, page, netlink.done(seq=request.seq)]


def test_a_dump_that_was_given_up_is_read_out_before_the_next_request() -> None:
    """The kernel has one dump a socket, and answers EBUSY to whoever asks for a second."""
    running: list[int] = []

    def answer(request: netlink.Request) -> "list[netlink.Reply]":
        if kernel.queue:
            running.append(request.seq)
        return pages(request)

    kernel = netlink.ScriptedKernel(answer)
    client = Connection(kernel)
    next(begin(client))
    assert dump(client) == [netlink.u32(2)] * 3
    assert running == []


def test_a_request_after_a_dump_that_was_given_up_gets_its_own_answer() -> None:
    kernel = netlink.ScriptedKernel(lambda request: pages(request) if request.is_dump else [tell(b"mine", seq=2)])
    client = Connection(kernel)
    next(begin(client))
    assert ask(client) == b"mine"


def test_a_dump_that_was_given_up_in_the_datagram_that_has_its_end_is_over() -> None:
    """Since Linux 6.9 nlctrl's list of families ends so; whoever waits for another datagram waits for ever."""

    def answer(request: netlink.Request) -> "list[netlink.Reply]":
        page = tell(netlink.u32(request.seq), seq=request.seq)
        return [page + page + netlink.done(seq=request.seq)]

    client = Connection(netlink.ScriptedKernel(answer))
    next(begin(client))
    assert dump(client) == [netlink.u32(2)] * 2


@pytest.mark.parametrize("other", [ask, dump])
def test_a_dump_that_goes_on_after_another_question_is_an_error(other: "Callable[[Connection], object]") -> None:
    kernel = netlink.ScriptedKernel(
        lambda request: pages(request) if request.is_dump else [tell(b"mine", seq=request.seq)]
    )
    client = Connection(kernel)
    messages = begin(client)
    next(messages)
    other(client)
    with pytest.raises(NetlinkError, match="one after the other") as caught:
        next(messages)
    assert caught.value.errno == errno.ECANCELED


def test_a_later_request_shows_although_sequence_numbers_begin_again() -> None:
    """genl: the later request has the smaller number."""
    kernel = netlink.ScriptedKernel(
        lambda request: [tell(b"1111", seq=request.seq), tell(b"2222", seq=request.seq), netlink.done(seq=request.seq)]
    )
    client = Connection(kernel)
    client.seq = 2**32 - 2
    messages = begin(client)
    next(messages)
    ask(client)
    with pytest.raises(NetlinkError, match="one after the other"):
        next(messages)


def test_a_connection_goes_on_after_a_kernel_that_did_not_answer_in_time() -> None:
    client, kernel = connection()
    with pytest.raises(NetlinkError):
        dump(client)
    kernel.answer = pages
    assert dump(client) == [netlink.u32(2)] * 3


def test_a_dump_that_was_never_begun_costs_nothing() -> None:
    client, kernel = connection()
    client.dump(FAMILY, ASK, b"", reply=TELL, doing="dumping")
    assert kernel.requests == []


def test_a_connection_goes_on_after_a_message_that_could_not_be_read() -> None:
    broken = netlink.message(FAMILY, b"", command=TELL + 1)
    client, kernel = connection(broken, tell(b"late"), netlink.done())
    with pytest.raises(DecodeError):
        dump(client)
    kernel.answer = pages
    assert dump(client) == [netlink.u32(2)] * 3


def test_a_connection_goes_on_after_a_lost_datagram() -> None:
    client, kernel = connection(OSError(errno.ENOBUFS, "lost"), tell(b"late"), netlink.done())
    with pytest.raises(NetlinkError):
        dump(client)
    kernel.answer = pages
    assert dump(client) == [netlink.u32(2)] * 3


def test_a_connection_goes_on_after_a_request_that_could_not_be_sent() -> None:
    kernel = netlink.ScriptedKernel(lambda request: [tell(b"good", seq=request.seq), netlink.done(seq=request.seq)])
    client = Connection(kernel)
    send, kernel.send = kernel.send, _no_buffer  # type: ignore[method-assign]
    with pytest.raises(NetlinkError) as caught:
        dump(client)
    assert caught.value.errno == errno.ENOBUFS
    kernel.send = send  # type: ignore[method-assign]
    assert dump(client) == [b"good"]


def _no_buffer(request: bytes) -> None:
    raise OSError(errno.ENOBUFS, "no buffer")


def test_after_a_whole_answer_there_is_nothing_to_throw_away(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = netlink.ScriptedKernel(lambda request: [tell(b"good", seq=request.seq), netlink.done(seq=request.seq)])
    client = Connection(kernel)
    monkeypatch.setattr(kernel, "drain", lambda: pytest.fail("which would be one more system call"))
    assert dump(client) == dump(client) == [b"good"]
    assert ask(client) == ask(client) == b"good"


def test_families_are_listed_without_asking_for_one_by_name() -> None:
    kernel = netlink.IPVSKernel()
    families = Connection(kernel).families()
    assert families[0] == Family(0x10, "nlctrl", 1)
    assert [family.name for family in families] == ["nlctrl", "thermal_event", "IPVS"]
    (request,) = kernel.requests
    assert request.is_dump and request.attributes == b""


def test_a_family_by_name_is_one_request_for_that_name() -> None:
    kernel = netlink.IPVSKernel()
    assert Connection(kernel).load_family("IPVS") == Family(netlink.IPVS, "IPVS", 1)
    (request,) = kernel.requests
    assert not request.is_dump and request.attributes == netlink.attribute(2, b"IPVS\0")


def test_a_family_that_the_kernel_does_not_have_is_enoent() -> None:
    with pytest.raises(NetlinkError) as caught:
        Connection(netlink.IPVSKernel(loaded=False)).load_family("IPVS")
    assert caught.value.errno == errno.ENOENT


def test_the_largest_errno_is_4095() -> None:
    """genl: MAX_ERRNO of include/linux/err.h is an error of the kernel, and one more is malformed."""
    end = genl.Message(netlink.NLMSG_ERROR, 0, 1, 1, netlink.s32(-4095))
    assert genl.result(end) == (4095, None)
    end.payload = netlink.s32(-4096)
    with pytest.raises(DecodeError, match="carries -4096, which is no negative errno"):
        genl.result(end)


@pytest.mark.parametrize("type, command", [(0x31, 3), (0x31, 5), (0x30, 4), (0x32, 4)])
def test_a_message_of_another_command_or_family_is_no_reply(type: int, command: int) -> None:
    """genl: command and family of a reply are exactly those that are expected."""
    message = genl.Message(type, 0, 1, 1, bytes([command, 1, 0, 0]))
    with pytest.raises(DecodeError, match="that is not the reply 4 of family 49"):
        genl.expect(message, 0x31, 4, "asking")


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOMEM])
def test_an_end_with_an_errno_and_no_more_is_an_error(number: int) -> None:
    """genl: the comparison of a whole NLMSG_DONE includes its errno."""
    client, _ = connection(tell(b"good"), netlink.done(number))
    with pytest.raises(NetlinkError) as caught:
        dump(client)
    assert caught.value.errno == number


def test_an_end_with_a_positive_number_is_a_decode_error() -> None:
    client, _ = connection(netlink.done(-1))
    with pytest.raises(DecodeError, match="carries 1, which is no negative errno"):
        dump(client)


def test_after_the_last_sequence_number_comes_the_first() -> None:
    """genl: a sequence number has 32 bits, and is never 0, because the kernel's own messages have that."""
    kernel = netlink.ScriptedKernel(lambda request: [tell(b"good", seq=request.seq)])
    client = Connection(kernel)
    client.seq = 2**32 - 2
    assert [ask(client), ask(client)] == [b"good"] * 2
    assert [request.seq for request in kernel.requests] == [2**32 - 1, 1]


def test_unknown_flags_of_an_end_do_not_matter() -> None:
    """genl: only NLM_F_ACK_TLVS says that attributes follow."""
    payload = netlink.s32(-errno.EINVAL) + bytes(16) + netlink.attribute(1, netlink.text("not a text"))
    for flags in (0x400, 0x8000, netlink.NLM_F_MULTI):
        assert result(netlink.message(netlink.NLMSG_ERROR, payload, flags=flags)) == (errno.EINVAL, None)


@pytest.mark.parametrize("name", [name for name in vars(netlink) if name.startswith(("NLM_F_", "NLMSG_"))])
def test_each_flag_and_type_has_the_number_of_the_kernel(name: str) -> None:
    """genl: include/uapi/linux/netlink.h"""
    assert getattr(genl, name) == getattr(netlink, name)


def test_an_end_that_is_cut_off_is_a_decode_error() -> None:
    """genl: what an earlier datagram left in the buffer does not complete it."""
    client, _ = connection(netlink.done()[:16])
    with pytest.raises(DecodeError, match="says 20 bytes, 16 are left"):
        dump(client)


def test_a_family_may_have_any_id() -> None:
    """genl: ids go up to 1023 (GENL_MAX_ID), and two equal numbers may be two objects."""
    received, wanted = int("1023"), int("1023")
    message = genl.Message(received, 0, 1, 1, bytes([4, 1, 0, 0]))
    assert genl.expect(message, wanted, 4, "asking") is message


@pytest.mark.parametrize("offset", [-1, 1])
def test_a_child_is_refused_whatever_its_process_id(offset: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """genl: process ids begin again at a low number."""
    client, kernel = connection(netlink.done())
    child = os.getpid() + offset
    monkeypatch.setattr(os, "getpid", lambda: child)
    with pytest.raises(NetlinkError) as caught:
        dump(client)
    assert caught.value.errno == errno.EBADF and kernel.requests == []
