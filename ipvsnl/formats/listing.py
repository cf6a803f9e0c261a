"""The listings of ipvsadm 1.31: -Ln, -Ln --stats and -Ln --rate, column for column.

Two faults of ipvsadm are corrected. It prints the low 32 bits of a real server's counters, of which all 64 are printed
here. It sorts by a difference that wraps, so its order is not always numeric.
"""

from _socket import inet_pton  # not socket, which starts slowly
from collections.abc import Callable, Iterator

from .._key import FAMILY_NUMBERS, HOST_FAMILIES, endpoint
from .._typing import typing
from ..model import Destination, Service, ServiceFlags, Stats
from . import Report

PROTOCOLS = {"tcp": "TCP", "udp": "UDP", "sctp": "SCTP"}  # ipvsadm has no name for another
FORWARDING = {"masquerade": b"Masq", "local": b"Local", "tunnel": b"Tunnel", "direct": b"Route"}
SCHEDULER_FLAGS = {  # the name with most schedulers; what follows the name of the scheduler with sh and mh
    ServiceFlags.SCHED1: ("flag-1", "-fallback"),
    ServiceFlags.SCHED2: ("flag-2", "-port"),
    ServiceFlags.SCHED3: ("flag-3", ""),
}


def render_list(report: Report) -> Iterator[str]:
    """Yield what ipvsadm -Ln prints."""
    title = "Prot LocalAddress:Port Scheduler Flags\n"
    title += "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
    return _listing(report, title, _service, _destination)


def render_stats(report: Report) -> Iterator[str]:
    """Yield what ipvsadm -Ln --stats prints."""
    return _numbers(report, ("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"), _counters)


def render_rate(report: Report) -> Iterator[str]:
    """Yield what ipvsadm -Ln --rate prints."""
    return _numbers(report, ("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"), _rates)


def _numbers(report: Report, columns: tuple[str, ...], numbers: Callable[[Stats], str]) -> Iterator[str]:
    title = f"{'Prot LocalAddress:Port':33}{''.join([f' {each:>8}' for each in columns])}\n  -> RemoteAddress:Port\n"
    return _listing(
        report,
        title,
        lambda service: f"{_name(service):33}{numbers(service.stats)}\n",
        lambda each: f"  -> {endpoint(each.address, each.port):28}{numbers(each.stats)}\n",
    )


def _listing(
    report: Report, title: str, service_line: Callable[[Service], str], line: Callable[[Destination], str]
) -> Iterator[str]:
    if report.info is not None:
        yield f"IP Virtual Server version {report.info.version} (size={report.info.connection_table_size})\n"
    yield title
    yield from in_order(report, lambda service, pool: service_line(service) + "".join([line(each) for each in pool]))


def in_order(report: Report, text: Callable[[Service, list[Destination]], str]) -> list[str]:
    """Return the text of each service and its real servers, both in the order of their keys."""
    texts = [(service.key, text(service, sorted(pool or [], key=_place))) for service, pool in report.entries]
    return [text for _, text in sorted(texts)]


def _place(destination: Destination) -> tuple[int, bytes, int]:
    """Return Destination.key without its checks, which take as long as the rest of a line."""
    family = FAMILY_NUMBERS[destination.address_family]
    return family, inet_pton(HOST_FAMILIES[family], destination.address), destination.port


def _name(service: Service) -> str:
    if service.fwmark is not None:
        mark = service.fwmark - (service.fwmark >> 31 << 32)  # printed as a C int
        return f"FWM  {mark} IPv6" if service.address_family == "inet6" else f"FWM  {mark}"
    return f"{PROTOCOLS.get(str(service.protocol), '?'):4} {endpoint(service.address, service.port)}"


def _service(service: Service) -> str:
    text = f"{_name(service)} {service.scheduler}"
    if (flags := scheduler_flags(service)) is not None:
        text += f" ({flags})"
    if ServiceFlags.PERSISTENT in service.flags:
        text += f" persistent {service.timeout}"
        if mask := netmask(service):
            text += f" mask {mask}"
        if service.persistence_engine:
            text += f" pe {service.persistence_engine}"
    return text + (" ops\n" if ServiceFlags.ONEPACKET in service.flags else "\n")


def scheduler_flags(service: Service) -> "typing.Optional[str]":
    """Return the names of the scheduler's flags, or None if none is set. sh and mh have no name for the third."""
    found = [names for flag, names in SCHEDULER_FLAGS.items() if flag in service.flags]
    if not found:
        return None
    if service.scheduler in ("sh", "mh"):
        return ",".join([service.scheduler + ending for _, ending in found if ending])
    return ",".join([name for name, _ in found])


def netmask(service: Service) -> "typing.Optional[str]":
    """Return the netmask for persistence, or None if each client is alone."""
    if service.address_family == "inet6":
        return None if service.netmask == 128 else str(service.netmask)
    mask = (0xFFFFFFFF << 32 - service.netmask & 0xFFFFFFFF).to_bytes(4, "big")
    return None if service.netmask == 32 else ".".join([str(byte) for byte in mask])


def _destination(destination: Destination) -> str:
    # Format bytes, because Python then formats numbers faster than with text.
    line = b"  -> %-28b %-7b %-6d %-10d %-10d\n" % (
        endpoint(destination.address, destination.port).encode(),
        FORWARDING.get(destination.forwarding, b"(null)"),
        destination.weight,
        destination.active_connections,
        destination.inactive_connections,
    )
    return line.decode()


def _counters(stats: Stats) -> str:
    numbers = stats.connections, stats.pkts_in, stats.pkts_out, stats.bytes_in, stats.bytes_out
    return "".join(map(_short, numbers))


def _rates(stats: Stats) -> str:
    return f" {stats.cps:8} {stats.pps_in:8} {stats.pps_out:8}{_short(stats.bps_in)}{_short(stats.bps_out)}"


def _short(number: int) -> str:
    """Return a number in nine characters, rounded down."""
    if number < 10**8:
        return f"{number:9}"
    for limit, unit, letter in ((10**9, 10**3, "K"), (10**11, 10**6, "M"), (10**14, 10**9, "G")):
        if number < limit:
            return f"{number // unit:8}{letter}"
    return f"{number // 10**12:8}T"
