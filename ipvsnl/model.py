"""The model: IPVS as plain values, in the words of ipvsadm(8) and of the kernel.

All classes are dataclasses with slots and equality by value. The JSON document and the documentation use the names of
their fields. Names in capitals are from include/uapi/linux/ip_vs.h.
"""

from _socket import inet_ntop
from enum import IntFlag

from ._dataclass import dataclass
from ._key import HOST_FAMILIES, ServiceKey, endpoint, family_number, number, pack_address, service_key, spell_service
from ._typing import typing


class ServiceFlags(IntFlag):
    """Flags of a virtual service, IP_VS_SVC_F_*. Unknown bits are kept.

    The scheduler gives SCHED1 to SCHED3 their meaning. For sh and mh, SCHED1 is "fallback" and SCHED2 is "port".
    """

    PERSISTENT = 0x01
    HASHED = 0x02
    ONEPACKET = 0x04
    SCHED1 = 0x08
    SCHED2 = 0x10
    SCHED3 = 0x20


class TunnelFlags(IntFlag):
    """Flags of a real server's GUE or GRE tunnel, IP_VS_TUNNEL_ENCAP_FLAG_*. Unknown bits are kept."""

    CSUM = 0x01
    REMCSUM = 0x02


@dataclass
class Stats:
    """The ten counters of a virtual service or of a real server, IPVS_STATS_ATTR_*.

    They have 64 bits if the kernel sends STATS64 (since Linux 4.1). On older kernels all but the two byte counters have
    32 bits and wrap. `ipvsadm -Z` sets them to 0.

    While `sysctl net.ipv4.vs.run_estimation` is 0, all ten stand still. The values do not show it.

    connections   connections scheduled since the service was added (CONNS)
    pkts_in       packets from clients (INPKTS)
    pkts_out      packets to clients; 0 with direct and tunnel, because replies do not pass the director (OUTPKTS)
    bytes_in      bytes from clients, IP headers included (INBYTES)
    bytes_out     bytes to clients, IP headers included (OUTBYTES)
    cps           connections per second, which the kernel estimates over some seconds (CPS)
    pps_in        packets per second from clients, estimated (INPPS)
    pps_out       packets per second to clients, estimated (OUTPPS)
    bps_in        bytes (not bits) per second from clients, estimated (INBPS)
    bps_out       bytes (not bits) per second to clients, estimated (OUTBPS)
    """

    connections: int
    pkts_in: int
    pkts_out: int
    bytes_in: int
    bytes_out: int
    cps: int
    pps_in: int
    pps_out: int
    bps_in: int
    bps_out: int


@dataclass
class Service:
    """A virtual service, IPVS_SVC_ATTR_*. Protocol, address and port identify it, or a fwmark and the address family.

    address_family      "inet" or "inet6" (AF)
    protocol            "tcp", "udp", "sctp", else the number as text; None with a fwmark (PROTOCOL)
    address             the virtual address as text; None with a fwmark (ADDR)
    port                the virtual port, 0 for all ports; None with a fwmark (PORT)
    fwmark              the firewall mark, 1 to 2**32-1; None with protocol, address and port (FWMARK)
    scheduler           the scheduler's name, such as "rr"; "none" if it has none (SCHED_NAME)
    flags               a ServiceFlags (FLAGS)
    timeout             how long a persistent client keeps its real server, seconds; 0 without persistence (TIMEOUT)
    netmask             prefix length: clients within it count as one for persistence; 32 or 128 is each client alone.
                        Of an IPv4 mask with holes it is the number of one bits (NETMASK)
    persistence_engine  the name of the persistence engine, such as "sip", or None (PE_NAME)
    stats               its counters, a Stats (STATS64, else STATS)

    Services sort and hash by `key`, and are equal if all values are. A service in a later dump has other counters, so
    it is another key of a dict: use service.key to find a service of one dump in another.
    """

    address_family: str
    protocol: "typing.Optional[str]"
    address: "typing.Optional[str]"
    port: "typing.Optional[int]"
    fwmark: "typing.Optional[int]"
    scheduler: str
    flags: ServiceFlags
    timeout: int
    netmask: int
    persistence_engine: "typing.Optional[str]"
    stats: Stats

    @property
    def key(self) -> ServiceKey:
        """Identify the service: fwmark or 0, family (2 or 10), protocol number, packed address, port.

        With a fwmark the last three are 0, b"" and 0. Keys sort as ipvsadm -n sorts. If the fields identify no service,
        raise ValueError.
        """
        return service_key(self.protocol, self.address, self.port, self.fwmark, self.address_family)

    def __str__(self) -> str:
        return f"{spell_service(self.key)} {self.scheduler}"

    def __lt__(self, other: "Service") -> bool:
        return self.key < other.key if isinstance(other, Service) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass
