"""Reading the IPVS of another network namespace, by its name and by its path, without being there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from director import VIP, configure, ipvsnl, printed
from linux import CAP_NET_ADMIN, become_nobody, in_child, run

from ipvsnl import Client, NetlinkError, PermissionDeniedError

CAP_SYS_ADMIN = 21
BLUE, RED = f"blue-{os.getpid()}", f"red-{os.getpid()}"
HERE = Path("/proc/thread-self/ns/net")


@pytest.fixture(autouse=True)
def three_namespaces(namespace: None) -> Iterator[None]:
    """This one balances TCP, blue a mark, red UDP with a real server."""
    configure(f"-A -t {VIP}:80 -s rr\n")
    at_home = os.stat(HERE).st_ino
    try:
        for name in (BLUE, RED):
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")  # without any interface no real server has a valid address
        run("ip", "netns", "exec", BLUE, "ipvsadm", "-A", "-f", "47", "-s", "rr")
        rules = f"-A -u {VIP}:53 -s wlc\n-a -u {VIP}:53 -r 192.0.2.1:53 -m\n"
        run("ip", "netns", "exec", RED, "ipvsadm", "-R", text=rules)
        yield
        assert os.stat(HERE).st_ino == at_home
    finally:
        for name in (BLUE, RED):
            run("ip", "netns", "delete", name)


def seen(client: Client) -> list[tuple[str | None, int | None, int]]:
    return [(service.protocol, service.fwmark, len(pool)) for service, pool in client.dump()]


@pytest.mark.parametrize("folder", ["", "/run/netns/"], ids=["name", "path"])
def test_each_has_its_own_services(folder: str) -> None:
    with Client(netns=folder + BLUE) as blue, Client() as here, Client(netns=folder + RED) as red:
        for _ in range(2):
            assert seen(here) == [("tcp", None, 0)]
            assert seen(blue) == [(None, 47, 0)]
            assert seen(red) == [("udp", None, 1)]


def test_the_command_line_reads_them_too() -> None:
    assert "fwmark=47" in printed("--netns", BLUE)
    assert printed("--netns", f"/run/netns/{RED}").count("\n") == 2
    assert "port=80" in printed()
    assert 'protocol="udp"' in printed("--netns", RED, "-f", "prometheus")


def test_the_namespace_of_a_process_by_its_path() -> None:
    assert "port=80" in printed("--netns", f"/proc/{os.getpid()}/task/{os.getpid()}/ns/net")


def test_a_recording_is_of_that_namespace(tmp_path: Path) -> None:
    capture = str(tmp_path / "blue.pcap")
    lines = printed("--netns", BLUE, "--record", capture)
    assert "fwmark=47" in lines
    tags = lines.partition(" ")[0].replace(f",netns={BLUE}", "")  # a capture does not name the namespace
    assert printed("--replay", capture).partition(" ")[0] == tags


def test_a_name_that_is_gone_is_one_line() -> None:
    status, out, err = ipvsnl("--netns", "no-such-name")
    assert (status, out, err.count("\n")) == (1, "", 1)
    with pytest.raises(NetlinkError, match="ip netns"):
        Client(netns="no-such-name")


def test_a_client_keeps_the_namespace_that_it_reads() -> None:
    name = f"green-{os.getpid()}"
    run("ip", "netns", "add", name)
    with Client(netns=name) as client:
        run("ip", "netns", "exec", name, "ipvsadm", "-A", "-f", "1", "-s", "rr")
        run("ip", "netns", "delete", name)
        assert seen(client) == [(None, 1, 0)]


def test_two_capabilities_are_enough() -> None:
    def read() -> list[tuple[str | None, int | None, int]]:
        become_nobody(CAP_NET_ADMIN, CAP_SYS_ADMIN)
        with Client(netns=BLUE) as client:
            return seen(client)

    assert in_child(read) == [(None, 47, 0)]


def test_without_cap_sys_admin_it_is_denied_by_that_name() -> None:
    def read() -> str:
        become_nobody(CAP_NET_ADMIN)
        with pytest.raises(PermissionDeniedError) as caught:
            Client(netns=BLUE)
        return str(caught.value)

    assert "CAP_SYS_ADMIN" in in_child(read)
