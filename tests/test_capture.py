"""Captures: what is recorded replays as it was, and what any client recorded replays to ours.

Clients differ in how they ask: ipvsadm opens a socket for each question, telegraf's (moby/ipvs) leaves the port to the
kernel, asks for acknowledgements, and sends short addresses. What a question means is the same.
"""

import errno
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netlink
import pytest
from conftest import KERNELS, capture, capture_path, run

from ipvsnl import (
    Client,
    DecodeError,
    Destination,
    IPVSError,
    NotFoundError,
    Service,
)
from ipvsnl.capture import Recorder, Replay
from ipvsnl.cli import main
from ipvsnl.genl import Connection

Install = Callable[[netlink.ScriptedKernel], None]
Dump = list[tuple[Service, list[Destination]]]

WEB = netlink.service()
WEB6 = netlink.service(AF=netlink.u16(10), ADDR=netlink.address("2001:db8::1"), NETMASK=netlink.u32(128))
MARK = netlink.fwmark_service(47)
POOL = [netlink.destination(), netlink.destination(ADDR=netlink.address("192.0.2.2"))]
POOL6 = [netlink.destination(ADDR=netlink.address("2001:db8::2"), ADDR_FAMILY=netlink.u16(10))]
ENTRIES = [(WEB, POOL), (WEB6, POOL6), (MARK, POOL[:1])]


def read(recording: bytes) -> Dump:
    return list(Client(transport=Replay(io.BytesIO(recording))).dump())


def live(entries: "list[tuple[netlink.Tree, list[netlink.Tree]]]") -> Dump:
    return list(Client(transport=netlink.IPVSKernel(entries)).dump())


def packed(*datagrams: bytes) -> bytes:
    return netlink.pcap(netlink.record(datagram) for datagram in datagrams)


# Record, then replay.


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_recorded_replays_as_it_was(kernel: str) -> None:
    recording = io.BytesIO()
    with Client(transport=Recorder(Replay(io.BytesIO(capture(kernel))), recording)) as client:
        first = list(client.dump())
    assert read(recording.getvalue()) == first == read(capture(kernel))


def test_record_then_replay_prints_the_same(tmp_path: Path, kernel_socket: Install, capsys: Any) -> None:
    file = str(tmp_path / "file.pcap")
    kernel_socket(netlink.IPVSKernel(ENTRIES))
    assert main(["-f", "json", "--record", file]) == 0
    live_output = capsys.readouterr()
    assert main(["-f", "json", "--replay", file]) == 0
    assert capsys.readouterr() == live_output != ("", "")


def test_the_timestamp_of_a_replay_is_that_of_the_recording(
    tmp_path: Path, kernel_socket: Install, capsys: Any
) -> None:
    file = str(tmp_path / "file.pcap")
    kernel_socket(netlink.IPVSKernel(ENTRIES))
    before = time.time_ns() // 1000 * 1000
    assert main(["--record", file]) == 0
    after = time.time_ns()
    capsys.readouterr()
    assert main(["--replay", file]) == 0
    (stamp,) = {int(line.split(" ")[-1]) for line in capsys.readouterr().out.splitlines()}
    assert before <= stamp <= after


def test_a_recording_holds_every_datagram_in_order_and_its_direction() -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    recording = io.BytesIO()
    Client(transport=Recorder(kernel, recording)).services()
    records = netlink.records(recording.getvalue())
    outgoing = [netlink.datagram(record) for record in records if record[16:18] == b"\0\4"]
    assert outgoing == [request.raw for request in kernel.requests]
    assert [netlink.is_request(netlink.datagram(record)) for record in records] == [True, False, False] * 2


