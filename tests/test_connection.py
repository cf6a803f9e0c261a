"""Conversations in generic netlink: what belongs to an answer, how it ends, and how one goes on after a failure.

The kernel here is a script (tests/netlink.py). Nothing in this file is about IPVS: the family is made up.
"""

import errno
from collections.abc import Callable, Iterator

import netlink
import pytest

from ipvsnl import DecodeError, DumpInterruptedError, NetlinkError, PermissionDeniedError
from ipvsnl.genl import Connection, Family

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


def test_a_dump_that_was_given_up_is_read_to_its_end_before_the_next_request() -> None:
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
