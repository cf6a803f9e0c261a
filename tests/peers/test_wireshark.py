"""Recordings in other programs: Wireshark's tshark and tcpdump open them and see generic netlink."""

import io
import subprocess
from collections.abc import Callable
from pathlib import Path

import netlink
import pytest
from conftest import capture

from ipvsnl import Client
from ipvsnl.capture import Recorder, Replay

Tool = Callable[[str], str]


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A recording of a whole dump. The kernel is a replay: its lookup of the family is made up, too."""
    file = tmp_path / "recording.pcap"
    with file.open("wb") as output:
        source = Replay(io.BytesIO(capture("linux-6.1")))
        with Client(transport=Recorder(source, output)) as client:
            list(client.dump())
    return file


def output(*command: object) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_tshark_names_generic_netlink_messages(recording: Path, tool: Tool) -> None:
    text = output(tool("tshark"), "-r", recording)
    datagrams = netlink.records(recording.read_bytes())
    assert text.count("\n") == len(datagrams)
    assert "Netlink generic" in text


def test_tshark_reads_the_family_lookup_and_the_ipvs_messages_after_it(recording: Path, tool: Tool) -> None:
    text = output(tool("tshark"), "-r", recording, "-V")
    assert "Linux Generic Netlink protocol" in text
    assert "IPVS" in text
    assert "Malformed" not in text


def test_tshark_sees_every_message_with_its_sequence_number(recording: Path, tool: Tool) -> None:
    text = output(tool("tshark"), "-r", recording, "-T", "fields", "-e", "netlink.hdr_seq")
    expected = []
    for record in netlink.records(recording.read_bytes()):
        datagram, offset, numbers = netlink.datagram(record), 0, []
        while offset < len(datagram):
            length, _, _, seq, _ = netlink.header(datagram[offset:])
            numbers.append(seq)
            offset += length
        expected.append(numbers)
    seen = [[int(number, 0) for number in line.split(",")] for line in text.splitlines()]
    assert [numbers[0] for numbers in seen] == [numbers[0] for numbers in expected]


def test_tcpdump_reads_every_record(recording: Path, tool: Tool) -> None:
    text = output(tool("tcpdump"), "-r", recording, "-n", "-t")
    assert text.count("\n") >= len(netlink.records(recording.read_bytes()))


def test_tcpdump_copies_a_recording_unchanged(recording: Path, tool: Tool, tmp_path: Path) -> None:
    """Its file header, too: magic, version, snap length and link type are those that tcpdump itself writes."""
    copy = tmp_path / "copy.pcap"
    output(tool("tcpdump"), "-r", recording, "-w", copy)
    assert copy.read_bytes() == recording.read_bytes()
