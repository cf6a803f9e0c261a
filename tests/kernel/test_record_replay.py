"""What is recorded from a live kernel replays to the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from director import REAL, REAL6, VIP, VIP6, configure, eventually, printed, set_up_addresses, talk
from linux import run

from ipvsnl import dump

RULES = f"""\
-A -t {VIP}:80 -s wrr
-a -t {VIP}:80 -r {REAL}:80 -m -w 3
-a -t {VIP}:80 -r 192.0.2.1:80 -g -w 0
-A -u {VIP}:53 -s sh -p 300 -M 255.255.255.0 -b sh-port
-A -u [{VIP6}]:53 -s rr
-a -u [{VIP6}]:53 -r [{REAL6}]:53 -m -w 1
-a -u [{VIP6}]:53 -r 192.0.2.1:53 -i -w 0 --tun-type gre --tun-csum
-A -f 47 -6 -s mh
"""
RULES += "".join(f"-A -t {VIP}:{port} -s rr\n-a -t {VIP}:{port} -r 192.0.2.1:80 -m\n" for port in range(1001, 1151))


@pytest.fixture(autouse=True)
def traffic(namespace: None) -> None:
    """Traffic that is over and counted, among so many services that their dump does not fit one datagram."""
    set_up_addresses()
    configure(RULES)
    for protocol, virtual, real in [("tcp", (VIP, 80), (REAL, 80)), ("udp", (VIP6, 53), (REAL6, 53))]:
        talk(protocol, virtual, real).exchange(bytes(1000), bytes(1000))
    eventually(lambda: sum(service.stats.connections for service, _ in dump()) == 2)


def test_the_document_is_the_same(tmp_path: Path) -> None:
    file = str(tmp_path / "ipvs.pcap")
    recorded = printed("--record", file, "-f", "json")
    assert printed("--replay", file, "-f", "json") == recorded
    assert len(json.loads(recorded)["services"]) == RULES.count("-A ")


def test_the_lines_are_the_same(tmp_path: Path) -> None:
    """Their time is that of the first answer in the capture, which is a little after that of the command's start."""
    file = str(tmp_path / "ipvs.pcap")
    recorded, replayed = printed("--record", file).splitlines(), printed("--replay", file).splitlines()
    assert [line.rpartition(" ")[0] for line in replayed] == [line.rpartition(" ")[0] for line in recorded]


def test_without_real_servers(tmp_path: Path) -> None:
    file = str(tmp_path / "ipvs.pcap")
    recorded = printed("--record", file, "-f", "json", "--services-only")
    assert printed("--replay", file, "-f", "json", "--services-only") == recorded


def test_from_one_process_to_another(tmp_path: Path) -> None:
    file = str(tmp_path / "ipvs.pcap")
    recorded = run(sys.executable, "-m", "ipvsnl", "--record", file, "-f", "json")
    assert run(sys.executable, "-m", "ipvsnl", "--replay", file, "-f", "json") == recorded
