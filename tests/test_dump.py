"""What goes wrong between a client and the kernel, and what comes of it: a typed error, and a client that goes on."""

import errno
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import changing
import netlink
import pytest
from changing import sockets_of

from ipvsnl import Client, DecodeError, DumpInterruptedError, NetlinkError, NotAvailableError
from ipvsnl.transport import BUFFER_SIZE, SMALL_OFFER

SERVICE, POOL = netlink.service(), [netlink.destination()]


def kernel_with_family(id: "int | None") -> netlink.IPVSKernel:
    """A kernel whose IPVS has this id now; None for a kernel without it."""
    kernel = netlink.IPVSKernel([(SERVICE, POOL)])
    usual = kernel.answer

    def answer(request: netlink.Request) -> "list[netlink.Reply]":
        to = {"seq": request.seq, "port": request.port}
        now = kernel.family  # type: ignore[attr-defined]
        if request.type == netlink.NLCTRL:
            families = [] if now is None else [netlink.family(now, "IPVS")]
            messages = [netlink.message(netlink.NLCTRL, each, command=netlink.NEWFAMILY, **to) for each in families]
            return [*messages, netlink.done(**to)]
        if request.type != now:
            return [netlink.refusal(errno.ENOENT, request=request.raw, **to)]
        replies = usual(request._replace(type=netlink.IPVS))
        return [each if isinstance(each, OSError) else netlink.readdress(each, family=now) for each in replies]

    kernel.answer = answer
    kernel.family = id  # type: ignore[attr-defined]
    return kernel


def test_a_family_that_has_come_back_under_another_id_is_found_anew() -> None:
    kernel = kernel_with_family(0x20)
    client = Client(transport=kernel)
    (service,) = client.services()
    kernel.family = 0x21  # type: ignore[attr-defined]
    assert len(client.dests(service)) == 1
    assert client.services() == [service]


def test_a_family_that_has_gone_is_a_not_available_error_until_it_is_back() -> None:
    kernel = kernel_with_family(0x20)
    client = Client(transport=kernel)
    kernel.family = None  # type: ignore[attr-defined]
    for _ in range(2):
        with pytest.raises(NotAvailableError):
            client.services()
    kernel.family = 0x23  # type: ignore[attr-defined]
    assert len(client.services()) == 1


def test_an_enoent_of_the_family_itself_is_a_netlink_error() -> None:
    def refuse(request: netlink.Request) -> "list[netlink.Reply] | None":
        return [netlink.refusal(errno.ENOENT, seq=request.seq)] if request.type == netlink.IPVS else None

    with pytest.raises(NetlinkError) as caught:
        Client(transport=netlink.IPVSKernel(special=refuse)).services()
    assert caught.value.errno == errno.ENOENT


ONE = netlink.message(netlink.IPVS, netlink.pack(SERVICE), command=netlink.NEW_SERVICE, seq=2)
FAULTS = {
    "a lost datagram": ([OSError(errno.ENOBUFS, "lost")], NetlinkError),
    "a lost datagram half-way": ([ONE, OSError(errno.ENOBUFS, "lost")], NetlinkError),
    "no answer in time": ([], NetlinkError),
    "no end in time": ([ONE], NetlinkError),
    "a datagram that was cut off": ([OSError(errno.EMSGSIZE, "cut")], NetlinkError),
    "a refusal half-way": ([ONE, netlink.refusal(errno.EINTR, seq=2)], NetlinkError),
    "a refusal half-way, with words": ([ONE, netlink.refusal(errno.EINTR, "words", seq=2)], NetlinkError),
    "a bad end": ([ONE, netlink.done(errno.ENOMEM, seq=2)], NetlinkError),
    "half a message": ([ONE[:30]], DecodeError),
    "bytes that are none": ([b"\xff" * 100], DecodeError),
    "an end with a number that is no errno": ([netlink.done(1 << 31, seq=2)], DecodeError),
    "an end without an errno": ([netlink.message(netlink.NLMSG_DONE, seq=2)], DecodeError),
}


