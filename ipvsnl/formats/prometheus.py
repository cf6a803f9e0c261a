"""The text exposition format of Prometheus, by its conventions for names.

Units are base units, and counters end in `_total`. There are no rates, because rate() computes better ones. There are
no timestamps, because a scrape has its own and node_exporter refuses them.

Labels are the tags of the line protocol. Real servers of a fwmark service always name its address family, because an
IPv4 and an IPv6 service may have the same mark.
"""

from collections.abc import Iterator
from operator import attrgetter
from types import SimpleNamespace

from ..model import Destination, Service
from . import Report, sums

# Metrics by name: the field that holds the value, and the meaning.
COUNTERS = {  # of a virtual server and of a real server
    "connections_total": ("stats.connections", "Connections scheduled."),
    "incoming_packets_total": ("stats.pkts_in", "Packets from clients."),
    "outgoing_packets_total": ("stats.pkts_out", "Packets to clients that passed here."),
    "incoming_bytes_total": ("stats.bytes_in", "Bytes from clients, IP headers included."),
    "outgoing_bytes_total": ("stats.bytes_out", "Bytes to clients that passed here, IP headers included."),
}
GAUGES = {  # of a real server
    "active_connections": ("active_connections", "Connections now in an active state, such as ESTABLISHED."),
    "inactive_connections": ("inactive_connections", "Connections now in any other state."),
    "persistent_connections": ("persistent_connections", "Persistence templates now."),
    "weight": ("weight", "The weight that the scheduler goes by; 0 takes no new connections."),
}
SUMS = {  # of a virtual server
    "active_connections": (
        "active_connections",
        "Connections of its real servers now in an active state, such as ESTABLISHED.",
    ),
    "inactive_connections": ("inactive_connections", "Connections of its real servers now in any other state."),
    "persistent_connections": ("persistent_connections", "Persistence templates of its real servers now."),
    "real_servers": ("real_servers", "Real servers."),
    "real_servers_available": ("real_servers_available", "Real servers with a weight above 0."),
}
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(report: Report) -> Iterator[str]:
    """Yield one metric after the other, each with all its samples, as the format demands."""
    netns = "" if report.netns is None else f',netns="{report.netns.translate(ESCAPES)}"'
    yield from _of_this_ipvs(report, netns)
    services: list[tuple[str, object]] = []
    destinations: list[tuple[str, object]] = []
    for service, pool in report.entries:
        labels = _service_labels(service, netns)
        if report.aggregate:
            services.append((labels, SimpleNamespace(stats=service.stats, **sums(pool or []))))
        else:
            services.append((labels, service))
            virtual = _virtual_labels(service)
            destinations += [(_destination_labels(each, netns, virtual), each) for each in pool or []]
    yield from _metrics("ipvs_virtual_server", {**COUNTERS, **SUMS} if report.aggregate else COUNTERS, services)
    yield from _metrics("ipvs_real_server", {**COUNTERS, **GAUGES}, destinations)


def _metrics(prefix: str, table: dict[str, tuple[str, str]], entries: list[tuple[str, object]]) -> Iterator[str]:
    for name, (field, meaning) in table.items():
        value = attrgetter(field)
        yield _metric(f"{prefix}_{name}", meaning, [(labels, value(entry)) for labels, entry in entries])


def _of_this_ipvs(report: Report, netns: str) -> Iterator[str]:
    """Yield the metrics that belong to no service, if they are known."""
    if report.info is not None:
        version, size = report.info.version, report.info.connection_table_size
        yield _metric("ipvs_info", "The version of IPVS.", [(f'{{version="{version}"{netns}}}', 1)])
        labels = netns and f"{{{netns[1:]}}}"
        yield _metric("ipvs_connection_table_size", "Buckets of the connection table.", [(labels, size)])
    if report.timeouts is not None:
        names = type(report.timeouts).__match_args__
        samples = [(f'{{timeout="{name}"{netns}}}', getattr(report.timeouts, name)) for name in names]
        yield _metric("ipvs_timeout_seconds", "How long an idle connection is kept.", samples)
    samples = []
    for daemon in report.daemons or []:
        interface = daemon.mcast_ifn.translate(ESCAPES)
        labels = f'{{interface="{interface}"{netns},state="{daemon.state}",sync_id="{daemon.sync_id}"}}'
        samples.append((labels, 1))
    yield _metric("ipvs_sync_daemon", "A connection synchronization daemon that runs.", samples)


def _metric(name: str, meaning: str, samples: list[tuple[str, int]]) -> str:
    """Return a metric with its samples, labels and value, or nothing if it has none."""
    if not samples:
        return ""
    type = "counter" if name.endswith("_total") else "gauge"
    lines = "".join([f"{name}{labels} {value}\n" for labels, value in samples])
    return f"# HELP {name} {meaning}\n# TYPE {name} {type}\n{lines}"


def _service_labels(service: Service, netns: str) -> str:
    family, netmask = service.address_family, service.netmask
    sched = service.scheduler.translate(ESCAPES)  # a module chooses it
    if service.fwmark is None:
        return (
            f'{{address="{service.address}",address_family="{family}",netmask="{netmask}"{netns},'
            f'port="{service.port}",protocol="{service.protocol}",sched="{sched}"}}'
        )
    return f'{{address_family="{family}",fwmark="{service.fwmark}",netmask="{netmask}"{netns},sched="{sched}"}}'


def _virtual_labels(service: Service) -> str:
    if service.fwmark is None:
        return (
            f'virtual_address="{service.address}",virtual_port="{service.port}",virtual_protocol="{service.protocol}"'
        )
    return f'virtual_address_family="{service.address_family}",virtual_fwmark="{service.fwmark}"'


def _destination_labels(destination: Destination, netns: str, virtual: str) -> str:
    return (
        f'{{address="{destination.address}",address_family="{destination.address_family}"{netns},'
        f'port="{destination.port}",{virtual}}}'
    )
