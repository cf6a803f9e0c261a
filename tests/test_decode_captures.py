"""Real directors, recorded on four kernels: what ipvsnl reads is what ipvsadm printed.

stats.pcap is `ipvsadm -Ln --stats --exact`, whose output stats.txt is. The other texts were printed seconds later, so
what moves by itself is compared as such: estimated rates decay, and closed connections are forgotten.
"""

import json
import random
from typing import Any

import ipvsadm
import netlink
import pytest
from conftest import KERNELS, capture, capture_path, listing, printed, run

from ipvsnl import Client, DecodeError, _decode, genl
from ipvsnl.capture import Replay

Entry = dict[str, Any]
RATE_SCALES = {"cps": 10, "pps_in": 10, "pps_out": 10, "bps_in": 5, "bps_out": 5}  # bits after the point, ip_vs_est.c


def document(kernel: str) -> list[Entry]:
    """The services of the capture, as the JSON document has them, in ipvsadm's order."""
    services = json.loads(run("--replay", capture_path(kernel), "-f", "json").stdout)["services"]
    for service in services:
        service["destinations"].sort(key=ipvsadm.destination_key)
    return sorted(services, key=ipvsadm.service_key)


def known(read: Entry, said: Entry) -> Entry:
    """Of what was read, those fields that ipvsadm says something about."""
    return {name: known(read[name], said[name]) if name == "stats" else read[name] for name in said}


@pytest.fixture(params=KERNELS, scope="module")
def both(request: pytest.FixtureRequest) -> tuple[list[Entry], list[Entry]]:
    """What ipvsnl reads, what ipvsadm printed."""
    return document(request.param), listing(request.param)


@pytest.fixture(params=KERNELS, scope="module")
def rates(request: pytest.FixtureRequest) -> list[tuple[Entry, Entry]]:
    """The stats that ipvsnl reads and those of rate.txt, of each service and real server."""
    read, said = document(request.param), ipvsadm.services(printed(request.param, "rate.txt"))
    return list(zip(every_stats(read), every_stats(said)))


def every_stats(services: list[Entry]) -> list[Entry]:
    return [entry["stats"] for service in services for entry in (service, *service["destinations"])]


Both = tuple[list[Entry], list[Entry]]


def test_the_services_are_those_that_ipvsadm_lists(both: Both) -> None:
    read, said = both
    assert [ipvsadm.service_key(service) for service in read] == [ipvsadm.service_key(service) for service in said]


def test_every_field_of_a_service_is_as_printed(both: Both) -> None:
    for read, said in zip(*both):
        said = {name: value for name, value in said.items() if name not in ("destinations", "flags")}
        assert known(read, said) == said


def test_the_flags_of_a_service_are_as_printed(both: Both) -> None:
    for read, said in zip(*both):
        # The kernel sets `hashed` on every service that it has; ipvsadm does not print it.
        assert set(read["flags"]) - {"hashed"} == set(said["flags"])


def test_every_field_of_a_real_server_is_as_printed(both: Both) -> None:
    for service, said_service in zip(*both):
        assert len(service["destinations"]) == len(said_service["destinations"])
        for read, said in zip(service["destinations"], said_service["destinations"]):
            said = {name: value for name, value in said.items() if name != "inactive_connections"}
            assert known(read, said) == said


def test_inactive_connections_are_at_least_those_printed_later(both: Both) -> None:
    for service, said_service in zip(*both):
        for read, said in zip(service["destinations"], said_service["destinations"]):
            most = read["stats"]["connections"] - read["active_connections"]
            assert said["inactive_connections"] <= read["inactive_connections"] <= most


def test_real_servers_without_a_tunnel_have_no_tunnel_settings(both: Both) -> None:
    for service, said_service in zip(*both):
        for read, said in zip(service["destinations"], said_service["destinations"]):
            if "tunnel_type" not in said:  # -S prints them for tunnels alone
                assert (read["tunnel_type"], read["tunnel_port"], read["tunnel_flags"]) == ("ipip", 0, [])


def test_ipvsadm_says_something_about_every_field(both: Both) -> None:
    """So that no field is left out of the comparisons above."""
    read, said = both
    rates = set(ipvsadm.RATES)
    assert set(said[0]) == set(read[0])
    assert set(said[0]["stats"]) == set(read[0]["stats"]) - rates
    tunnel = next(d for service in said for d in service["destinations"] if "tunnel_type" in d)
    assert set(tunnel) == set(read[0]["destinations"][0])
    assert set(tunnel["stats"]) == set(read[0]["stats"]) - rates


def test_the_captures_have_what_they_should(both: Both) -> None:
    _, said = both
    destinations = [destination for service in said for destination in service["destinations"]]
    assert {service["protocol"] for service in said} == {"tcp", "udp", "sctp", None}
    assert {service["address_family"] for service in said} == {"inet", "inet6"}
    assert {destination["forwarding"] for destination in destinations} == {"masquerade", "tunnel", "direct"}
    assert {destination.get("tunnel_type") for destination in destinations} == {None, "ipip", "gue", "gre"}
    assert any(len({d["address_family"] for d in service["destinations"]}) == 2 for service in said)
    assert any(destination["stats"]["connections"] for destination in destinations)