@pytest.mark.parametrize("name", FAULTS)
def test_after_a_fault_there_is_a_typed_error_and_the_client_goes_on(name: str) -> None:
    replies, kind = FAULTS[name]
    faults = [replies]
    kernel = netlink.IPVSKernel(
        [(SERVICE, POOL)],
        special=lambda request: faults.pop() if faults and request.type == netlink.IPVS else None,
    )
    client = Client(transport=kernel)
    with pytest.raises(kind):
        client.services()
    assert len(client.services()) == 1


STRANGERS = {
    "another port": {"seq": 2, "port": netlink.PORT + 1},
    "an earlier request": {"seq": 1},
    "no request at all": {"seq": 0, "port": 0},
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_belongs_to_another_conversation_is_skipped(name: str) -> None:
    header = STRANGERS[name]
    strangers = [netlink.readdress(ONE, **header), netlink.done(**header), netlink.refusal(errno.EPERM, **header)]
    answer = [*strangers, ONE, strangers[0], netlink.done(seq=2)]
    kernel = netlink.IPVSKernel(special=lambda request: answer if request.type == netlink.IPVS else None)
    assert len(Client(transport=kernel).services()) == 1


def test_a_client_does_not_wait_for_a_dump_of_a_transport_that_has_ended() -> None:
    class Ending(netlink.IPVSKernel):
        """As a Replay whose capture ends."""

        def recv_into(self, buffer: bytearray) -> int:
            if not self.queue:
                raise DecodeError("nothing more")
            return super().recv_into(buffer)

    broken = [netlink.message(netlink.IPVS, netlink.pack(SERVICE), command=99, seq=2)]
    faults = [broken]
    special = lambda request: faults.pop() if faults and request.type == netlink.IPVS else None  # noqa: E731
    client = Client(transport=Ending([(SERVICE, POOL)], special=special))
    with pytest.raises(DecodeError):
        client.services()
    assert len(client.services()) == 1


class Sockets(netlink.IPVSKernel):
    """A kernel of which there are no more sockets, for the reason `failure`."""

    failure = OSError(errno.EMFILE, "too many")

    def another(self, offer: int, largest: int = 0) -> None:
        raise self.failure


def test_a_dump_that_stops_for_want_of_memory_ends_after_one_busy_answer() -> None:
    """The kernel goes on with it when something is received (netlink_recvmsg()), and there is nothing but the EBUSY
    that it answers to the next question."""
    stops = [[ONE, OSError(errno.ENOBUFS, "no memory"), ONE, netlink.done(seq=2)]]
    kernel = netlink.DumpingKernel(
        [(SERVICE, POOL)],
        special=lambda request: stops.pop() if stops and request.type == netlink.IPVS else None,
    )
    client = Client(transport=kernel)
    for expected in (errno.ENOBUFS, errno.EBUSY):
        with pytest.raises(NetlinkError) as caught:
            client.services()
        assert caught.value.errno == expected
    assert len(client.services()) == 1


def test_without_a_second_socket_real_servers_are_read_over_the_first() -> None:
    client = Client(transport=Sockets([(SERVICE, POOL)]))
    assert [len(pool) for _, pool in client.dump()] == [1]


def test_a_second_socket_that_is_of_no_use_is_closed() -> None:
    opened = []

    class Refusing(netlink.IPVSKernel):
        def another(self, offer: int, largest: int = 0) -> netlink.IPVSKernel:
            refuse = lambda request: [netlink.refusal(errno.EPERM, seq=request.seq)]  # noqa: E731
            opened.append(netlink.IPVSKernel(special=refuse))
            return opened[-1]

    client = Client(transport=Refusing([(SERVICE, POOL)]))
    (service,) = client.services()
    for _ in range(2):
        with pytest.raises(NetlinkError):
            client.dests(service)
    assert [kernel.closed for kernel in opened] == [True, True]


def test_after_an_interrupt_the_client_goes_on() -> None:
    interrupts = [KeyboardInterrupt()]

    def interrupt(request: netlink.Request) -> None:
        if interrupts and request.type == netlink.IPVS:
            raise interrupts.pop()

    client = Client(transport=netlink.IPVSKernel([(SERVICE, POOL)], special=interrupt))
    with pytest.raises(KeyboardInterrupt):
        client.services()
    assert len(client.services()) == 1


def test_a_long_list_without_a_socket_to_make_it_sure_is_a_netlink_error() -> None:
    pages = [(netlink.service(PORT=netlink.be16(port)), []) for port in range(1, 101)]
    with pytest.raises(NetlinkError, match="one more socket") as caught:
        Client(transport=Sockets(pages)).services()
    assert caught.value.errno == errno.EMFILE


class Noting(netlink.DumpingKernel):
    """A kernel that notes what its new sockets offer."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offers: list[tuple[int, ...]] = []

    def another(self, *offers: int) -> "netlink.DumpingKernel":  # type: ignore[override]
        self.offers.append(offers)
        return netlink.DumpingKernel(self.entries)


def test_the_socket_of_real_servers_offers_a_block_of_8_kib() -> None:
    """client: the socket of real servers is opened once, with the small offer."""
    service = netlink.service()
    kernel = Noting([(service, [netlink.destination()])])
    with Client(transport=kernel) as client:
        for _ in range(3):
            assert [len(pool) for _, pool in client.dump()] == [1]
    ((offer,),) = kernel.offers
    assert offer + 320 == 8192  # with struct skb_shared_info


class Measured(changing.Kernel):
    """Notes how many entries each datagram of each dump has."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.windows: list[list[int]] = []

    def walk(self, start: int, most: int) -> "list[int]":
        entries = super().walk(start, most)
        if start == 0:
            self.windows.append([])
        self.windows[-1].append(len(entries))
        return entries


@pytest.mark.parametrize("buckets", [1, 2], ids=["real servers", "services"])
@pytest.mark.parametrize("offer", [BUFFER_SIZE, SMALL_OFFER])
def test_the_second_dump_has_datagrams_of_another_size(buckets: int, offer: int) -> None:
    """_dump: the second socket offers neither 32 KiB nor 8 KiB, so windows end at different positions."""
    kernel = Measured(1, 400, 0, buckets)
    with sockets_of(kernel):
        made = changing.reader(kernel, offer)
        kernel.windows.clear()
        assert kernel.read(made) == kernel.entries()
    first, second = kernel.windows
    size = len(changing.SERVICE if buckets > 1 else changing.DESTINATION)
    assert second[1] == 20000 // size  # after a page and before the largest offer
    assert second[1] not in first


# genl and _fastpath: NLM_F_DUMP_INTR among messages of a known layout

INTR = netlink.NLM_F_MULTI | netlink.NLM_F_DUMP_INTR
DUMPS: "dict[str, tuple[int, netlink.Tree, Callable[[Client], list[Any]]]]" = {
    "services": (netlink.NEW_SERVICE, netlink.service(), Client.services),
    "real servers": (
        netlink.NEW_DEST,
        netlink.destination(),
        lambda client: client.dests((0, 2, 6, b"\x0a\0\0\1", 80)),
    ),
}


@pytest.mark.parametrize("marked", [{0}, {2}, {4}, {5}, {2, 3, 4, 5}], ids=["first", "later", "last", "end", "rest"])
@pytest.mark.parametrize("first", [5, 2], ids=["one datagram", "two datagrams"])
@pytest.mark.parametrize("what", DUMPS)
def test_an_interrupted_dump_is_an_error_on_the_fast_path(what: str, first: int, marked: "set[int]") -> None:
    """client: NLM_F_DUMP_INTR counts in each message of a dump whose layout is known, and in NLMSG_DONE."""
    reply, tree, read = DUMPS[what]
    interrupted: set[int] = set()

    def answer(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        flags = [INTR if place in interrupted else netlink.NLM_F_MULTI for place in range(6)]
        *parts, end = [
            *(netlink.message(netlink.IPVS, netlink.pack(tree), command=reply, flags=each) for each in flags[:5]),
            netlink.message(netlink.NLMSG_DONE, netlink.s32(0), flags=flags[5]),
        ]
        datagrams = [b"".join(parts[:first]), b"".join(parts[first:]), end]
        return [netlink.readdress(each, seq=request.seq) for each in datagrams if each]

    client = Client(transport=netlink.IPVSKernel(special=answer))
    whole = read(client)  # the layout is known from now on
    interrupted |= marked
    with pytest.raises(DumpInterruptedError, match="the kernel says that entries changed"):
        read(client)
    interrupted.clear()
    assert read(client) == whole


# genl: failures without a number


@pytest.mark.parametrize("fails", ["send", "recv_into"])
def test_a_failure_without_an_errno_has_none_in_the_error(fails: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """genl: an OSError of a transport need not have an errno, and is no refusal then."""
    kernel = netlink.IPVSKernel()
    client = Client(transport=kernel)

    def fail(*arguments: Any) -> Any:
        raise OSError("a transport of another kind")

    monkeypatch.setattr(kernel, fails, fail)
    with pytest.raises(NetlinkError) as caught:
        client.info()
    assert (type(caught.value), caught.value.errno) == (NetlinkError, 0)


@pytest.mark.parametrize("error", [OSError("a transport of another kind"), OSError(24, "no descriptor is left")])
def test_a_second_socket_that_cannot_be_opened_is_an_error(error: OSError) -> None:
    """_dump: an OSError of another() keeps its errno, and need not have one."""

    class Failing(netlink.IPVSKernel):
        room = 0

        def another(self, *offers: int) -> Any:
            raise error

    client = Client(transport=Failing([(netlink.service(), [])]))
    with pytest.raises(NetlinkError, match="opening one more socket") as caught:
        client.services()
    assert (type(caught.value), caught.value.errno) == (NetlinkError, error.errno or 0)


# _dump: sockets, and the ends of datagrams


def test_the_sockets_of_a_round_are_closed_before_the_next_round() -> None:
    """_dump: however often a list is dumped, a client has at most three sockets open for it."""
    kernel = changing.Kernel(1, 100, memory=changing.pages)
    sockets: list[changing.Socket] = []
    most = 0

    def open_one(*arguments: Any) -> changing.Socket:
        nonlocal most
        sockets.append(changing.Socket(kernel))
        most = max(most, sum(not each.file.closed for each in sockets))
        return sockets[-1]

    with patch("socket.socket", open_one), pytest.raises(DumpInterruptedError):
        kernel.read(changing.reader(kernel))
    assert len(sockets) > 100 and most == 3
    assert [each.file.closed for each in sockets[1:]] == [True] * (len(sockets) - 1)


@pytest.mark.parametrize("missing, dumps", [(0, 1), (1, 2)])
def test_a_datagram_with_space_for_the_largest_message_ends_a_list(missing: int, dumps: int) -> None:
    """_dump: one dump is enough if 512 more bytes would have fitted; with one byte less there is a second one."""
    kernel = Noting([(SERVICE, [])])
    kernel.room = len(netlink.message(netlink.IPVS, netlink.pack(SERVICE), command=netlink.NEW_SERVICE)) + 512 - missing
    assert len(Client(transport=kernel).services()) == 1
    assert 1 + len(kernel.offers) == dumps


def test_a_message_without_its_padding_at_the_end_of_a_datagram_is_read() -> None:
    """_dump: the offset is then behind the end of the datagram."""
    cut = netlink.message(netlink.IPVS, netlink.pack([*SERVICE, (99, b"new")]), command=netlink.NEW_SERVICE)[:-1]
    cut = netlink.u32(len(cut)) + cut[4:]

    def answer(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        return [netlink.readdress(cut, seq=request.seq), netlink.done(seq=request.seq)]

    assert len(Client(transport=netlink.IPVSKernel(special=answer)).services()) == 1
