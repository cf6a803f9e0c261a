"""InfluxDB line protocol, with the names of telegraf's ipvs plugin (plugins/inputs/ipvs/ipvs.go), so that dashboards
made for it keep working.

Different on purpose: counters are the 64-bit ones, which do not wrap, and the netmask of an IPv6 service is its prefix
length (the plugin counts that number's bits). Tags and fields are sorted by name.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import Destination, Info, Service, Stats

LARGEST = 2**63 - 1  # an integer of line protocol is signed, 64-bit
ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n"})


def render(
    entries: "Iterable[tuple[Service, list[Destination] | None]]", timestamp: int, info: "Info | None" = None
) -> "Iterator[str]":
    """The lines of one service after the other, each with those of its real servers. `timestamp` is nanoseconds."""
    for service, destinations in entries:
        yield service_line(service, timestamp) + destination_lines(service, destinations or [], timestamp)


def service_line(service: "Service", timestamp: int) -> str:
    family, netmask = service.address_family, service.netmask
    sched = service.scheduler.translate(ESCAPES)  # of all tags only this, which a module chooses, could need it
    if service.fwmark is None:
        tags = (
            f"address={service.address},address_family={family},netmask={netmask},"
            f"port={service.port},protocol={service.protocol},sched={sched}"
        )
    else:
        tags = f"address_family={family},fwmark={service.fwmark},netmask={netmask},sched={sched}"
    stats = _clamped(service.stats)
    return (
        f"ipvs_virtual_server,{tags} bytes_in={stats.bytes_in}i,bytes_out={stats.bytes_out}i,"
        f"connections={stats.connections}i,cps={stats.cps}i,pkts_in={stats.pkts_in}i,pkts_out={stats.pkts_out}i,"
        f"pps_in={stats.pps_in}i,pps_out={stats.pps_out}i {timestamp}\n"
    )


def destination_lines(service: "Service", destinations: "list[Destination]", timestamp: int) -> str:
    if service.fwmark is None:
        virtual = f"virtual_address={service.address},virtual_port={service.port},virtual_protocol={service.protocol}"
    else:
        virtual = f"virtual_fwmark={service.fwmark}"
    end = f" {timestamp}\n"
    lines = []
    for destination in destinations:
        stats = _clamped(destination.stats)
        lines.append(
            f"ipvs_real_server,address={destination.address},address_family={destination.address_family},"
            f"port={destination.port},{virtual} active_connections={destination.active_connections}i,"
            f"bytes_in={stats.bytes_in}i,bytes_out={stats.bytes_out}i,connections={stats.connections}i,"
            f"cps={stats.cps}i,inactive_connections={destination.inactive_connections}i,pkts_in={stats.pkts_in}i,"
            f"pkts_out={stats.pkts_out}i,pps_in={stats.pps_in}i,pps_out={stats.pps_out}i{end}"
        )
    return "".join(lines)


def _clamped(stats: "Stats") -> "Stats":
    """The counters as line protocol can say them: these, unless one is beyond LARGEST."""
    if (
        stats.connections | stats.pkts_in | stats.pkts_out | stats.bytes_in | stats.bytes_out
        | stats.cps | stats.pps_in | stats.pps_out
    ) <= LARGEST:  # fmt: skip
        return stats
    return type(stats)(*[min(getattr(stats, name), LARGEST) for name in type(stats).__match_args__])
