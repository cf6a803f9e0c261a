"""InfluxDB line protocol, with the names of telegraf's ipvs plugin.

Dashboards made for the plugin (plugins/inputs/ipvs/ipvs.go) keep working. Three differences are on purpose:

- Counters have 64 bits and do not wrap.
- The netmask of an IPv6 service is its prefix length. The plugin counts the bits of that number.
- Real servers of an IPv6 fwmark service carry one more tag, because an IPv4 service may have the same mark and the
  same real server.
"""

from collections.abc import Iterable, Iterator
from operator import attrgetter

from ..model import Destination, Service, Stats
from . import Report, sums

LARGEST = 2**63 - 1  # an integer of line protocol is signed, 64-bit
# Escape as telegraf's own serializer does. Its parser ends a tag at any of these characters.
ESCAPES = str.maketrans(
    {",": r"\,", "=": r"\=", " ": r"\ ", "\n": r"\n", "\t": r"\t", "\r": r"\r", "\v": r"\v", "\f": r"\f"}
)


def _template(names: Iterable[str]) -> str:
    return ",".join([f"{name}=%di" for name in names])


# Fields in the order of their names.
COUNTERS = ("bytes_in", "bytes_out", "connections", "cps", "pkts_in", "pkts_out", "pps_in", "pps_out")
ALL_COUNTERS = ("bps_in", "bps_out", *COUNTERS)
OWN_FIELDS = (  # of a real server, with ALL_COUNTERS
    *("active_connections", "inactive_connections", "persistent_connections"),
    *("lower_threshold", "upper_threshold", "weight"),
)
_ALL = sorted([(name, name) for name in OWN_FIELDS] + [(name, f"stats.{name}") for name in ALL_COUNTERS])
_all_fields = attrgetter(*[path for _, path in _ALL])
_all_template = _template([name for name, _ in _ALL])


def render(report: Report) -> Iterator[str]:
    """Yield for each service its line and those of its real servers."""
    time = str(report.time)
    netns = _tag("netns", report.netns or "")
    names = ALL_COUNTERS if report.all_fields else COUNTERS
    counters, template = attrgetter(*names), _template(names).encode()  # Python formats numbers faster into bytes
    destination_lines = _all_destination_lines if report.all_fields else _destination_lines
    for service, destinations in report.entries:
        pool = destinations or []
        values = _limited(counters(service.stats))
        if report.aggregate:
            named = dict(zip(names, values), **sums(pool))
            fields = ",".join([f"{name}={named[name]}i" for name in sorted(named)])
            pool = []
        else:
            fields = (template % values).decode()
        line = f"ipvs_virtual_server,{_service_tags(service, netns)} {fields} {time}\n"
        yield line + destination_lines(service, pool, netns, time) if pool else line


def _limited(values: tuple[int, ...]) -> tuple[int, ...]:
    """Limit the values to what line protocol can express."""
    return values if max(values) <= LARGEST else tuple([min(value, LARGEST) for value in values])


def _tag(name: str, text: str) -> str:
    """Return a comma and a tag, or nothing if the text is empty, because no tag can be empty."""
    if not text.isalnum():
        text = text.translate(ESCAPES).rstrip("\\")  # a tag cannot end with a backslash
    return text and f",{name}={text}"


def _service_tags(service: Service, netns: str) -> str:
    sched = _tag("sched", service.scheduler)
    if service.fwmark is None:
        return (
            f"address={service.address},address_family={service.address_family},netmask={service.netmask}{netns},"
            f"port={service.port},protocol={service.protocol}{sched}"
        )
    return f"address_family={service.address_family},fwmark={service.fwmark},netmask={service.netmask}{netns}{sched}"


def _virtual_tags(service: Service) -> str:
    if service.fwmark is None:
        return f"virtual_address={service.address},virtual_port={service.port},virtual_protocol={service.protocol}"
    if service.address_family == "inet6":
        return f"virtual_address_family=inet6,virtual_fwmark={service.fwmark}"
    return f"virtual_fwmark={service.fwmark}"


def _destination_lines(service: Service, destinations: list[Destination], netns: str, time: str) -> str:
    """Return the lines of real servers with the fields that telegraf has, fast."""
    virtual = _virtual_tags(service)
    family, line, lines = "", b"", []
    for destination in destinations:
        if destination.address_family != family:  # the first one, or one of a mixed pool
            family = destination.address_family
            # Bytes, as above.
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
            stats = Stats(*[min(getattr(stats, name), LARGEST) for name in Stats.__match_args__])
        lines.append(
            line
            % (
                destination.address.encode(), destination.port, destination.active_connections,
                stats.bytes_in, stats.bytes_out, stats.connections, stats.cps,
                destination.inactive_connections, stats.pkts_in, stats.pkts_out, stats.pps_in, stats.pps_out,
            )
        )  # fmt: skip
    return b"".join(lines).decode()


def _all_destination_lines(service: Service, destinations: list[Destination], netns: str, time: str) -> str:
    virtual, lines = _virtual_tags(service), []
    for destination in destinations:
        tags = f"address={destination.address},address_family={destination.address_family}{netns}"
        values = _all_template % _limited(_all_fields(destination))
        lines.append(f"ipvs_real_server,{tags},port={destination.port},{virtual} {values} {time}\n")
    return "".join(lines)