def test_a_refused_dump_is_recorded_and_replays_to_no_dump(tmp_path: Path, kernel_socket: Install, capsys: Any) -> None:
    file = str(tmp_path / "file.pcap")
    refusal = {"special": lambda r: [netlink.refusal(errno.EPERM, seq=r.seq)] if r.type == netlink.IPVS else None}
    kernel_socket(netlink.IPVSKernel(ENTRIES, **refusal))
    assert main(["--record", file]) == 1
    capsys.readouterr()
    assert main(["--replay", file]) == 1
    assert "no IPVS dump" in capsys.readouterr().err


def test_one_service_and_the_rest_replay_as_well() -> None:
    recording = io.BytesIO()

    def ask(client: Client) -> tuple[object, ...]:
        client.services()
        return client.service(fwmark=47), client.info(), client.timeouts(), client.daemons()

    answers = ask(Client(transport=Recorder(netlink.IPVSKernel(ENTRIES), recording)))
    assert ask(Client(transport=Replay(io.BytesIO(recording.getvalue())))) == answers


def test_a_question_may_be_asked_again() -> None:
    client = Client(transport=Replay(io.BytesIO(capture("linux-6.1"))))
    assert list(client.dump()) == list(client.dump())


def test_a_replay_answers_who_asks_for_the_family_by_name() -> None:
    client = Client(transport=Replay(io.BytesIO(capture("linux-6.1"))), load_module=True)
    assert len(client.services()) == 9


def test_a_question_that_was_not_recorded_is_an_ipvs_error() -> None:
    client = Client(transport=Replay(io.BytesIO(capture("linux-6.1"))))
    with pytest.raises(DecodeError, match="does not hold"):
        client.timeouts()


@pytest.mark.parametrize(
    ("ask", "missing"),
    [
        (lambda client: client.timeouts(), "the timeouts"),
        (lambda client: client.info(), "the version of IPVS"),
        (lambda client: client.daemons(), "the synchronisation daemons"),
        (lambda client: client.service("tcp", "10.0.0.1", 80), "the virtual service tcp 10.0.0.1:80"),
        (lambda client: client.service(fwmark=7, address_family="inet6"), "the virtual service fwmark 7 inet6"),
        (lambda client: client.dests(client.services()[0]), "the real servers of tcp 10.0.0.1:80"),
        (lambda client: client.dests(client.services()[1]), "the real servers of tcp [2001:db8::1]:80"),
    ],
)
def test_an_answer_that_a_capture_lacks_is_named(ask: "Callable[[Client], object]", missing: str) -> None:
    client = Client(transport=Replay(io.BytesIO(packed(*Session(ENTRIES).exchanges[0]))))
    with pytest.raises(DecodeError) as caught:
        ask(client)
    assert caught.value.what == f"the capture does not hold {missing}"


def test_a_service_that_was_not_asked_for_is_not_said_to_be_absent() -> None:
    client = Client(transport=Replay(io.BytesIO(capture("linux-6.1"))))
    with pytest.raises(IPVSError) as caught:
        client.service(fwmark=4711)
    assert not isinstance(caught.value, NotFoundError)


def test_a_replay_has_no_file_descriptor_and_says_so_with_an_os_error() -> None:
    with pytest.raises(OSError):
        Client(transport=Replay(io.BytesIO(capture("linux-6.1")))).fileno()


# Captures of any client.


class Session:
    """The datagrams that a client and a kernel exchange in one dump, request by request."""

    def __init__(
        self,
        entries: "list[tuple[netlink.Tree, list[netlink.Tree]]]",
        *,
        port: int = 77,
        asks_as: int = 77,
        flags: int = 0,
        seq: int = 1,
        family: int = netlink.IPVS,
        key: "Callable[[netlink.Tree], netlink.Tree] | None" = None,
        all_services: bytes = b"",
        nested: int = netlink.NLA_F_NESTED,
    ) -> None:
        self.exchanges: list[list[bytes]] = []
        to = {"seq": seq, "port": port}

        def exchange(command: int, attributes: bytes, reply: int, trees: list[netlink.Tree]) -> None:
            request = netlink.message(
                family,
                attributes,
                command=command,
                flags=netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP | flags,
                seq=seq,
                port=asks_as,
            )
            parts = [netlink.message(family, netlink.pack(tree), command=reply, **to) for tree in trees]
            self.exchanges.append([request, *([b"".join(parts)] if parts else []), netlink.done(**to)])

        services = [service for service, _ in entries]
        exchange(netlink.GET_SERVICE, all_services, netlink.NEW_SERVICE, services)
        for service, pool in entries:
            tree = (key or key_of)(service)
            exchange(netlink.GET_DEST, netlink.pack(tree, nested), netlink.NEW_DEST, pool)

    @property
    def datagrams(self) -> list[bytes]:
        return [datagram for exchange in self.exchanges for datagram in exchange]


