"""What there is beside services and real servers, and what ipvsadm cannot make: single answers, timeouts, daemons."""

from __future__ import annotations

import socket
import struct

import ipvsadm
import netlink
import pytest
from director import VIP, VIP6, configure, set_up_void
from linux import run

from ipvsnl import Client, NotFoundError
from ipvsnl.genl import Connection
from ipvsnl.transport import NetlinkSocket


def test_version_and_table_size() -> None:
    said = ipvsadm.info(run("ipvsadm", "-Ln"))
    with Client() as client:
        info = client.info()
    assert {"version": info.version, "connection_table_size": info.connection_table_size} == said


@pytest.mark.parametrize("values", ["900 120 300", "1 2 3", "2147483 2147482 2147481"])
def test_timeouts(values: str) -> None:
    """The last ones are the largest that the kernel takes: they fit 31 bits as milliseconds."""
    run("ipvsadm", "--set", *values.split())
    said = ipvsadm.timeouts(run("ipvsadm", "-Ln", "--timeout"))
    with Client() as client:
        timeouts = client.timeouts()
    assert [timeouts.tcp, timeouts.tcp_fin, timeouts.udp] == list(map(int, values.split())) == list(said.values())


MASTER = ["master", "--mcast-interface", "void", "--syncid", "77"]
BACKUP = ["backup", "--mcast-interface", "void", "--syncid", "255", "--sync-maxlen", "1400", "--mcast-port", "9000"]
BACKUP4 = [*BACKUP, "--mcast-group", "239.1.2.3", "--mcast-ttl", "8"]
BACKUP6 = [*BACKUP, "--mcast-group", "ff05::81", "--mcast-ttl", "255"]


@pytest.mark.parametrize("daemons", [[], [MASTER], [BACKUP4], [MASTER, BACKUP6]])
def test_daemons(daemons: list[list[str]]) -> None:
    set_up_void()
    for daemon in daemons:
        run("ipvsadm", "--start-daemon", *daemon)
    said = ipvsadm.daemons(run("ipvsadm", "-Ln", "--daemon"))
    with Client() as client:
        found = client.daemons()
    assert [{name: getattr(daemon, name) for name in entry} for daemon, entry in zip(found, said)] == said
    assert [daemon.state for daemon in found] == [daemon[0] for daemon in daemons]


RULES = f"""\
-A -t {VIP}:80 -s rr
-A -u {VIP}:80 -s wrr
-A --sctp-service [{VIP6}]:80 -s lc
-A -t {VIP}:0 -s rr -p 300
-A -f 47 -s sh
-A -f 47 -6 -s dh
-A -f 4294967295 -s sed
"""


def test_a_single_service_is_the_one_of_the_dump() -> None:
    configure(RULES)
    with Client() as client:
        services = client.services()
        for each in services:
            single = client.service(
                each.protocol, each.address, each.port, fwmark=each.fwmark, address_family=each.address_family
            )
            assert single == each
    assert len({service.scheduler for service in services}) == 6


def test_a_service_that_only_resembles_one_is_not_found() -> None:
    """The kernel takes the question word by word: a service for all ports is no answer to a question for one."""
    configure(RULES)
    with Client() as client:
        for question in [("tcp", VIP, 81), ("sctp", VIP, 80), ("tcp", "10.99.0.2", 80)]:
            with pytest.raises(NotFoundError):
                client.service(*question)
        with pytest.raises(NotFoundError):
            client.service(fwmark=48)


def add_destination(service: netlink.Tree, destination: netlink.Tree) -> None:
    """Has the kernel add a real server that no option of ipvsadm makes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as kernel:
        family = Connection(NetlinkSocket()).load_family("IPVS").id
        flags = netlink.NLM_F_REQUEST | netlink.NLM_F_ACK
        payload = netlink.pack(service + destination)
        kernel.send(netlink.message(family, payload, command=netlink.NEW_DEST, flags=flags, port=0))
        _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", kernel.recv(65536))
        assert (kind, error) == (netlink.NLMSG_ERROR, 0)


@pytest.mark.parametrize("number, name", [(1, "local"), (4, "bypass")])
def test_forwarding_methods_that_ipvsadm_cannot_set(number: int, name: str) -> None:
    """Nor does it know the second: it prints "(null)" for it."""
    configure(f"-A -t {VIP}:80 -s rr\n")
    key = {"AF": netlink.u16(2), "PROTOCOL": netlink.u16(6), "ADDR": netlink.address(VIP), "PORT": netlink.be16(80)}
    service: netlink.Tree = [(netlink.CMD_SERVICE, [(netlink.SVC[field], value) for field, value in key.items()])]
    add_destination(service, netlink.destination(FWD_METHOD=netlink.u32(number), STATS=None, STATS64=None))
    with Client() as client:
        (destination,) = client.dests(client.services()[0])
    assert (destination.address, destination.forwarding) == ("192.0.2.1", name)
