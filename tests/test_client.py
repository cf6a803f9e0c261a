"""The client: which requests it sends, what it makes of the replies, and which requests it never sends.

The kernel is the scripted one of tests/netlink.py, with three services.
"""

import contextlib
import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import netlink
import pytest

import ipvsnl
from ipvsnl import (
    Client,
    DecodeError,
    Destination,
    Info,
    NetlinkError,
    NotAvailableError,
    NotFoundError,
    PermissionDeniedError,
    Service,
    Timeouts,
    _dump,
    testing,
)

WEB = netlink.service()
WEB6 = netlink.service(
    AF=netlink.u16(10), ADDR=netlink.address("2001:db8::1"), PORT=netlink.be16(443), NETMASK=netlink.u32(128)
)
MARK = netlink.fwmark_service(47)
POOL = [netlink.destination(), netlink.destination(ADDR=netlink.address("192.0.2.2"))]
POOL6 = [netlink.destination(ADDR=netlink.address("2001:db8::2"), ADDR_FAMILY=netlink.u16(10))]
ENTRIES = [(WEB, POOL), (WEB6, POOL6), (MARK, [])]

LIST_FAMILIES = (netlink.NLCTRL, netlink.GETFAMILY, True)
FAMILY_BY_NAME = (netlink.NLCTRL, netlink.GETFAMILY, False)
SERVICES = (netlink.IPVS, netlink.GET_SERVICE, True)
ONE_SERVICE = (netlink.IPVS, netlink.GET_SERVICE, False)
DESTS = (netlink.IPVS, netlink.GET_DEST, True)


@pytest.fixture
def kernel() -> netlink.IPVSKernel:
    return netlink.IPVSKernel(ENTRIES)


@pytest.fixture
def client(kernel: netlink.IPVSKernel) -> Client:
    return Client(transport=kernel)


def address_and_mark(service: Service) -> tuple[object, object]:
    return service.address, service.fwmark


def test_services_are_listed_in_the_kernels_order(client: Client) -> None:
    assert [address_and_mark(service) for service in client.services()] == [
        ("10.0.0.1", None),
        ("2001:db8::1", None),
        (None, 47),
    ]


def test_dests_are_those_of_the_service(client: Client) -> None:
    web, web6, mark = client.services()
    assert [destination.address for destination in client.dests(web)] == ["192.0.2.1", "192.0.2.2"]
    assert [destination.address for destination in client.dests(web6)] == ["2001:db8::2"]
    assert client.dests(mark) == []


def test_a_dump_is_each_service_with_its_real_servers(client: Client) -> None:
    assert [(address_and_mark(service), len(dests)) for service, dests in client.dump()] == [
        (("10.0.0.1", None), 2),
        (("2001:db8::1", None), 1),
        ((None, 47), 0),
    ]


def test_a_dump_costs_one_request_for_the_services_and_one_for_each_pool(
    client: Client, kernel: netlink.IPVSKernel
) -> None:
    list(client.dump())
    assert kernel.asked() == [LIST_FAMILIES, SERVICES, DESTS, DESTS, DESTS]


