"""One JSON document, with the fields of the model under their own names.

It is spelled out, because that is several times faster than a general encoder. Only a few texts can need an escape, for
example the name of a scheduler.
"""

from json import dumps

from . import sums

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from enum import IntFlag

    from ..model import Daemon, Destination, Info, Service, Stats, Timeouts
    from . import Report


def render(report: "Report") -> "Iterator[str]":
    """Yield the document, a piece for each service.

    A service has no "destinations" if they were not asked for, and sums in their place with `aggregate`. The document
    has no time in it.
    """
    before = '{"services": ['
    for service, destinations in report.entries:
        text = before + _service(service)
        if report.aggregate:
            text += f", {dumps(sums(destinations or []))[1:-1]}"
        elif destinations is not None:
            text += f', "destinations": [{", ".join([_destination(destination) for destination in destinations])}]'
        yield text + "}"
        before = ", "
    text = "]" if before == ", " else before + "]"
    for name, value in (("info", report.info), ("timeouts", report.timeouts), ("daemons", report.daemons)):
        text += f', "{name}": {dumps(_plain(value))}'
    if report.netns is not None:
        text += f', "netns": {dumps(report.netns)}'
    yield text + "}\n"


def _plain(value: "Info | Timeouts | Daemon | list[Daemon] | None") -> object:
    """The value as dicts and lists."""
    if value is None:
        return None
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return {name: getattr(value, name) for name in type(value).__match_args__}


def _service(service: "Service") -> str:
    """A service, still open for its real servers."""
    return (
        f'{{"address_family": "{service.address_family}", "protocol": {dumps(service.protocol)}, '
        f'"address": {dumps(service.address)}, "port": {dumps(service.port)}, "fwmark": {dumps(service.fwmark)}, '
        f'"scheduler": {dumps(service.scheduler)}, "flags": {_flags(service.flags)}, '
        f'"timeout": {service.timeout}, "netmask": {service.netmask}, '
        f'"persistence_engine": {dumps(service.persistence_engine)}, "stats": {_stats(service.stats)}'
    )


def _destination(destination: "Destination") -> str:
    return (
        f'{{"address_family": "{destination.address_family}", "address": "{destination.address}", '
        f'"port": {destination.port}, "forwarding": "{destination.forwarding}", "weight": {destination.weight}, '
        f'"upper_threshold": {destination.upper_threshold}, "lower_threshold": {destination.lower_threshold}, '
        f'"active_connections": {destination.active_connections}, '
        f'"inactive_connections": {destination.inactive_connections}, '
        f'"persistent_connections": {destination.persistent_connections}, '
        f'"tunnel_type": "{destination.tunnel_type}", "tunnel_port": {destination.tunnel_port}, '
        f'"tunnel_flags": {_flags(destination.tunnel_flags)}, "stats": {_stats(destination.stats)}}}'
    )


def _stats(stats: "Stats") -> str:
    return (
        f'{{"connections": {stats.connections}, "pkts_in": {stats.pkts_in}, "pkts_out": {stats.pkts_out}, '
        f'"bytes_in": {stats.bytes_in}, "bytes_out": {stats.bytes_out}, "cps": {stats.cps}, '
        f'"pps_in": {stats.pps_in}, "pps_out": {stats.pps_out}, "bps_in": {stats.bps_in}, "bps_out": {stats.bps_out}}}'
    )


def _flags(flags: "IntFlag") -> str:
    """The names of the flags that are set, lower case; bits without a name as one hex number after them."""
    if flags == 0:
        return "[]"
    names = []
    rest = int(flags)
    for flag in type(flags):
        if rest & flag:
            names.append(str(flag.name).lower())
            rest &= ~int(flag)
    return dumps([*names, hex(rest)] if rest else names)
