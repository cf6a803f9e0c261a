"""Files that are no capture of an IPVS dump: each is status 1 and one line that says which. A part of the
truth is never printed as if it were the whole."""

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import netlink
import pytest
from conftest import KERNELS, capture, run

from ipvsnl import Client, DecodeError, genl
from ipvsnl.capture import Replay
from ipvsnl.cli import main

GOOD = capture("linux-6.1")
RECORDS = netlink.records(GOOD)
REQUEST = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP


BROKEN = {
    "an empty file": (b"", "empty"),
    "a gzip file": (b"\x1f\x8b\x08\0" + bytes(60), "gunzip -c "),
    "a cut record": (GOOD[:-1], "cut short"),
    "no records": (netlink.pcap([]), "no IPVS dump"),
    "other generic netlink": (netlink.pcap(RECORDS[:3]), "no IPVS dump"),
    "other netlink": (netlink.pcap([netlink.record(b"route", protocol=0)]), "no IPVS dump"),
    "no service dump": (capture("linux-6.1", "control.pcap"), "no IPVS dump"),
    "nonsense for netlink": (netlink.pcap([netlink.record(bytes(40))]), ""),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_capture_is_one_line_that_says_what_it_is(what: str, tmp_path: Path, capsys: Any) -> None:
    content, said = BROKEN[what]
    file = tmp_path / "file.pcap"
    file.write_bytes(content)
    assert main(["--replay", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("ipvsnl: ") and err.count("\n") == 1
    assert err.startswith(f"ipvsnl: {file}: ") and said in err
    assert not said.endswith(" ") or f"{said}'{file}' " in err  # a command, and the file's name


def test_a_broken_capture_is_so_for_the_program_too(tmp_path: Path) -> None:
    file = tmp_path / "file.pcap"
    file.write_bytes(b"")
    done = run("--replay", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "empty" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_capture_cut_between_records_is_all_that_came_before_or_an_error(kernel: str) -> None:
    """It is no fault in the file; but a dump that it does not have to its end is not printed as if it were whole."""
    records = netlink.records(capture(kernel))
    whole = list(Client(transport=Replay(io.BytesIO(capture(kernel)))).dump())
    outcomes = set()
    for count in range(len(records)):
        try:
            client = Client(transport=Replay(io.BytesIO(netlink.pcap(records[:count]))))
        except DecodeError as error:
            assert "no IPVS dump" in str(error)
            outcomes.add("no dump")
            continue
        read = []
        with pytest.raises(DecodeError, match="does not hold the real servers of"):
            for entry in client.dump():
                read.append(entry)
        assert read == whole[: len(read)]
        outcomes.add("some pools" if read else "no pools")
    assert outcomes == {"no dump", "no pools", "some pools"}


def test_a_dump_without_its_end_is_not_complete() -> None:
    question = next(n for n, record in enumerate(RECORDS) if netlink.datagram(record)[16:17] == b"\4")
    with pytest.raises(DecodeError, match="complete"):
        Replay(io.BytesIO(netlink.pcap(RECORDS[: question + 2])))


def test_a_dump_whose_end_was_lost_is_not_complete_if_more_follows() -> None:
    question = next(n for n, record in enumerate(RECORDS) if netlink.datagram(record)[16:17] == b"\4")
    with pytest.raises(DecodeError, match="no IPVS dump"):
        Replay(io.BytesIO(netlink.pcap(RECORDS[: question + 2] + RECORDS[question + 3 :])))


@pytest.mark.parametrize("length", [0, 1, 3, 15, 0xFFFF])
def test_an_answer_that_begins_with_a_damaged_length_is_not_left_out(length: int) -> None:
    question = next(n for n, record in enumerate(RECORDS) if netlink.datagram(record)[16:17] == b"\4")
    answer = bytearray(RECORDS[question + 1])
    answer[32:36] = netlink.u32(length)  # behind the headers of the record and of the cooked capture
    damaged = [*RECORDS[: question + 1], bytes(answer), *RECORDS[question + 2 :]]
    with pytest.raises(DecodeError):
        Client(transport=Replay(io.BytesIO(netlink.pcap(damaged)))).services()


def test_the_work_is_proportional_to_the_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it names no family, so that each answer might be one of IPVS, and answers many requests at once."""
    numbers, read = range(1, 301), []
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    asked = [netlink.message(netlink.IPVS, command=netlink.GET_SERVICE, flags=flags, seq=n) for n in numbers]
    told = [netlink.message(netlink.IPVS, command=netlink.NEW_SERVICE, seq=n) + netlink.done(seq=n) for n in numbers]
    data = netlink.pcap([netlink.record(b"".join(asked)), netlink.record(b"".join(told))])
    message_at = genl.message_at
    monkeypatch.setattr(genl, "message_at", lambda *arguments: read.append(1) or message_at(*arguments))
    with pytest.raises(DecodeError):
        Replay(io.BytesIO(data))
    assert len(read) < 10 * len(numbers)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: netlink.message(netlink.IPVS, flags=REQUEST, seq=n),
        lambda n: netlink.message(netlink.IPVS, command=netlink.GET_SERVICE, flags=REQUEST, seq=n),
        lambda n: netlink.message(netlink.IPVS, bytes(40), command=netlink.GET_DEST, flags=REQUEST, seq=n),
    ],
    ids=["without a command", "without a reply", "without sense"],
)
def test_requests_that_cannot_be_replayed_are_not_kept(make: "Callable[[int], bytes]") -> None:
    requests = [b"".join(map(make, range(n, n + 3000))) for n in range(0, 30000, 3000)]
    file = io.BytesIO(netlink.pcap([*map(netlink.record, requests), *RECORDS]))
    tracemalloc.start()
    try:
        replay = Replay(file)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()
    assert len(Client(transport=replay).services()) == 9


def test_services_that_differ_where_nobody_looks_are_one() -> None:
    """Else each would have the real servers of all, and a small capture an answer without end."""
    addresses = [netlink.address("10.0.0.1")[:4] + bytes([number] * 12) for number in range(50)]
    to = {"seq": 1, "port": netlink.PORT}
    trees = [netlink.service(ADDR=address) for address in addresses]
    services = [netlink.message(netlink.IPVS, netlink.pack(t), command=netlink.NEW_SERVICE, **to) for t in trees]
    flags = netlink.NLM_F_REQUEST | netlink.NLM_F_DUMP
    asked = netlink.message(netlink.IPVS, command=netlink.GET_SERVICE, flags=flags, **to)
    data = netlink.pcap([netlink.record(each) for each in (asked, b"".join(services), netlink.done(**to))])
    assert len(Client(transport=Replay(io.BytesIO(data))).services()) == 1


def test_any_byte_may_be_wrong_and_the_worst_is_a_decode_error() -> None:
    start = next(n for n, record in enumerate(RECORDS) if netlink.datagram(record)[16:17] == b"\4")
    small = netlink.pcap(RECORDS[start : start + 6])
    for position in range(len(small)):
        changed = bytearray(small)
        changed[position] ^= 0xFF
        try:
            client = Client(transport=Replay(io.BytesIO(bytes(changed))))
            client.services()
        except DecodeError:
            continue


def test_the_class_of_the_error_is_the_libraries() -> None:
    with pytest.raises(DecodeError, match="empty"):
        Replay(io.BytesIO(b""))
