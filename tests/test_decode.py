"""What kernels send that is not on this desk: older ones with fewer attributes, newer ones with more, other
architectures with padding, and numbers that nobody has named yet. All is read right, or refused; nothing is guessed.

The messages are made by tests/netlink.py, by default as Linux 6 sends them.
"""

from typing import Any

import ipvsadm
import netlink
import pytest
from trees import CHANGES, DESTINATION, NARROW, SERVICE, WIDE, without

from ipvsnl import DecodeError, Destination, Service, ServiceFlags, Stats, TunnelFlags
from ipvsnl._decode import (
    SERVICE_ROWS,
    decode_daemon,
    decode_destination,
    decode_info,
    decode_key,
    decode_service,
    decode_timeouts,
)

NO_STATS = Stats(*netlink.NO_STATS)


def read_service(tree: netlink.Tree, **packing: int) -> Service:
    return decode_service(netlink.pack(tree, **packing))


def read_destination(tree: netlink.Tree, service_family: str = "inet", **packing: int) -> Destination:
    return decode_destination(netlink.pack(tree, **packing), service_family)


SERVICE_READ = Service(
    address_family="inet",
    protocol="tcp",
    address="10.0.0.1",
    port=80,
    fwmark=None,
    scheduler="sh",
    flags=ServiceFlags(0x1F),
    timeout=300,
    netmask=24,
    persistence_engine="sip",
    stats=Stats(*WIDE),
)
DESTINATION_READ = Destination(
    address_family="inet",
    address="192.0.2.1",
    port=8080,
    forwarding="tunnel",
    weight=65535,
    upper_threshold=1000,
    lower_threshold=500,
    active_connections=3,
    inactive_connections=4,
    persistent_connections=5,
    tunnel_type="gue",
    tunnel_port=6080,
    tunnel_flags=TunnelFlags.CSUM | TunnelFlags.REMCSUM,
    stats=Stats(*WIDE),
)


def test_a_service_with_everything_is_read() -> None:
    assert read_service(SERVICE) == SERVICE_READ


def test_a_real_server_with_everything_is_read() -> None:
    assert read_destination(DESTINATION) == DESTINATION_READ


def test_a_fwmark_service_has_no_protocol_address_or_port() -> None:
    service = read_service(netlink.fwmark_service(47))
    assert (service.fwmark, service.protocol, service.address, service.port) == (47, None, None, None)


def test_a_fwmark_may_have_all_its_32_bits() -> None:
    assert read_service(netlink.fwmark_service(0xFFFFFFFF)).fwmark == 0xFFFFFFFF


def test_an_ipv6_fwmark_service_is_inet6() -> None:
    assert read_service(netlink.fwmark_service(48, 10)).address_family == "inet6"


# Attributes that differ from kernel to kernel, without a change in what they mean.


