"""This machine's own kernel, without any privilege: nlctrl, which every Linux has, lists the generic netlink families.

This is what can be tested of the generic layer and of the socket where there is no IPVS.
"""

import errno
import os
import socket
import sys

import netlink
import pytest
from conftest import as_nobody, cannot, run
from interrupts import Impatient

from ipvsnl import NetlinkError, genl
from ipvsnl.genl import Connection, Family
from ipvsnl.transport import NetlinkSocket

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="generic netlink is a part of Linux")

NLCTRL = Family(0x10, "nlctrl", 2)  # GENL_ID_CTRL; its version has been 2 since 2006


@pytest.fixture
def connection() -> "object":
    transport = NetlinkSocket()
    yield Connection(transport)
    transport.close()


def test_the_kernels_families_are_listed(connection: Connection) -> None:
    families = connection.families()
    assert NLCTRL in families
    assert len({family.id for family in families}) == len({family.name for family in families}) == len(families)


def test_nlctrl_is_resolved(connection: Connection) -> None:
    assert connection.load_family("nlctrl") == NLCTRL


def test_each_listed_family_is_resolved_to_itself(connection: Connection) -> None:
    for family in connection.families():
        assert connection.load_family(family.name) == family


def test_a_family_that_no_kernel_has_is_enoent(connection: Connection) -> None:
    with pytest.raises(NetlinkError) as caught:
        connection.load_family("no such family")
    assert caught.value.strerror == "No such file or directory"


def test_a_refused_request_comes_with_the_kernels_words(connection: Connection) -> None:
    """Linux says what is wrong since 4.12, but not about everything: a name too long is an attribute out of range."""
    with pytest.raises(NetlinkError) as caught:
        connection.load_family("x" * 100)
    assert caught.value.errno in (22, 34)  # EINVAL, ERANGE
    assert caught.value.ext_ack is None or caught.value.ext_ack in str(caught.value)


def test_a_connection_goes_on_after_a_refusal_and_a_dump_that_was_given_up(connection: Connection) -> None:
    with pytest.raises(NetlinkError):
        connection.load_family("no such family")
    next(iter(connection.dump(0x10, 3, b"", reply=1, doing="listing the families")))
    assert NLCTRL in connection.families()


def test_a_datagram_that_is_cut_off_is_an_error_and_the_next_has_room() -> None:
    transport = NetlinkSocket(offer=64)
    connection = Connection(transport)
    with pytest.raises(NetlinkError) as caught:
        connection.families()
    assert caught.value.errno == errno.EMSGSIZE
    assert NLCTRL in connection.families()
    transport.close()


def test_a_buffer_that_overflows_is_an_error_and_the_next_is_answered() -> None:
    """The kernel then stops a dump, and goes on with it when something is received."""
    transport = NetlinkSocket()
    connection = Connection(transport)
    expected = connection.families()
    transport._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it as small as it may be
    for seq in range(100):  # and nobody receives the answers
        transport.send(netlink.message(0x10, netlink.attribute(2, b"nlctrl\0"), command=3, flags=1, seq=seq + 1000))
    with pytest.raises(NetlinkError) as caught:
        connection.families()
    assert caught.value.errno == errno.ENOBUFS
    assert connection.families() == expected
    transport.close()


def test_no_other_process_can_slip_in_an_answer() -> None:
    transport = NetlinkSocket()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as other, pytest.raises(OSError) as caught:
        other.sendto(netlink.done(seq=1, port=transport.port), (transport.port, 0))
    transport.close()
    if caught.value.errno == errno.EPERM:
        cannot("to send to other processes needs CAP_NET_ADMIN")
    assert caught.value.errno == errno.ECONNREFUSED


def test_another_socket_without_a_descriptor_to_load_fcntl_is_an_os_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which a client takes for what it is, and goes on with one socket."""
    transport = NetlinkSocket()
    monkeypatch.setitem(sys.modules, "fcntl", None)  # how an import of it fails
    with pytest.raises(OSError) as caught:
        transport.another(8192)
    assert caught.value.errno == errno.EMFILE
    transport.close()


def test_two_sockets_have_different_ports() -> None:
    one, other = NetlinkSocket(), NetlinkSocket()
    assert one.port and other.port and one.port != other.port
    assert one.fileno() != other.fileno()
    one.close()
    other.close()


def test_a_closed_socket_is_a_netlink_error() -> None:
    transport = NetlinkSocket()
    transport.close()
    with pytest.raises(NetlinkError, match="closed"):
        Connection(transport).families()


def test_a_kernel_that_says_nothing_ends_in_a_timeout() -> None:
    transport = NetlinkSocket(timeout=0.05)
    with pytest.raises(TimeoutError):
        transport.recv_into(bytearray(65536))
    transport.close()


@pytest.mark.parametrize("timeout", [0, -1, 2**31 / 1000, (2**31 - 0.5) / 1000, float("inf"), float("nan")])
def test_a_timeout_that_cannot_be_is_a_value_error(timeout: float) -> None:
    with pytest.raises(ValueError, match=f"{timeout} seconds"):
        NetlinkSocket(timeout=timeout)


def test_families_are_listed_without_any_privilege() -> None:
    code = """
from ipvsnl.genl import Connection
from ipvsnl.transport import NetlinkSocket
connection = Connection(NetlinkSocket())
print([family.name for family in connection.families()].count("nlctrl"), connection.load_family("nlctrl").id)
"""
    assert as_nobody(code) == "1 16\n"


def has_ipvs() -> bool:
    transport = NetlinkSocket()
    try:
        return "IPVS" in [family.name for family in Connection(transport).families()]
    finally:
        transport.close()


def test_a_kernel_without_ipvs_is_status_3_and_stays_without() -> None:
    if has_ipvs():
        pytest.skip("this kernel has IPVS")
    done = run()
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("ipvsnl: ") and done.stderr.count("\n") == 1
    assert "modprobe ip_vs" in done.stderr and "--load-module" in done.stderr
    assert not has_ipvs()


def assert_refused_in_a_child(connection: Connection) -> None:
    child = os.fork()
    if not child:
        try:
            connection.families()
        except NetlinkError as error:
            os._exit(0 if error.errno == errno.EBADF else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


def test_a_fork_closes_the_socket_to_the_child_and_the_parent_goes_on() -> None:
    transport = NetlinkSocket()
    connection = Connection(transport)
    assert_refused_in_a_child(connection)
    assert connection.families()
    transport.close()


def test_a_forked_child_takes_nothing_of_what_its_parent_waits_for() -> None:
    transport = Impatient()
    connection = Connection(transport)
    attributes = genl.CTRL_ATTRS.encode({"FAMILY_NAME": "nlctrl"})
    connection.begin(genl.GENL_ID_CTRL, 0, genl.CTRL_CMD_GETFAMILY, attributes, "asking")
    assert_refused_in_a_child(connection)
    connection.receive("asking")
    assert connection.message("asking")
    transport.close()