class Destination:
    """A real server of a virtual service, IPVS_DEST_ATTR_*. Address and port identify it within its service.

    address_family          "inet" or "inet6", which with tunnels may differ from the service's (ADDR_FAMILY, since
                            Linux 3.18; on older kernels it is the service's)
    address                 the real server's address as text (ADDR)
    port                    the real server's port (PORT)
    forwarding              "masquerade", "local", "tunnel", "direct" or "bypass", else the number as text (FWD_METHOD)
    weight                  the scheduler's weight, signed; 0 takes no new connections (WEIGHT)
    upper_threshold         connections at which it takes no new ones; 0 is no limit (U_THRESH)
    lower_threshold         connections below which it takes new ones again; 0 is 3/4 of the upper (L_THRESH)
    active_connections      connections now in an active state, such as ESTABLISHED (ACTIVE_CONNS)
    inactive_connections    connections now in any other state (INACT_CONNS)
    persistent_connections  persistence templates now (PERSIST_CONNS)
    tunnel_type             "ipip", "gue" or "gre", else the number as text; "ipip" before Linux 5.3 (TUN_TYPE)
    tunnel_port             the UDP port of a GUE tunnel, else 0; 0 before Linux 5.3 (TUN_PORT)
    tunnel_flags            a TunnelFlags; 0 before Linux 5.3 (TUN_FLAGS)
    stats                   its counters, a Stats (STATS64, else STATS)

    Real servers sort and hash by `key`, and are equal if all values are, as for Service.
    """

    address_family: str
    address: str
    port: int
    forwarding: str
    weight: int
    upper_threshold: int
    lower_threshold: int
    active_connections: int
    inactive_connections: int
    persistent_connections: int
    tunnel_type: str
    tunnel_port: int
    tunnel_flags: TunnelFlags
    stats: Stats

    @property
    def key(self) -> "tuple[int, bytes, int]":
        """Identify the real server within its service: family (2 or 10), packed address, port."""
        family = family_number(self.address_family)
        return family, pack_address(family, self.address), number(self.port, "a port", 0, 0xFFFF)

    def __str__(self) -> str:
        family, packed, port = self.key
        return f"{endpoint(inet_ntop(HOST_FAMILIES[family], packed), port)} {self.forwarding} weight {self.weight}"

    def __lt__(self, other: "Destination") -> bool:
        return self.key < other.key if isinstance(other, Destination) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass
class Info:
    """The version of IPVS and the size of its connection table, IPVS_INFO_ATTR_*.

    version                "1.2.1" on every kernel since 2008 (VERSION)
    connection_table_size  buckets of the connection hash table now (CONN_TAB_SIZE)
    """

    version: str
    connection_table_size: int


@dataclass
class Timeouts:
    """Idle timeouts of connections in seconds, IPVS_CMD_ATTR_TIMEOUT_*; 0 if the kernel lacks the protocol.

    tcp      established TCP connections (TIMEOUT_TCP)
    tcp_fin  TCP connections after a FIN (TIMEOUT_TCP_FIN)
    udp      UDP "connections" (TIMEOUT_UDP)
    """

    tcp: int
    tcp_fin: int
    udp: int


@dataclass
class Daemon:
    """A connection synchronisation daemon, IPVS_DAEMON_ATTR_*.

    state       "master" or "backup", else the number as text (STATE)
    mcast_ifn   the interface of its multicast, such as "eth0" (MCAST_IFN)
    sync_id     0 to 255; a backup accepts only messages with its own id (SYNC_ID)
    sync_maxlen largest UDP payload, bytes; None before Linux 4.3 (SYNC_MAXLEN)
    mcast_group the multicast address as text; None before Linux 4.3 (MCAST_GROUP or MCAST_GROUP6)
    mcast_port  the UDP port, the first of them; None before Linux 4.3 (MCAST_PORT)
    mcast_ttl   the multicast's time to live, hops; None before Linux 4.3 (MCAST_TTL)
    """

    state: str
    mcast_ifn: str
    sync_id: int
    sync_maxlen: "typing.Optional[int]"
    mcast_group: "typing.Optional[str]"
    mcast_port: "typing.Optional[int]"
    mcast_ttl: "typing.Optional[int]"