def key_of(service: netlink.Tree) -> netlink.Tree:
    ((command, attributes),) = service
    return [(command, [(type, payload) for type, payload in attributes if type <= netlink.SVC["FWMARK"]])]


def moby_key(service: netlink.Tree) -> netlink.Tree:
    """fillService() in moby/ipvs: IPv4 addresses of four bytes, and scheduler, flags, timeout and netmask, too."""
    ((command, attributes),) = service
    sent = [
        (type, payload) for type, payload in attributes if type not in (netlink.SVC["STATS"], netlink.SVC["STATS64"])
    ]
    ipv4 = dict(attributes)[netlink.SVC["AF"]] == netlink.u16(2)
    return [(command, [(type, p[:4] if type == netlink.SVC["ADDR"] and ipv4 else p) for type, p in sent])]


LOOKUP = [
    netlink.message(netlink.NLCTRL, netlink.attribute(2, b"IPVS\0"), command=netlink.GETFAMILY, flags=5, seq=1, port=9),
    netlink.message(
        netlink.NLCTRL, netlink.family(netlink.IPVS, "IPVS"), command=netlink.NEWFAMILY, flags=0, seq=1, port=9
    ),
    netlink.refusal(0, seq=1, port=9),
]
MOBY = {
    "asks_as": 0,
    "flags": netlink.NLM_F_ACK,
    "key": moby_key,
    "nested": 0,
    "all_services": netlink.attribute(1, b""),
}


def test_a_capture_of_a_plain_client_is_read() -> None:
    assert read(packed(*LOOKUP, *Session(ENTRIES).datagrams)) == live(ENTRIES)


def test_a_capture_of_telegraf_is_read() -> None:
    assert read(packed(*LOOKUP, *Session(ENTRIES, **MOBY).datagrams)) == live(ENTRIES)  # type: ignore[arg-type]


@pytest.mark.parametrize("style", [{}, MOBY], ids=["plain", "telegraf"])
def test_a_capture_from_the_middle_of_a_clients_life_is_read(style: "dict[str, Any]") -> None:
    """The family was looked up long before: its id, which is no fixed number, must be found otherwise."""
    assert read(packed(*Session(ENTRIES, family=0x2B, **style).datagrams)) == live(ENTRIES)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_capture_without_the_family_lookups_reads_the_same(kernel: str) -> None:
    records = netlink.records(capture(kernel))
    lookups = {key(record) for record in records if netlink.header(netlink.datagram(record))[1] == netlink.NLCTRL}
    rest = [record for record in records if key(record) not in lookups]
    assert 0 < len(rest) < len(records)
    assert read(netlink.pcap(rest)) == read(capture(kernel))


def key(record: bytes) -> tuple[int, int]:
    return netlink.header(netlink.datagram(record))[3:]


def test_another_family_with_the_same_commands_is_not_taken_for_ipvs() -> None:
    ask = netlink.message(0x19, command=netlink.GET_SERVICE, flags=0x301, seq=5, port=5)
    tell = netlink.message(0x19, netlink.attribute(1, b"wlan0\0"), command=netlink.NEW_SERVICE, seq=5, port=5)
    other = [ask, tell, netlink.done(seq=5, port=5)]
    assert read(packed(*other, *Session(ENTRIES).datagrams)) == live(ENTRIES)
    assert read(packed(*other, *LOOKUP, *Session(ENTRIES).datagrams)) == live(ENTRIES)


