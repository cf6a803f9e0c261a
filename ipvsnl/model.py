"""What a caller receives: IPVS as plain values, in the words of ipvsadm(8) and of the kernel.

All classes are dataclasses with slots and equality by value. Fields are named once, here; the line protocol, the JSON
document and the documentation use the same names. Names in capitals are those of include/uapi/linux/ip_vs.h.
"""

from enum import IntFlag

from .dataclass import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass


class ServiceFlags(IntFlag):
    """Flags of a virtual service, IP_VS_SVC_F_*. The schedulers give SCHED1 to SCHED3 their meaning:
    sh-fallback and sh-port, mh-fallback and mh-port are SCHED1 and SCHED2. Unknown bits are kept."""

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

    64-bit where the kernel sends STATS64 (since Linux 4.1); else the kernel's 32-bit ones, which wrap (the two byte
    counters were always 64-bit). `ipvsadm -Z` sets them to 0.

    connections   connections scheduled, since the service was made (CONNS)
    pkts_in       packets from clients (INPKTS)
    pkts_out      packets to clients; 0 where replies do not pass here, with direct and tunnel (OUTPKTS)
    bytes_in      bytes from clients, IP headers included (INBYTES)
    bytes_out     bytes to clients, IP headers included (OUTBYTES)
    cps           connections a second, the kernel's estimate, smoothed over some seconds (CPS)
    pps_in        packets a second from clients, estimated likewise (INPPS)
    pps_out       packets a second to clients, estimated likewise (OUTPPS)
    bps_in        bytes (not bits) a second from clients, estimated likewise (INBPS)
    bps_out       bytes (not bits) a second to clients, estimated likewise (OUTBPS)
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
    """A virtual service, IPVS_SVC_ATTR_*. It is known by protocol, address and port, or by fwmark.

    address_family      "inet" or "inet6" (AF)
    protocol            "tcp", "udp", "sctp", else the number as text; None with a fwmark (PROTOCOL)
    address             the virtual address as text; None with a fwmark (ADDR)
    port                the virtual port, 0 for all ports; None with a fwmark (PORT)
    fwmark              the firewall mark, 1 to 2**32-1; None where protocol, address and port are used (FWMARK)
    scheduler           the scheduler's name, such as "rr"; "none" while it has none (SCHED_NAME)
    flags               a ServiceFlags (FLAGS)
    timeout             how long a persistent client keeps its real server, seconds; 0 without persistence (TIMEOUT)
    netmask             which clients count as one for persistence, prefix length: 32 or 128 is each alone (NETMASK)
    persistence_engine  the name of the persistence engine, such as "sip", or None (PE_NAME)
    stats               its counters, a Stats (STATS64, else STATS)
    """

    address_family: str
    protocol: "str | None"
    address: "str | None"
    port: "int | None"
    fwmark: "int | None"
    scheduler: str
    flags: ServiceFlags
    timeout: int
    netmask: int
    persistence_engine: "str | None"
    stats: Stats


@dataclass
class Destination:
    """A real server of a virtual service, IPVS_DEST_ATTR_*.

    address_family          "inet" or "inet6"; may differ from the service's with tunnels (ADDR_FAMILY, since Linux
                            3.18; before, the service's)
    address                 the real server's address as text (ADDR)
    port                    the real server's port (PORT)
    forwarding              "masquerade", "local", "tunnel", "direct" or "bypass", else the number as text (FWD_METHOD)
    weight                  the scheduler's weight, signed; 0 takes no new connections (WEIGHT)
    upper_threshold         connections at which it takes no new ones; 0 is no limit (U_THRESH)
    lower_threshold         connections below which it takes new ones again; 0 is 3/4 of the upper (L_THRESH)
    active_connections      connections now in an active state, such as ESTABLISHED (ACTIVE_CONNS)
    inactive_connections    connections now in any other state (INACT_CONNS)
    persistent_connections  persistence templates now (PERSIST_CONNS)
    tunnel_type             "ipip", "gue" or "gre", else the number as text (TUN_TYPE, since Linux 5.3; before, "ipip")
    tunnel_port             the UDP port of a GUE tunnel, else 0 (TUN_PORT, since Linux 5.3; before, 0)
    tunnel_flags            a TunnelFlags (TUN_FLAGS, since Linux 5.3; before, 0)
    stats                   its counters, a Stats (STATS64, else STATS)
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


@dataclass
class Info:
    """What IPVS says of itself, IPVS_INFO_ATTR_*.

    version                "1.2.1" on every kernel since 2008 (VERSION)
    connection_table_size  buckets of the connection hash table now (CONN_TAB_SIZE)
    """

    version: str
    connection_table_size: int


@dataclass
class Timeouts:
    """Idle timeouts of connections in seconds, IPVS_CMD_ATTR_TIMEOUT_*; 0 where the protocol is not compiled in.

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
    sync_id     0 to 255; backups take only what carries their own (SYNC_ID)
    sync_maxlen largest UDP payload, bytes; None before Linux 4.3 (SYNC_MAXLEN)
    mcast_group the multicast address as text; None before Linux 4.3 (MCAST_GROUP or MCAST_GROUP6)
    mcast_port  the UDP port, the first of them; None before Linux 4.3 (MCAST_PORT)
    mcast_ttl   the multicast's time to live, hops; None before Linux 4.3 (MCAST_TTL)
    """

    state: str
    mcast_ifn: str
    sync_id: int
    sync_maxlen: "int | None"
    mcast_group: "str | None"
    mcast_port: "int | None"
    mcast_ttl: "int | None"