def after(value: int, scale: int, ticks: int) -> set[int]:
    """What a rate that was sent as `value` may be sent as when `ticks` estimations without traffic have passed.

    The kernel keeps a rate as an integer with `scale` bits after the point, takes a quarter from it every two seconds
    (ip_vs_est_calc() or ip_vs_chain_estimation()), and sends it rounded (ip_vs_read_estimator()).
    """
    half = (1 << scale - 1) - 1
    values = set(range((value << scale) - half, (value + 1 << scale) - half))
    for _ in range(ticks):
        values = {exact + (-exact >> 2) for exact in values if exact >= 0}
    return {exact + half >> scale for exact in values}


def test_rates_are_those_printed_later_before_some_seconds_of_decay(rates: list[tuple[Entry, Entry]]) -> None:
    """One number of estimations explains all rates of a capture, and that number is not so large that any would do."""
    possible = [
        ticks
        for ticks in range(10)
        if all(said[name] in after(read[name], RATE_SCALES[name], ticks) for read, said in rates for name in said)
    ]
    assert possible == [2]


def test_rates_without_traffic_are_zero_as_printed(rates: list[tuple[Entry, Entry]]) -> None:
    idle = [(read, said) for read, said in rates if not read["connections"]]
    assert idle
    for read, said in idle:
        assert {name: read[name] for name in said} == said == dict.fromkeys(ipvsadm.RATES, 0)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_version_and_the_table_size_are_as_printed(kernel: str) -> None:
    with capture_path(kernel).open("rb") as file, Client(transport=Replay(file)) as client:
        info = client.info()
    said = ipvsadm.info(printed(kernel, "stats.txt"))
    assert (info.version, info.connection_table_size) == (said["version"], said["connection_table_size"])


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_timeouts_are_as_printed(kernel: str) -> None:
    client = Client(transport=kernel_of(capture(kernel, "control.pcap"), netlink.GET_CONFIG))
    timeouts = client.timeouts()
    said = ipvsadm.timeouts(printed(kernel, "timeout.txt"))
    assert {"tcp": timeouts.tcp, "tcp_fin": timeouts.tcp_fin, "udp": timeouts.udp} == said


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_without_daemons_lists_none(kernel: str) -> None:
    client = Client(transport=kernel_of(capture(kernel, "control.pcap"), netlink.GET_DAEMON))
    assert client.daemons() == []


def kernel_of(recorded: bytes, command: int) -> netlink.IPVSKernel:
    """A kernel that answers this command as in the capture, which has no dump of services to replay."""

    def answer(request: netlink.Request) -> "list[netlink.Reply] | None":
        if (request.type, request.command) != (netlink.IPVS, command):
            return None
        replies = netlink.replies_to(recorded, command=command)
        return [netlink.readdress(reply, seq=request.seq, port=request.port, family=netlink.IPVS) for reply in replies]

    return netlink.IPVSKernel(special=answer)


# Captures that are damaged.


def service_dump(kernel: str) -> bytes:
    """The datagram of a real service dump; it has services of all kinds."""
    return netlink.replies_to(capture(kernel), command=netlink.GET_SERVICE)[0]


def destination_dumps(kernel: str) -> list[bytes]:
    datagrams = [netlink.datagram(record) for record in netlink.records(capture(kernel))]
    return [each for each in datagrams if len(each) > 20 and each[16] == netlink.NEW_DEST and each[6:8] == b"\x02\0"]


def decode(datagram: bytes) -> list[object]:
    """All services or real servers of a datagram."""
    found: list[object] = []
    for message in genl.messages(datagram):
        if message.command() == netlink.NEW_SERVICE:
            found.append(_decode.decode_service(message.attributes()))
        else:
            found.append(_decode.decode_destination(message.attributes(), "inet"))
    return found


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_datagram_that_is_cut_within_a_message_is_a_decode_error(kernel: str) -> None:
    for datagram in (service_dump(kernel), *destination_dumps(kernel)):
        whole = decode(datagram)
        readable = 0
        for size in range(1, len(datagram)):
            try:
                read = decode(datagram[:size])
            except DecodeError:
                continue
            readable += 1
            assert read == whole[: len(read)]
        assert readable == len(whole) - 1


def cut(tree: bytes, size: int) -> bytes:
    """A message's attributes, of which only the first `size` bytes came, with lengths that say so."""
    inner = tree[4:size]
    return netlink.u16(4 + len(inner)) + tree[2:4] + inner


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_service_with_fewer_attributes_is_whole_or_a_decode_error(kernel: str) -> None:
    for message in genl.messages(service_dump(kernel)):
        attributes = message.attributes()
        whole = _decode.decode_service(attributes)
        for size in range(4, len(attributes)):
            try:
                read = _decode.decode_service(cut(attributes, size))
            except DecodeError:
                continue
            # All that a service can do without, if it is not persistent by an engine, is what comes last.
            assert read.address == whole.address and read.netmask == whole.netmask


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_real_datagram_with_any_byte_changed_is_read_or_refused(kernel: str) -> None:
    chance = random.Random(kernel)
    datagram = destination_dumps(kernel)[0] + service_dump(kernel)
    refused = 0
    for position in range(len(datagram)):
        changed = bytearray(datagram)
        changed[position] ^= chance.randrange(1, 256)
        try:
            decode(bytes(changed))
        except DecodeError:
            refused += 1
    assert refused