def test_clients_that_use_the_same_sequence_numbers_are_told_apart() -> None:
    other_entries = [(netlink.service(PORT=netlink.be16(port)), POOL6) for port in (1, 2, 3)]
    ours, others = Session(ENTRIES), Session(other_entries, port=78, asks_as=78)
    mixed: list[bytes] = []
    for one, other in zip(ours.exchanges, others.exchanges):
        # Both ask, and the first datagram of each answer is there at once; the ends are read later.
        mixed += [one[0], other[0], *other[1:-1], *one[1:-1], other[-1], one[-1]]
    assert read(packed(*LOOKUP, *mixed)) == live(ENTRIES)


def test_telegrafs_that_use_the_same_sequence_numbers_are_told_apart() -> None:
    """They leave the port to the kernel, which puts its own into the answer; the first datagram follows at once."""
    other_entries = [(netlink.service(PORT=netlink.be16(port)), POOL6) for port in (1, 2, 3)]
    ours, others = Session(ENTRIES, **MOBY), Session(other_entries, **{**MOBY, "port": 78})  # type: ignore[arg-type]
    mixed: list[bytes] = []
    for one, other in zip(ours.exchanges, others.exchanges):
        mixed += [*one[:-1], *other[:-1], one[-1], other[-1]]
    assert read(packed(*LOOKUP, *mixed)) == live(ENTRIES)


def test_a_dump_over_several_datagrams_is_read_whole() -> None:
    many = [(netlink.service(PORT=netlink.be16(port)), []) for port in range(1, 40)]
    session = Session(many)
    request, data, done = session.exchanges[0]
    size = netlink.header(data)[0]
    datagrams = [data[offset : offset + 10 * size] for offset in range(0, len(data), 10 * size)]
    session.exchanges[0] = [request, *datagrams, done]
    assert len(datagrams) == 4
    assert read(packed(*LOOKUP, *session.datagrams)) == live(many)


def test_a_dump_that_ends_in_the_datagram_of_its_data_is_read() -> None:
    session = Session(ENTRIES)
    joined = [[request, b"".join(answer)] for request, *answer in session.exchanges]
    assert read(packed(*LOOKUP, *(datagram for exchange in joined for datagram in exchange))) == live(ENTRIES)


def test_of_several_dumps_the_first_counts() -> None:
    later = [(netlink.service(SCHED_NAME=netlink.text("wlc")), POOL[:1])]
    sessions = Session(ENTRIES).datagrams + Session(later, seq=50).datagrams
    assert read(packed(*LOOKUP, *sessions)) == live(ENTRIES)


def test_of_several_dumps_the_first_complete_one_counts() -> None:
    begun = Session([(WEB, [])], seq=50, port=78, asks_as=78).exchanges[0][:-1]
    assert read(packed(*LOOKUP, *begun, *Session(ENTRIES).datagrams)) == live(ENTRIES)


def test_a_dump_that_was_refused_is_passed_over() -> None:
    ask = Session([], seq=50, port=78, asks_as=78).exchanges[0][0]
    refused = [ask, netlink.refusal(errno.EPERM, request=ask, seq=50, port=78)]
    interrupted = [ask, netlink.done(errno.ENOMEM, seq=50, port=78)]
    assert read(packed(*LOOKUP, *refused, *interrupted, *Session(ENTRIES).datagrams)) == live(ENTRIES)


def test_an_empty_ipvs_is_an_empty_dump() -> None:
    assert read(packed(*LOOKUP, *Session([]).datagrams)) == []


