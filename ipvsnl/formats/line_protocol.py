"""InfluxDB line protocol, with the names of telegraf's ipvs plugin (plugins/inputs/ipvs/ipvs.go), so that dashboards
made for it keep working.

Three differences are on purpose. Counters are the 64-bit ones, which do not wrap. The netmask of an IPv6 service is its
prefix length; the plugin counts that number's bits. Real servers of an IPv6 fwmark service carry one more tag, because
an IPv4 service may have the same mark and the same real server. Tags and fields are sorted by name.
"""

from operator import attrgetter

from . import sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..model import Destination, Service, Stats
    from . import Report

LARGEST = 2**63 - 1  # an integer of line protocol is signed, 64-bit
# As telegraf's own serializer escapes. Its parser ends a tag at a raw one of these.
ESCAPES = str.maketrans(
    {",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n", "\t": r"\t", "\r": r"\r", "\v": r"\v", "\f": r"\f"}
)

COUNTERS = ("bytes_in", "bytes_out", "connections", "cps", "pkts_in", "pkts_out", "pps_in", "pps_out")
ALL_COUNTERS = ("bps_in", "bps_out", *COUNTERS)
ALL_FIELDS = {  # of a real server: where Destination has each
    "active_connections": "active_connections",
    "bps_in": "stats.bps_in",
    "bps_out": "stats.bps_out",
    "bytes_in": "stats.bytes_in",
    "bytes_out": "stats.bytes_out",
    "connections": "stats.connections",
    "cps": "stats.cps",
    "inactive_connections": "inactive_connections",
    "lower_threshold": "lower_threshold",
    "persistent_connections": "persistent_connections",
    "pkts_in": "stats.pkts_in",
    "pkts_out": "stats.pkts_out",
    "pps_in": "stats.pps_in",
    "pps_out": "stats.pps_out",
    "upper_threshold": "upper_threshold",
    "weight": "weight",
}


def render(report: "Report") -> "Iterator[str]":
    """Yield the lines of one service after the other, each with those of its real servers."""
    time = str(report.time)  # once: it has many digits
    netns = _tag("netns", report.netns or "")
    destination_lines = _all_destination_lines if report.all_fields else _destination_lines
    for service, destinations in report.entries:
        pool = destinations or []
        if not report.aggregate and not report.all_fields:
            fields = _fields(service.stats)
        else:
            names = ALL_COUNTERS if report.all_fields else COUNTERS
            values = {name: getattr(service.stats, name) for name in names}
            if report.aggregate:
                values.update(sums(pool))
                pool = []
            fields = ",".join([f"{name}={min(values[name], LARGEST)}i" for name in sorted(values)])
        line = f"ipvs_virtual_server,{_service_tags(service, netns)} {fields} {time}\n"
        yield line + destination_lines(service, pool, netns, time) if pool else line


def _tag(name: str, text: str) -> str:
    """A tag after a comma; nothing if the text is empty, because no tag can be."""
    if not text.isalnum():
        text = text.translate(ESCAPES).rstrip("\\")  # no tag can end with a backslash
    return text and f",{name}={text}"


def _service_tags(service: "Service", netns: str) -> str:
    sched = _tag("sched", service.scheduler)
    if service.fwmark is None:
        return (
            f"address={service.address},address_family={service.address_family},netmask={service.netmask}{netns},"
            f"port={service.port},protocol={service.protocol}{sched}"
        )
    return f"address_family={service.address_family},fwmark={service.fwmark},netmask={service.netmask}{netns}{sched}"


def _fields(stats: "Stats") -> str:
    """The fields of a service that telegraf has, fast."""
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
    return fields.decode()


def _virtual_tags(service: "Service") -> str:
    if service.fwmark is None:
        return f"virtual_address={service.address},virtual_port={service.port},virtual_protocol={service.protocol}"
    if service.address_family == "inet6":
        return f"virtual_address_family=inet6,virtual_fwmark={service.fwmark}"
    return f"virtual_fwmark={service.fwmark}"


def _destination_lines(service: "Service", destinations: "list[Destination]", netns: str, time: str) -> str:
    """The lines of real servers with the fields that telegraf has, fast."""
    virtual = _virtual_tags(service)
    family, line, lines = "", b"", []
    for destination in destinations:
        if destination.address_family != family:  # the first one, or one of a mixed pool
            family = destination.address_family
            # As bytes, as above.
            line = (
                f"ipvs_real_server,address=%b,address_family={family}{netns},port=%d,{virtual} active_connections=%di,"
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


_all_values = attrgetter(*ALL_FIELDS.values())
_ALL_FIELDS = ",".join([f"{name}=%di" for name in ALL_FIELDS])


def _all_destination_lines(service: "Service", destinations: "list[Destination]", netns: str, time: str) -> str:
    virtual, lines = _virtual_tags(service), []
    for destination in destinations:
        values = _all_values(destination)
        if max(values) > LARGEST:
            values = tuple([min(value, LARGEST) for value in values])
        lines.append(
            f"ipvs_real_server,address={destination.address},address_family={destination.address_family}{netns},"
            f"port={destination.port},{virtual} {_ALL_FIELDS % values} {time}\n"
        )
    return "".join(lines)
