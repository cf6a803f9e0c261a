"""The text exposition format of Prometheus, by its conventions for names: base units, `_total` on what only counts up,
no rates (rate() makes better ones), no timestamps (a scrape has its own, and node_exporter refuses them).

Labels are the tags of the line protocol, and one more for a fwmark: an IPv4 and an IPv6 service may have the same
mark, and in both the same real server behind a tunnel, which would be one series twice.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import Destination, Info, Service

COUNTERS = {  # of a virtual server and of a real server: fields of Stats
    "connections_total": ("connections", "Connections scheduled."),
    "incoming_packets_total": ("pkts_in", "Packets from clients."),
    "outgoing_packets_total": ("pkts_out", "Packets to clients that passed here."),
    "incoming_bytes_total": ("bytes_in", "Bytes from clients, IP headers included."),
    "outgoing_bytes_total": ("bytes_out", "Bytes to clients that passed here, IP headers included."),
}
GAUGES = {  # of a real server: fields of Destination
    "active_connections": ("active_connections", "Connections now in an active state, such as ESTABLISHED."),
    "inactive_connections": ("inactive_connections", "Connections now in any other state."),
    "persistent_connections": ("persistent_connections", "Persistence templates now."),
    "weight": ("weight", "The weight that the scheduler goes by; 0 takes no new connections."),
}
ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(
    entries: "Iterable[tuple[Service, list[Destination] | None]]", timestamp: int, info: "Info | None" = None
) -> "Iterator[str]":
    """One metric after the other, each with all its samples, as the format demands."""
    if info is not None:
        yield _metric("ipvs_info", "gauge", "The version of IPVS.", [f'{{version="{info.version}"}} 1'])
        size = f" {info.connection_table_size}"
        yield _metric("ipvs_connection_table_size", "gauge", "Buckets of the connection table.", [size])
    services: list[tuple[str, Service]] = []
    destinations: list[tuple[str, Destination]] = []
    for service, pool in entries:
        services.append((_service_labels(service), service))
        virtual = _virtual_labels(service)
        destinations += [(_destination_labels(destination, virtual), destination) for destination in pool or []]
    for name, (field, meaning) in COUNTERS.items():
        samples = [f"{labels} {getattr(service.stats, field)}" for labels, service in services]
        yield _metric(f"ipvs_virtual_server_{name}", "counter", meaning, samples)
    for name, (field, meaning) in COUNTERS.items():
        samples = [f"{labels} {getattr(destination.stats, field)}" for labels, destination in destinations]
        yield _metric(f"ipvs_real_server_{name}", "counter", meaning, samples)
    for name, (field, meaning) in GAUGES.items():
        samples = [f"{labels} {getattr(destination, field)}" for labels, destination in destinations]
        yield _metric(f"ipvs_real_server_{name}", "gauge", meaning, samples)


def _metric(name: str, type: str, meaning: str, samples: "list[str]") -> str:
    """A metric; nothing if it has no sample."""
    if not samples:
        return ""
    lines = "".join([f"{name}{sample}\n" for sample in samples])
    return f"# HELP {name} {meaning}\n# TYPE {name} {type}\n{lines}"


def _service_labels(service: "Service") -> str:
    family, netmask = service.address_family, service.netmask
    sched = service.scheduler.translate(ESCAPES)  # of all labels only this, which a module chooses, could need it
    if service.fwmark is None:
        return (
            f'{{address="{service.address}",address_family="{family}",netmask="{netmask}",'
            f'port="{service.port}",protocol="{service.protocol}",sched="{sched}"}}'
        )
    return f'{{address_family="{family}",fwmark="{service.fwmark}",netmask="{netmask}",sched="{sched}"}}'


def _virtual_labels(service: "Service") -> str:
    if service.fwmark is None:
        return (
            f'virtual_address="{service.address}",virtual_port="{service.port}",virtual_protocol="{service.protocol}"'
        )
    return f'virtual_address_family="{service.address_family}",virtual_fwmark="{service.fwmark}"'


def _destination_labels(destination: "Destination", virtual: str) -> str:
    return (
        f'{{address="{destination.address}",address_family="{destination.address_family}",'
        f'port="{destination.port}",{virtual}}}'
    )