def test_other_netlink_traffic_is_passed_over() -> None:
    """nlmon sees all of a machine's netlink: routes, audit, and generic netlink families of all kinds."""
    route = netlink.record(b"not generic netlink", protocol=0)
    event = netlink.record(netlink.message(0x17, b"\0\0\0\0", command=1, seq=0, port=0))
    noise = [route, event]
    records = [r for d in [*LOOKUP, *Session(ENTRIES).datagrams] for r in (*noise, netlink.record(d))]
    assert read(netlink.pcap([*records, *noise])) == live(ENTRIES)


def test_a_capture_of_services_alone_replays_with_services_only(tmp_path: Path) -> None:
    file = tmp_path / "file.pcap"
    file.write_bytes(packed(*LOOKUP, *Session(ENTRIES).exchanges[0]))
    assert run("--replay", file, "--services-only").stdout.count("ipvs_virtual_server") == 3
    done = run("--replay", file)
    assert done.returncode == 1
    assert done.stderr.startswith("ipvsnl: ") and "real servers" in done.stderr and "--services-only" in done.stderr


# Times.


@pytest.mark.parametrize(
    ("magic", "fraction", "nanoseconds"), [(netlink.MICROSECONDS, 123456, 123456000), (netlink.NANOSECONDS, 9, 9)]
)
def test_the_time_is_that_of_the_question_for_the_services(magic: int, fraction: int, nanoseconds: int) -> None:
    early = [netlink.record(datagram, seconds=1) for datagram in LOOKUP]
    question, *rest = Session(ENTRIES).datagrams
    asked = netlink.record(question, seconds=1700000000, fraction=fraction)
    late = [netlink.record(datagram, seconds=1700000001) for datagram in rest]
    replay = Replay(io.BytesIO(netlink.pcap([*early, asked, *late], magic=magic)))
    assert replay.time == 1700000000 * 10**9 + nanoseconds


def test_a_capture_is_not_changed_by_reading_it() -> None:
    before = capture_path("linux-6.1").stat().st_mtime_ns, capture("linux-6.1")
    run("--replay", capture_path("linux-6.1"))
    assert (capture_path("linux-6.1").stat().st_mtime_ns, capture("linux-6.1")) == before


# Lists that change while they are recorded.


class Director:
    """Services and real servers that change whenever a datagram is filled."""

    def __init__(self, seed: int, services: int, dests: int) -> None:
        self.random = random.Random(seed)
        self.services = [self.service(port) for port in range(1, services + 1)]
        self.pool = [self.dest(port) for port in range(1, dests + 1)]
        self.next_port = 10_000
        self.sockets = 0

    def service(self, port: int) -> netlink.Tree:
        return netlink.service(PORT=netlink.be16(port), STATS64=self.stats())

    def dest(self, port: int) -> netlink.Tree:
        return netlink.destination(PORT=netlink.be16(port), STATS64=self.stats())

    def stats(self) -> netlink.Tree:
        return netlink.stats([self.random.randrange(2**40) for _ in range(10)], wide=True)

    def change(self) -> None:
        make, entries = self.random.choice([(self.service, self.services), (self.dest, self.pool)])
        if entries and self.random.random() < 0.7:
            del entries[self.random.randrange(len(entries))]
        else:
            self.next_port += 1
            entries.insert(0, make(self.next_port))  # IPVS adds at the head