@pytest.mark.parametrize("nested", [netlink.NLA_F_NESTED, 0], ids=["NLA_F_NESTED", "without NLA_F_NESTED"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_service_is_the_same_with_its_attributes(how: str, nested: int) -> None:
    assert read_service(CHANGES[how](SERVICE), nested=nested) == SERVICE_READ


@pytest.mark.parametrize("nested", [netlink.NLA_F_NESTED, 0], ids=["NLA_F_NESTED", "without NLA_F_NESTED"])
@pytest.mark.parametrize("how", CHANGES)
def test_a_real_server_is_the_same_with_its_attributes(how: str, nested: int) -> None:
    assert read_destination(CHANGES[how](DESTINATION), nested=nested) == DESTINATION_READ


def test_before_linux_4_1_counters_are_the_32_bit_ones() -> None:
    assert read_service(without(SERVICE, netlink.SVC["STATS64"])).stats == Stats(*NARROW)
    assert read_destination(without(DESTINATION, netlink.DEST["STATS64"])).stats == Stats(*NARROW)


def test_the_byte_counters_were_always_64_bit() -> None:
    old = netlink.service(STATS=netlink.stats((0, 0, 0, 2**63, 2**64 - 1, 0, 0, 0, 0, 0)), STATS64=None)
    stats = read_service(old).stats
    assert (stats.bytes_in, stats.bytes_out) == (2**63, 2**64 - 1)


def test_before_linux_3_18_a_real_server_has_the_family_of_its_service() -> None:
    old = netlink.destination(ADDR=netlink.address("2001:db8::1"), ADDR_FAMILY=None)
    assert read_destination(old, "inet6").address == "2001:db8::1"


def test_since_linux_3_18_a_real_server_has_a_family_of_its_own() -> None:
    mixed = read_destination(netlink.destination(), "inet6")
    assert (mixed.address_family, mixed.address) == ("inet", "192.0.2.1")


def test_before_linux_5_3_every_tunnel_is_ipip() -> None:
    old = without(DESTINATION, netlink.DEST["TUN_TYPE"], netlink.DEST["TUN_PORT"], netlink.DEST["TUN_FLAGS"])
    tunnel = read_destination(old)
    assert (tunnel.tunnel_type, tunnel.tunnel_port, tunnel.tunnel_flags) == ("ipip", 0, TunnelFlags(0))


def test_an_ipv4_address_of_four_bytes_is_read() -> None:
    assert read_service(netlink.service(ADDR=b"\x0a\0\0\1")).address == "10.0.0.1"
    assert read_destination(netlink.destination(ADDR=b"\xc0\0\2\1")).address == "192.0.2.1"


def test_what_is_after_an_ipv4_address_does_not_matter() -> None:
    assert read_service(netlink.service(ADDR=b"\x0a\0\0\1" + b"\xff" * 12)).address == "10.0.0.1"


# Numbers.


@pytest.mark.parametrize(("number", "name"), [(6, "tcp"), (17, "udp"), (132, "sctp"), (47, "47"), (0, "0")])
def test_a_protocol_has_a_name_or_is_its_number(number: int, name: str) -> None:
    assert read_service(netlink.service(PROTOCOL=netlink.u16(number))).protocol == name


@pytest.mark.parametrize(
    ("number", "name"),
    [(0, "masquerade"), (1, "local"), (2, "tunnel"), (3, "direct"), (4, "bypass"), (5, "5"), (2**32 - 1, "4294967295")],
)
def test_a_forwarding_method_has_a_name_or_is_its_number(number: int, name: str) -> None:
    assert read_destination(netlink.destination(FWD_METHOD=netlink.u32(number))).forwarding == name


@pytest.mark.parametrize(("number", "name"), [(0, "ipip"), (1, "gue"), (2, "gre"), (3, "3"), (255, "255")])
def test_a_tunnel_type_has_a_name_or_is_its_number(number: int, name: str) -> None:
    assert read_destination(netlink.destination(TUN_TYPE=netlink.u8(number))).tunnel_type == name


@pytest.mark.parametrize("flags", [0, 2, 0x40, 0x43, 0x80000000, 0xFFFFFFFF])
def test_flags_without_a_name_are_kept(flags: int) -> None:
    read = read_service(netlink.service(FLAGS=netlink.u32(flags) + netlink.u32(0))).flags
    assert isinstance(read, ServiceFlags) and read == flags


def test_tunnel_flags_without_a_name_are_kept() -> None:
    assert read_destination(netlink.destination(TUN_FLAGS=netlink.u16(0x8005))).tunnel_flags == 0x8005


@pytest.mark.parametrize("value", [2**32, 2**63 - 1, 2**63, 2**64 - 1])
def test_counters_have_all_their_64_bits(value: int) -> None:
    tree = netlink.service(STATS64=netlink.stats([value] * 10, wide=True))
    assert read_service(tree).stats == Stats(*[value] * 10)


@pytest.mark.parametrize("position", range(10))
def test_each_counter_is_in_its_own_field(position: int) -> None:
    values = [0] * 10
    values[position] = 7
    names = [*ipvsadm.COUNTERS, *ipvsadm.RATES]  # the kernel's order
    stats = read_service(netlink.service(STATS64=netlink.stats(values, wide=True))).stats
    assert stats == Stats(**{**dict.fromkeys(names, 0), names[position]: 7})


@pytest.mark.parametrize("weight", [-(2**31), -1, 0, 2**31 - 1])
def test_a_weight_is_signed(weight: int) -> None:
    assert read_destination(netlink.destination(WEIGHT=netlink.s32(weight))).weight == weight


def test_ports_are_in_network_order_in_services_real_servers_and_tunnels() -> None:
    assert read_service(netlink.service(PORT=b"\x01\x02")).port == 0x0102
    read = read_destination(netlink.destination(PORT=b"\x01\x02", TUN_PORT=b"\x03\x04"))
    assert (read.port, read.tunnel_port) == (0x0102, 0x0304)


@pytest.mark.parametrize(
    ("mask", "length"),
    [
        (b"\xff\xff\xff\xff", 32),
        (b"\xff\xff\xff\x00", 24),
        (b"\xff\xff\xf8\x00", 21),
        (b"\x80\0\0\0", 1),
        (bytes(4), 0),
    ],
)
def test_an_ipv4_netmask_is_a_mask_in_network_order(mask: bytes, length: int) -> None:
    assert read_service(netlink.service(NETMASK=mask)).netmask == length


@pytest.mark.parametrize("length", [0, 1, 64, 127, 128])
def test_an_ipv6_netmask_is_a_prefix_length_in_host_order(length: int) -> None:
    assert read_service(netlink.fwmark_service(48, 10, NETMASK=netlink.u32(length))).netmask == length


def test_no_persistence_engine_is_none() -> None:
    assert read_service(netlink.service()).persistence_engine is None


# What cannot be read is refused, with the name of what is wrong.


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"AF": netlink.u16(7)}, "address family 7"),
        ({"AF": netlink.u32(2)}, "IPVS_SVC_ATTR_AF"),
        ({"ADDR": bytes(5)}, "5 bytes"),
        ({"ADDR": b""}, "0 bytes|IPVS_SVC_ATTR_ADDR"),
        ({"AF": netlink.u16(10), "ADDR": bytes(4)}, "4 bytes"),
        ({"PORT": b"\0"}, "IPVS_SVC_ATTR_PORT"),
        ({"FLAGS": netlink.u32(2)}, "IPVS_SVC_ATTR_FLAGS"),
        ({"FLAGS": bytes(12)}, "IPVS_SVC_ATTR_FLAGS"),
        ({"SCHED_NAME": b"rr"}, "IPVS_SVC_ATTR_SCHED_NAME"),
        ({"AF": netlink.u16(10), "NETMASK": netlink.u32(129)}, "129 bits"),
        ({"STATS": netlink.stats(NARROW, wide=True), "STATS64": None}, "IPVS_STATS_ATTR_CONNS"),
        ({"STATS64": netlink.stats(NARROW)}, "IPVS_STATS_ATTR_CONNS"),
        ({"STATS": netlink.stats(NARROW)[:9], "STATS64": None}, "IPVS_STATS_ATTR_OUTBPS is missing"),
        ({"STATS": b"\0", "STATS64": None}, "IPVS_STATS_ATTR"),
    ],
)
def test_a_service_that_cannot_be_read_is_a_decode_error(change: "dict[str, Any]", name: str) -> None:
    with pytest.raises(DecodeError, match=name):
        read_service(netlink.service(change))