@pytest.mark.parametrize("room", [0, 32000], ids=["in a datagram of unknown room", "in a datagram with room for more"])
def test_a_real_server_that_the_kernel_walks_past_twice_is_listed_once(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Linux 7 a walk continues from the head if its entry is deleted and added again (_merge.py)."""
    monkeypatch.setattr(_dump.DUMP_DESTS, "jumps", True)
    kernel = netlink.IPVSKernel([(WEB, [*POOL, netlink.destination(WEIGHT=netlink.u32(7)), POOL[1]])])
    kernel.room = room
    client = Client(transport=kernel)
    (web,) = client.services()
    assert [(each.address, each.weight) for each in client.dests(web)] == [("192.0.2.1", 7), ("192.0.2.2", 1)]


def test_services_alone_ask_for_no_real_servers(client: Client, kernel: netlink.IPVSKernel) -> None:
    client.services()
    assert kernel.asked() == [LIST_FAMILIES, SERVICES]


def test_a_dump_is_lazy(client: Client, kernel: netlink.IPVSKernel) -> None:
    entries = client.dump()
    assert kernel.asked() == [LIST_FAMILIES]
    next(entries)
    assert kernel.asked() == [LIST_FAMILIES, SERVICES, DESTS]


def test_an_empty_ipvs_is_an_empty_dump() -> None:
    assert list(Client(transport=netlink.IPVSKernel()).dump()) == []


def test_a_service_that_goes_during_a_dump_has_no_real_servers(client: Client, kernel: netlink.IPVSKernel) -> None:
    """The kernel sends the same empty dump for a service that has gone and for one without real servers."""
    entries = client.dump()
    next(entries)
    kernel.entries.clear()
    assert [dests for _, dests in entries] == [[], []]


def test_a_dump_that_was_given_up_does_not_disturb_the_next(client: Client) -> None:
    next(client.dump())
    assert [len(dests) for _, dests in client.dump()] == [2, 1, 0]


def test_two_dumps_at_once_do_not_disturb_each_other(client: Client) -> None:
    both = list(zip(client.dump(), client.dump()))
    assert len(both) == 3
    assert all(one == other for one, other in both)


def test_a_dump_over_several_datagrams_is_read_whole() -> None:
    trees = [netlink.service(PORT=netlink.be16(port)) for port in range(1, 300)]

    def pages(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        parts = [
            netlink.message(netlink.IPVS, netlink.pack(tree), command=netlink.NEW_SERVICE, seq=request.seq)
            for tree in trees
        ]
        return [b"".join(parts[:100]), b"".join(parts[100:200]), b"".join(parts[200:]), netlink.done(seq=request.seq)]

    services = Client(transport=netlink.IPVSKernel(special=pages)).services()
    assert [service.port for service in services] == list(range(1, 300))


def test_the_version_and_the_table_size(client: Client) -> None:
    assert client.info() == Info("1.2.1", 4096)


def test_the_timeouts(client: Client) -> None:
    assert client.timeouts() == Timeouts(tcp=900, tcp_fin=120, udp=300)


DAEMON = [(1, netlink.u32(2)), (2, netlink.text("eth0")), (3, netlink.u32(7))]


def client_with_a_daemon(attributes: "netlink.Tree") -> Client:
    def reply(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.command != netlink.GET_DAEMON:
            return None
        payload = netlink.pack([(netlink.CMD_DAEMON, attributes)])
        message = netlink.message(netlink.IPVS, payload, command=netlink.NEW_DAEMON, seq=request.seq)
        return [message, netlink.done(seq=request.seq)]

    return Client(transport=netlink.IPVSKernel(special=reply))


def test_the_daemons() -> None:
    (daemon,) = client_with_a_daemon(DAEMON).daemons()
    assert (daemon.state, daemon.mcast_ifn, daemon.sync_id) == ("backup", "eth0", 7)
    assert daemon.mcast_group is daemon.mcast_ttl is None


@pytest.mark.parametrize("name", ["STATE", "MCAST_IFN", "SYNC_ID"])
def test_a_daemon_that_lacks_an_attribute_is_a_decode_error(name: str) -> None:
    client = client_with_a_daemon([each for each in DAEMON if each[0] != netlink.DAEMON[name]])
    with pytest.raises(DecodeError, match=f"IPVS_DAEMON_ATTR_{name} is missing"):
        client.daemons()


# One service.


def test_a_service_by_protocol_address_and_port(client: Client, kernel: netlink.IPVSKernel) -> None:
    assert client.service("tcp", "10.0.0.1", 80) == client.services()[0]
    assert kernel.asked()[1] == ONE_SERVICE


def test_an_ipv6_service_by_protocol_address_and_port(client: Client) -> None:
    assert client.service("tcp", "2001:db8::1", 443) == client.services()[1]


def test_a_service_by_fwmark(client: Client) -> None:
    assert client.service(fwmark=47) == client.services()[2]


def test_a_service_by_keywords(client: Client) -> None:
    assert client.service(protocol="tcp", address="10.0.0.1", port=80).port == 80


def test_a_fwmark_is_of_ipv4_unless_said_otherwise(client: Client) -> None:
    with pytest.raises(NotFoundError):
        client.service(fwmark=47, address_family="inet6")


@pytest.mark.parametrize(
    "wanted", [{"protocol": "udp", "address": "10.0.0.1", "port": 80}, {"fwmark": 48}], ids=["address", "fwmark"]
)
def test_a_service_that_is_not_there_is_a_not_found_error(client: Client, wanted: "dict[str, object]") -> None:
    with pytest.raises(NotFoundError) as caught:
        client.service(**wanted)  # type: ignore[arg-type]
    assert isinstance(caught.value, LookupError) and caught.value.errno == errno.ESRCH
    assert all(str(value) in str(caught.value) for value in wanted.values())


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"protocol": "tcp"},
        {"protocol": "tcp", "address": "10.0.0.1"},
        {"protocol": "icmp", "address": "10.0.0.1", "port": 80},
        {"protocol": "tcp", "address": "10.0.0.256", "port": 80},
        {"protocol": "tcp", "address": "10.0.0.1", "port": 65536},
        {"protocol": "tcp", "address": "10.0.0.1", "port": -1},
        {"protocol": "tcp", "address": "10.0.0.1", "port": 80, "address_family": "inet6"},
        {"protocol": "tcp", "address": "10.0.0.1", "port": 80, "address_family": "ipx"},
        {"fwmark": -1},
        {"fwmark": 2**32},
    ],
)
def test_arguments_that_name_no_service_are_a_value_error(
    client: Client, kernel: netlink.IPVSKernel, wanted: "dict[str, object]"
) -> None:
    with pytest.raises(ValueError):
        client.service(**wanted)  # type: ignore[arg-type]
    assert kernel.asked() == [LIST_FAMILIES]


TCP = {"protocol": "tcp", "address": "10.0.0.1", "port": 80}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"fwmark": 0}, "a fwmark is a number from 1 to 4294967295, not 0"),
        ({"fwmark": True}, "not True"),
        ({"fwmark": "7"}, "not '7'"),
        ({"fwmark": 7.0}, "not 7.0"),
        ({**TCP, "fwmark": 5}, "but not both"),
        ({"port": 80, "fwmark": 5}, "but not both"),
        ({**TCP, "port": "80"}, "a port is a number from 0 to 65535, not '80'"),
        ({**TCP, "port": True}, "not True"),
        ({**TCP, "port": 80.0}, "not 80.0"),
        ({**TCP, "port": [80]}, "not \\[80\\]"),
        ({**TCP, "protocol": 65536}, "a protocol is a number from 0 to 65535"),
        ({**TCP, "protocol": -6}, "a protocol is"),
        ({**TCP, "protocol": "9" * 5000}, "a protocol is tcp, udp, sctp or a number"),
        ({**TCP, "protocol": "TCP"}, "a protocol is tcp, udp, sctp or a number, not 'TCP'"),
        ({**TCP, "protocol": "\u0666"}, "a protocol is"),
        ({**TCP, "protocol": ["tcp"]}, "a protocol is"),
        ({**TCP, "address": 167772161}, "an IPv4 address is one such as 10.0.0.1, not 167772161"),
        ({**TCP, "address": "10.0.0.1\0"}, "an IPv4 address is one"),
        ({**TCP, "address": b"10.0.0.1"}, "an IPv4 address is one"),
        ({**TCP, "address": ipaddress.ip_interface("10.0.0.1/24")}, "an IPv4 address is one"),
        ({**TCP, "address": "fe80::1%lo"}, "an IPv6 address is one such as 2001:db8::1"),
        ({**TCP, "address_family": "ipv4"}, "an address family is inet or inet6, not 'ipv4'"),
        ({**TCP, "address_family": ["inet"]}, "an address family is inet or inet6"),
        ({"fwmark": 7, "address_family": 2}, "an address family is inet or inet6, not 2"),
    ],
    ids=str,
)
def test_what_identifies_no_service_is_a_sentence(client: Client, wanted: "dict[str, Any]", said: str) -> None:
    with pytest.raises(ValueError, match=said):
        client.service(**wanted)


@pytest.mark.parametrize(
    "wanted",
    [
        {**TCP, "protocol": 6},
        {**TCP, "protocol": "6"},
        {**TCP, "protocol": socket.IPPROTO_TCP},
        {**TCP, "address": ipaddress.ip_address("10.0.0.1")},
        {**TCP, "address_family": "inet"},
    ],
    ids=str,
)
def test_protocol_and_address_may_be_numbers_and_objects(client: Client, wanted: "dict[str, Any]") -> None:
    assert client.service(**wanted) == client.services()[0]


def test_an_ipv6_address_may_be_an_object(client: Client) -> None:
    assert client.service(6, ipaddress.ip_address("2001:db8::1"), 443) == client.services()[1]


def test_a_missing_service_is_named_and_where_to_look(client: Client) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.service("udp", "2001:db8::1", 53)
    assert caught.value.what == "service"
    assert str(caught.value) == (
        "there is no virtual service udp [2001:db8::1]:53: No such process (ESRCH); "
        "services() and ipvsadm -Ln list those that exist"
    )


def test_dests_are_those_of_a_key(client: Client) -> None:
    for service, pool in client.dump():
        assert client.dests(service.key) == pool


@pytest.mark.parametrize(
    "key",
    [
        "tcp 10.0.0.1:80",
        None,
        [0, 2, 6, b"\x0a\0\0\1", 80],
        (0, 2, 6, b"\x0a\0\0\1"),
        (0, 2, 6, "10.0.0.1", 80),
        (0, 10, 6, b"\x0a\0\0\1", 80),
        (0, 3, 6, b"\x0a\0\0\1", 80),
        (0, 2, 6, b"\x0a\0\0\1", 65536),
        (0, 2, -1, b"\x0a\0\0\1", 80),
        (2**32, 2, 0, b"", 0),
        (True, 2, 0, b"", 0),
        (7, 3, 0, b"", 0),
        (7, 2, 6, b"\x0a\0\0\1", 80),
        (0, 2, 0, b"", 0),
    ],
    ids=str,
)
def test_dests_of_what_is_no_key_are_a_value_error(client: Client, kernel: netlink.IPVSKernel, key: Any) -> None:
    with pytest.raises(ValueError, match="of a Service or of its key"):
        client.dests(key)
    assert kernel.asked() == [LIST_FAMILIES]


def test_dests_of_a_service_with_a_bad_address_are_a_value_error(client: Client) -> None:
    with pytest.raises(ValueError, match="an IPv4 address is one"):
        client.dests(testing.service(address="x"))


def test_a_namespace_together_with_a_transport_is_a_value_error(kernel: netlink.IPVSKernel) -> None:
    with pytest.raises(ValueError, match="give only one of them"):
        Client(netns="blue", transport=kernel)
    assert kernel.asked() == []


def test_dests_of_an_unknown_protocol_are_requested_by_its_number() -> None:
    odd = netlink.service(PROTOCOL=netlink.u16(47))
    client = Client(transport=netlink.IPVSKernel([(odd, POOL)]))
    assert len(client.dests(client.services()[0])) == 2


# What the kernel must not be made to do.


def test_by_default_no_family_is_asked_for_by_name(client: Client, kernel: netlink.IPVSKernel) -> None:
    """A request for a family by name makes the kernel load its module."""
    list(client.dump())
    client.service(fwmark=47)
    assert FAMILY_BY_NAME not in kernel.asked()


def test_load_module_asks_for_ipvs_by_name() -> None:
    kernel = netlink.IPVSKernel()
    Client(transport=kernel, load_module=True)
    assert kernel.asked() == [FAMILY_BY_NAME]
    assert kernel.requests[0].attributes == netlink.attribute(2, b"IPVS\0")


def test_no_request_changes_anything(client: Client, kernel: netlink.IPVSKernel) -> None:
    list(client.dump())
    client.service(fwmark=47)
    client.info(), client.timeouts(), client.daemons()
    get = {netlink.GET_SERVICE, netlink.GET_DEST, netlink.GET_DAEMON, netlink.GET_CONFIG, netlink.GET_INFO}
    assert {command for family, command, _ in kernel.asked() if family == netlink.IPVS} == get


# Failures.


def test_a_kernel_without_ipvs_is_a_not_available_error_with_a_remedy() -> None:
    with pytest.raises(NotAvailableError) as caught:
        Client(transport=netlink.IPVSKernel(loaded=False))
    assert "modprobe ip_vs" in str(caught.value) and "--load-module" in str(caught.value)


def test_a_module_that_cannot_be_loaded_is_a_not_available_error() -> None:
    with pytest.raises(NotAvailableError, match="ip_vs"):
        Client(transport=netlink.IPVSKernel(loaded=False), load_module=True)


def refusing_kernel(number: int, words: "str | None" = None) -> netlink.IPVSKernel:
    """A kernel that refuses every IPVS command."""

    def refuse(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type == netlink.NLCTRL:
            return None
        return [netlink.refusal(number, words, request=request.raw, seq=request.seq)]

    return netlink.IPVSKernel(special=refuse)


def refusing(number: int, words: "str | None" = None) -> Client:
    return Client(transport=refusing_kernel(number, words))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EOPNOTSUPP])
def test_a_request_is_not_repeated_if_the_family_is_still_there(number: int) -> None:
    kernel = refusing_kernel(number)
    with pytest.raises(NetlinkError):
        Client(transport=kernel).info()
    assert kernel.asked().count((netlink.IPVS, netlink.GET_INFO, False)) == 1


@pytest.mark.parametrize("ask", ["services", "info", "timeouts", "daemons"])
def test_without_the_privilege_every_request_is_a_permission_denied_error(ask: str) -> None:
    with pytest.raises(PermissionDeniedError, match="CAP_NET_ADMIN"):
        getattr(refusing(errno.EPERM), ask)()


def test_without_the_privilege_one_service_is_a_permission_denied_error() -> None:
    with pytest.raises(PermissionDeniedError):
        refusing(errno.EPERM).service(fwmark=47)


def test_another_refusal_is_a_netlink_error_with_the_kernels_words() -> None:
    with pytest.raises(NetlinkError, match="the kernel says: too early") as caught:
        refusing(errno.EAGAIN, "too early").service(fwmark=47)
    assert caught.value.errno == errno.EAGAIN and not isinstance(caught.value, NotFoundError)


def test_a_client_goes_on_after_a_malformed_service() -> None:
    kernel = netlink.IPVSKernel([(netlink.service(AF=netlink.u16(1)), []), *ENTRIES])
    client = Client(transport=kernel)
    with pytest.raises(DecodeError):
        client.services()
    del kernel.entries[0]
    assert len(client.services()) == 3


def test_a_client_goes_on_after_a_malformed_service_beside_the_end() -> None:
    def in_one_datagram(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type != netlink.IPVS:
            return None
        trees = [service for service, _ in kernel.entries]
        parts = [
            netlink.message(netlink.IPVS, netlink.pack(tree), command=netlink.NEW_SERVICE, seq=request.seq)
            for tree in trees
        ]
        return [b"".join([*parts, netlink.done(seq=request.seq)])]

    kernel = netlink.IPVSKernel([(netlink.service(AF=netlink.u16(1)), []), *ENTRIES], special=in_one_datagram)
    client = Client(transport=kernel)
    with pytest.raises(DecodeError):
        client.services()
    del kernel.entries[0]
    assert len(client.services()) == 3


def test_a_client_that_was_refused_closes_its_transport() -> None:
    kernel = netlink.IPVSKernel(loaded=False)
    with pytest.raises(NotAvailableError):
        Client(transport=kernel)
    assert kernel.closed


def test_leaving_the_with_block_closes_the_transport(kernel: netlink.IPVSKernel) -> None:
    with Client(transport=kernel) as client:
        assert client.fileno() == kernel.fileno()
    assert kernel.closed


def test_an_error_in_the_with_block_passes_and_closes_the_transport(kernel: netlink.IPVSKernel) -> None:
    with pytest.raises(ZeroDivisionError), Client(transport=kernel):
        raise ZeroDivisionError
    assert kernel.closed


def test_closing_twice_is_fine(client: Client) -> None:
    client.close()
    client.close()


def test_a_closed_client_is_a_netlink_error(client: Client) -> None:
    client.close()
    with pytest.raises(NetlinkError, match="closed"):
        client.services()


# The socket.


def test_without_a_transport_a_client_opens_a_generic_netlink_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[tuple[object, ...]] = []
    kernel = netlink.IPVSKernel(ENTRIES)

    def open_socket(*arguments: object) -> netlink.FakeSocket:
        opened.append(arguments)
        return netlink.FakeSocket(kernel)

    monkeypatch.setattr("socket.socket", open_socket)
    with Client() as client:
        assert len(client.services()) == 3
    assert opened == [(socket.AF_NETLINK, socket.SOCK_RAW, 16)]


def test_dump_opens_a_client_reads_everything_and_closes_it(kernel_socket) -> None:  # type: ignore[no-untyped-def]
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    entries = ipvsnl.dump()
    assert isinstance(entries, list) and [len(dests) for _, dests in entries] == [2, 1, 0]
    assert isinstance(entries[0][1][0], Destination)
    assert kernel.closed


def test_a_system_without_netlink_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.AF_NETLINK")
    with pytest.raises(NotAvailableError, match="Linux"):
        Client()


def test_a_socket_that_cannot_be_opened_is_a_netlink_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("socket.socket", refuse)
    with pytest.raises(NetlinkError) as caught:
        Client()
    assert caught.value.errno == errno.EMFILE


def test_a_datagram_larger_than_the_buffer_is_a_netlink_error(kernel_socket) -> None:  # type: ignore[no-untyped-def]
    """recv(2) with MSG_TRUNC gives the true length of a datagram that was cut off."""
    kernel_socket(netlink.ScriptedKernel(lambda request: [bytes(65537)]))
    with pytest.raises(NetlinkError) as caught:
        Client()
    assert caught.value.errno == errno.EMSGSIZE


def test_a_kernel_that_does_not_reply_is_a_netlink_error_after_the_timeout(kernel_socket) -> None:  # type: ignore[no-untyped-def]
    kernel_socket(netlink.ScriptedKernel(lambda request: []))
    with pytest.raises(NetlinkError, match="in time") as caught:
        Client()
    assert caught.value.errno == errno.ETIMEDOUT and isinstance(caught.value, TimeoutError)


@contextlib.contextmanager
def client_that_another_thread_asks() -> Iterator[Client]:
    """And waits for the answer, meanwhile."""
    waiting, going_on = threading.Event(), threading.Event()

    def wait(request: netlink.Request) -> None:
        if request.type == netlink.IPVS and not going_on.is_set():
            waiting.set()
            going_on.wait(10)

    client = Client(transport=netlink.IPVSKernel([(WEB, POOL)], special=wait))
    thread = threading.Thread(target=client.services)
    thread.start()
    waiting.wait(10)
    try:
        yield client
    finally:
        going_on.set()
        thread.join()


def test_a_second_thread_that_asks_meanwhile_is_a_busy_error() -> None:
    with client_that_another_thread_asks() as client:
        with pytest.raises(NetlinkError, match="one client for each thread") as caught:
            client.info()
        assert caught.value.errno == errno.EBUSY
    assert len(client.services()) == 1


def test_a_child_forked_while_another_thread_asks_gets_a_closed_client() -> None:
    with client_that_another_thread_asks() as client:
        child = os.fork()
        if not child:
            status = 2
            try:
                client.info()
            except NetlinkError as error:
                status = 0 if error.errno == errno.EBADF else 1
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
