"""Each network namespace has an IPVS of its own."""

from __future__ import annotations

import os
import sys

from director import VIP, configure, printed
from linux import network_namespace, run

from ipvsnl import Client, dump


def test_a_new_namespace_reads_empty_while_its_parent_does_not() -> None:
    configure(f"-A -t {VIP}:80 -s rr\n")
    with network_namespace():
        assert dump() == []
        assert printed() == ""
        assert printed("-f", "json").startswith('{"services": [], ')
    assert len(dump()) == 1


def test_a_client_stays_in_the_namespace_where_it_was_made() -> None:
    configure(f"-A -t {VIP}:80 -s rr\n")
    with Client() as client, network_namespace():
        configure(f"-A -u {VIP}:53 -s wlc\n-A -u {VIP}:54 -s wlc\n")
        assert [service.protocol for service in client.services()] == ["tcp"]
        assert [service.protocol for service, _ in dump()] == ["udp", "udp"]


def test_a_process_reads_the_namespace_in_which_it_is_started() -> None:
    """With `ip netns exec NAME python3 -m ipvsnl`."""
    name = f"ipvsnl-{os.getpid()}"
    configure(f"-A -t {VIP}:80 -s rr\n")
    run("ip", "netns", "add", name)
    try:
        inside = ["ip", "netns", "exec", name]
        run(*inside, "ipvsadm", "-A", "-f", "47", "-s", "rr")
        lines = run(*inside, sys.executable, "-m", "ipvsnl").splitlines()
        assert [line.partition(" ")[0] for line in lines] == [
            "ipvs_virtual_server,address_family=inet,fwmark=47,netmask=32,sched=rr"
        ]
    finally:
        run("ip", "netns", "delete", name)