@pytest.mark.parametrize("size", [0, 1, 3, 5, 15, 17])
@pytest.mark.parametrize("family", [2, 10])
def test_an_address_of_another_length_is_always_a_decode_error(family: int, size: int) -> None:
    good = netlink.address("192.0.2.1" if family == 2 else "2001:db8::1")
    changes = {"AF": netlink.u16(family), "NETMASK": netlink.u32(64)}
    read_service(netlink.service(changes, ADDR=good))
    read_destination(netlink.destination(ADDR_FAMILY=netlink.u16(family), ADDR=good))
    bad = (good + b"\0")[:size]
    with pytest.raises(DecodeError):
        read_service(netlink.service(changes, ADDR=bad))
    with pytest.raises(DecodeError):
        read_destination(netlink.destination(ADDR_FAMILY=netlink.u16(family), ADDR=bad))


NEEDED_BY_SERVICES = ["AF", "PROTOCOL", "ADDR", "PORT", "SCHED_NAME", "FLAGS", "TIMEOUT", "NETMASK"]
NEEDED_BY_DESTINATIONS = [
    *["ADDR", "PORT", "FWD_METHOD", "WEIGHT", "U_THRESH", "L_THRESH", "ACTIVE_CONNS", "INACT_CONNS", "PERSIST_CONNS"],
]


@pytest.mark.parametrize("name", NEEDED_BY_SERVICES)
def test_a_service_without_a_required_attribute_is_a_decode_error(name: str) -> None:
    with pytest.raises(DecodeError, match=f"IPVS_SVC_ATTR_{name} is missing"):
        read_service(without(SERVICE, netlink.SVC[name]))


@pytest.mark.parametrize("name", NEEDED_BY_DESTINATIONS)
def test_a_real_server_without_a_required_attribute_is_a_decode_error(name: str) -> None:
    with pytest.raises(DecodeError, match=f"IPVS_DEST_ATTR_{name} is missing"):
        read_destination(without(DESTINATION, netlink.DEST[name]))


def test_a_message_without_a_service_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="IPVS_CMD_ATTR_SERVICE is missing"):
        decode_service(netlink.pack(netlink.destination()))


def test_a_message_without_a_real_server_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="IPVS_CMD_ATTR_DEST is missing"):
        decode_destination(b"", "inet")


