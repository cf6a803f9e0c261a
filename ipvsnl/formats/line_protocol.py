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
    time = str(timestamp)  # once: it has many digits
    for service, destinations in entries:
        yield service_line(service, time) + destination_lines(service, destinations or [], time)


def service_line(service: "Service", time: str) -> str:
    sched = service.scheduler  # of all tags only this, which a module chooses, could need it
    if not sched.isalnum():
        sched = sched.translate(ESCAPES).rstrip("\\")  # with which no tag can end
    if service.fwmark is None:
        tags = (
            f"address={service.address},address_family={service.address_family},netmask={service.netmask},"
            f"port={service.port},protocol={service.protocol},sched={sched}"
        )
    else:
        tags = (
            f"address_family={service.address_family},fwmark={service.fwmark},netmask={service.netmask},sched={sched}"
        )
    if not sched:  # nor can one be empty
        tags = tags[: -len(",sched=")]
    stats = service.stats
    if (
        stats.connections + stats.pkts_in + stats.pkts_out + stats.bytes_in + stats.bytes_out
        + stats.cps + stats.pps_in + stats.pps_out
    ) > LARGEST:  # fmt: skip
        stats = _clamped(stats)
    # As bytes, into which Python writes numbers faster than into text.
    fields = b"bytes_in=%di,bytes_out=%di,connections=%di,cps=%di,pkts_in=%di,pkts_out=%di,pps_in=%di,pps_out=%di" % (
        stats.bytes_in, stats.bytes_out, stats.connections, stats.cps,
        stats.pkts_in, stats.pkts_out, stats.pps_in, stats.pps_out,
    )  # fmt: skip
    return f"ipvs_virtual_server,{tags} {fields.decode()} {time}\n"


def destination_lines(service: "Service", destinations: "list[Destination]", time: str) -> str:
    if service.fwmark is None:
        virtual = f"virtual_address={service.address},virtual_port={service.port},virtual_protocol={service.protocol}"
    else:
        virtual = f"virtual_fwmark={service.fwmark}"
    family, line, lines = "", b"", []
    for destination in destinations:
        if destination.address_family != family:  # the first one, or one of a mixed pool
            family = destination.address_family
            # As bytes, as above.
            line = (
                f"ipvs_real_server,address=%b,address_family={family},port=%d,{virtual} active_connections=%di,"
                f"bytes_in=%di,bytes_out=%di,connections=%di,cps=%di,inactive_connections=%di,pkts_in=%di,"
                f"pkts_out=%di,pps_in=%di,pps_out=%di {time}\n"
            ).encode()
        stats = destination.stats
        if (
            stats.connections + stats.pkts_in + stats.pkts_out + stats.bytes_in + stats.bytes_out
            + stats.cps + stats.pps_in + stats.pps_out
        ) > LARGEST:  # fmt: skip
            stats = _clamped(stats)
        lines.append(
            line
            % (
                destination.address.encode(), destination.port, destination.active_connections,
                stats.bytes_in, stats.bytes_out, stats.connections, stats.cps,
                destination.inactive_connections, stats.pkts_in, stats.pkts_out, stats.pps_in, stats.pps_out,
            )
        )  # fmt: skip
    return b"".join(lines).decode()


def _clamped(stats: "Stats") -> "Stats":
    """The counters as line protocol can say them. Called only where their sum is too large, which is quick to see."""
    return type(stats)(*[min(getattr(stats, name), LARGEST) for name in type(stats).__match_args__])