class ChangingKernel(netlink.IPVSKernel):
    """A socket to a director. It fills one datagram of a dump at a time and goes on by position, as the kernel does."""

    def __init__(self, director: Director, offer: int = 65536, largest: int = 65536, used: bool = True) -> None:
        super().__init__()
        self.director = director
        director.sockets += 1
        self.port = 1000 + director.sockets
        self.offer, self.largest = offer, largest
        self.rooms = [32000 if used else 3328]  # of the datagrams that were filled
        self.dump: netlink.Request | None = None

    def send(self, request: bytes) -> None:
        asked = netlink.parse_request(request)
        if asked.command in (netlink.GET_SERVICE, netlink.GET_DEST) and asked.is_dump:
            self.dump, self.position = asked, 0
            self._fill()
        else:
            super().send(request)

    def _fill(self) -> None:
        assert self.dump
        entries = self.director.services if self.dump.command == netlink.GET_SERVICE else self.director.pool
        self.director.change()
        to = {"seq": self.dump.seq, "port": self.port}
        datagram = b""
        for tree in entries[self.position :]:
            reply = netlink.message(netlink.IPVS, netlink.pack(tree), command=self.dump.command - 3, **to)
            if len(datagram) + len(reply) > self.rooms[-1]:
                break
            datagram += reply
            self.position += 1
        if not datagram:
            datagram, self.dump = netlink.done(**to), None
        self.queue.append(datagram)

    def recv_into(self, buffer: bytearray) -> int:
        size = super().recv_into(buffer)
        self.room = self.rooms[-1]
        self.rooms.append(min(self.offer, 32000))
        if size > self.room - 512:
            self.offer = self.largest
        if self.dump and not self.queue:
            self._fill()
        return size

    def another(self, offer: int, largest: int = 65536) -> "ChangingKernel":
        return ChangingKernel(self.director, offer, largest, used=False)


@pytest.mark.parametrize("seed", range(60))
def test_a_recording_of_lists_that_change_replays_to_what_was_read(seed: int) -> None:
    director = Director(seed, *[(150, 0), (3, 200)][seed % 2])
    recording = io.BytesIO()
    with Client(transport=Recorder(ChangingKernel(director), recording)) as client:
        first = list(client.dump())
    replay = Replay(io.BytesIO(recording.getvalue()))
    again = io.BytesIO()
    with Client(transport=Recorder(replay, again)) as client:
        assert list(client.dump()) == first
        assert list(client.dump()) == first, "the second time"
    assert read(again.getvalue()) == first
    assert director.sockets > 2, "no list was dumped twice"


def test_a_recording_that_is_cut_is_an_error() -> None:
    recording = io.BytesIO()
    with Client(transport=Recorder(ChangingKernel(Director(1, 150, 0)), recording)) as client:
        expected = client.services()
    records = netlink.records(recording.getvalue())
    errors = set()
    for count in range(len(records)):
        replies = [netlink.header(netlink.datagram(each)) for each in records[:count] if each[16:18] == b"\0\0"]
        try:
            services = Client(transport=Replay(io.BytesIO(netlink.pcap(records[:count])))).services()
        except DecodeError as error:
            errors.add(error.what)
        else:  # of one dump on one socket nobody knows that it was repeated
            assert services == expected or len({port for *_, port in replies}) == 1
    assert "the capture ends before the reply does" in errors


def test_of_another_clients_dumps_of_a_long_list_the_first_counts() -> None:
    """Whatever sockets it had, and however often it dumped the list: a capture by tcpdump looks so."""
    many = [(netlink.service(PORT=netlink.be16(port)), []) for port in range(1, 150)]
    first, second = Session(many), Session(many[1:], port=78, asks_as=78)
    size = netlink.header(first.exchanges[0][1])[0]
    for session in (first, second):
        request, data, done = session.exchanges[0]
        session.exchanges[0] = [request, data[: 90 * size], data[90 * size :], done]
    datagrams = [*LOOKUP, *first.exchanges[0], *second.exchanges[0]]
    assert len(Client(transport=Replay(io.BytesIO(packed(*datagrams)))).services()) == 149


def test_a_recorded_client_goes_on_after_a_dump_that_was_given_up() -> None:
    connection = Connection(Recorder(netlink.DumpingKernel([(WEB, POOL)]), io.BytesIO()))
    dump = lambda: connection.dump(netlink.IPVS, netlink.GET_SERVICE, b"", reply=netlink.NEW_SERVICE, doing="")  # noqa: E731
    next(dump())
    assert len(list(dump())) == 1