def test_a_real_server_of_an_unknown_family_is_a_decode_error() -> None:
    with pytest.raises(DecodeError, match="address family 1"):
        read_destination(netlink.destination(ADDR_FAMILY=netlink.u16(1)))


# The rest of what IPVS says.


@pytest.mark.parametrize("code, version", [(0x010203, "1.2.3"), (0xFFFFFF, "255.255.255"), (0x020000, "2.0.0")])
def test_the_version_is_a_byte_each(code: int, version: str) -> None:
    info = decode_info(netlink.pack([(1, netlink.u32(code)), (2, netlink.u32(4096)), (9, b"new")]))
    assert (info.version, info.connection_table_size) == (version, 4096)


def test_timeouts_of_protocols_that_are_not_compiled_in_are_0() -> None:
    only_udp = decode_timeouts(netlink.pack([(6, netlink.u32(300))]))
    assert (only_udp.tcp, only_udp.tcp_fin, only_udp.udp) == (0, 0, 300)


def daemon(**values: bytes) -> bytes:
    return netlink.pack([(netlink.CMD_DAEMON, [(netlink.DAEMON[name], value) for name, value in values.items()])])


FIRST = {"STATE": netlink.u32(1), "MCAST_IFN": netlink.text("eth0"), "SYNC_ID": netlink.u32(7)}


def test_before_linux_4_3_a_daemon_has_a_state_an_interface_and_an_id() -> None:
    old = decode_daemon(daemon(**FIRST))
    assert (old.state, old.mcast_ifn, old.sync_id) == ("master", "eth0", 7)
    assert (old.sync_maxlen, old.mcast_group, old.mcast_port, old.mcast_ttl) == (None, None, None, None)


@pytest.mark.parametrize(
    ("name", "group"),
    [("MCAST_GROUP", "224.0.0.81"), ("MCAST_GROUP6", "ff02::81")],
)
def test_a_daemon_has_a_group_of_either_family_and_a_port_in_host_order(name: str, group: str) -> None:
    packed = netlink.address(group)[: 4 if name == "MCAST_GROUP" else 16]
    rest = {"SYNC_MAXLEN": netlink.u16(1472), "MCAST_PORT": netlink.u16(8848), "MCAST_TTL": netlink.u8(1)}
    read = decode_daemon(daemon(**FIRST, **{name: packed}, **rest))
    assert (read.mcast_group, read.sync_maxlen, read.mcast_port, read.mcast_ttl) == (group, 1472, 8848, 1)


@pytest.mark.parametrize(("number", "name"), [(1, "master"), (2, "backup"), (3, "3")])
def test_a_daemon_state_has_a_name_or_is_its_number(number: int, name: str) -> None:
    assert decode_daemon(daemon(**{**FIRST, "STATE": netlink.u32(number)})).state == name


@pytest.mark.parametrize("family, mark", [(2, 1), (10, 0xFFFFFFFF)])
def test_the_key_of_a_mark_has_zeros_for_all_else(family: int, mark: int) -> None:
    """_decode: the key from a message is the key that sorts and compares."""
    message = netlink.pack(netlink.fwmark_service(mark, family))
    assert decode_key(message) == (mark, family, 0, b"", 0)


@pytest.mark.parametrize("family, address", [(2, "10.0.0.1"), (10, "2001:db8::1")])
def test_the_key_of_an_address_has_0_for_the_mark(family: int, address: str) -> None:
    """_decode: the key from a message is that of the service."""
    packed = netlink.address(address)
    message = netlink.pack(netlink.service(AF=netlink.u16(family), ADDR=packed, NETMASK=netlink.u32(128)))
    assert decode_key(message) == (0, family, 6, packed[: 4 if family == 2 else 16], 80) == decode_service(message).key


def identity(**changes: Any) -> Any:
    return SERVICE_ROWS.identity(SERVICE_ROWS.row(netlink.pack(netlink.service(**changes))))


def test_the_identity_of_an_ipv4_service_has_four_bytes_of_the_address() -> None:
    """_decode: the kernel compares no more of it (ip_vs_addr_equal())."""
    assert identity(ADDR=b"\x0a\0\0\1" + b"\xff" * 12) == identity(ADDR=b"\x0a\0\0\1" + bytes(12))
    assert identity(ADDR=b"\x0a\0\0\2" + bytes(12)) != identity(ADDR=b"\x0a\0\0\1" + bytes(12))


def test_the_identity_of_an_ipv6_service_has_the_whole_address() -> None:
    """_decode: two addresses of one network are two services."""
    one, other = (identity(AF=netlink.u16(10), ADDR=netlink.address(f"2001:db8::{host}")) for host in (1, 2))
    assert one != other
