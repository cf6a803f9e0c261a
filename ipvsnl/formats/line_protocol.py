"""InfluxDB line protocol, with the names of telegraf's ipvs plugin (plugins/inputs/ipvs/ipvs.go), so that dashboards
made for it keep working.

Different on purpose: counters are the 64-bit ones, which do not wrap, and the netmask of an IPv6 service is its prefix
length (the plugin counts that number's bits). Tags and fields are sorted by name.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import Destination, Service

    Tags = dict[str, str | int | None]

LARGEST = 2**63 - 1  # an integer of line protocol is signed, 64-bit
ESCAPES = str.maketrans({",": r"\,", "=": r"\=", " ": r"\ "})


def render(entries: "Iterable[tuple[Service, list[Destination] | None]]", timestamp: int) -> "Iterator[str]":
    """The lines of one service after the other, each with those of its real servers. `timestamp` is nanoseconds."""
    for service, destinations in entries:
        lines = [service_line(service, timestamp)]
        lines += [destination_line(service, destination, timestamp) for destination in destinations or ()]
        yield "".join(lines)


def service_line(service: "Service", timestamp: int) -> str:
    stats = service.stats
    tags: Tags = {
        "address": service.address,
        "address_family": service.address_family,
        "fwmark": service.fwmark,
        "netmask": service.netmask,
        "port": service.port,
        "protocol": service.protocol,
        "sched": service.scheduler,
    }
    fields = {
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "connections": stats.connections,
        "cps": stats.cps,
        "pkts_in": stats.pkts_in,
        "pkts_out": stats.pkts_out,
        "pps_in": stats.pps_in,
        "pps_out": stats.pps_out,
    }
    return _line("ipvs_virtual_server", tags, fields, timestamp)


def destination_line(service: "Service", destination: "Destination", timestamp: int) -> str:
    stats = destination.stats
    tags: Tags = {
        "address": destination.address,
        "address_family": destination.address_family,
        "port": destination.port,
        "virtual_address": service.address,
        "virtual_fwmark": service.fwmark,
        "virtual_port": service.port,
        "virtual_protocol": service.protocol,
    }
    fields = {
        "active_connections": destination.active_connections,
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "connections": stats.connections,
        "cps": stats.cps,
        "inactive_connections": destination.inactive_connections,
        "pkts_in": stats.pkts_in,
        "pkts_out": stats.pkts_out,
        "pps_in": stats.pps_in,
        "pps_out": stats.pps_out,
    }
    return _line("ipvs_real_server", tags, fields, timestamp)


def _line(measurement: str, tags: "Tags", fields: dict[str, int], timestamp: int) -> str:
    """Tags and fields stand in the order of their names in the tables above; a tag that does not apply is None."""
    tag_set = "".join(f",{name}={str(value).translate(ESCAPES)}" for name, value in tags.items() if value is not None)
    field_set = ",".join(f"{name}={min(value, LARGEST)}i" for name, value in fields.items())
    return f"{measurement}{tag_set} {field_set} {timestamp}\n"
