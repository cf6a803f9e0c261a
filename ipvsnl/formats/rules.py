"""The rules of ipvsadm 1.31, as -Sn prints them, but complete, so that -R restores everything.

ipvsadm omits the thresholds. It also prints two rules that it cannot read: a mark from 2**31 on as a negative number,
and -b without a flag.
"""

from collections.abc import Iterator

from .._key import endpoint
from ..model import Destination, Service, ServiceFlags, TunnelFlags
from . import Report
from .listing import in_order, netmask, scheduler_flags

PROTOCOLS = {"tcp": "-t", "udp": "-u", "sctp": "--sctp-service"}
FORWARDING = {"masquerade": "-m", "tunnel": "-i", "direct": "-g", "local": "-g"}
CHECKSUMS = {0: " --tun-nocsum", TunnelFlags.CSUM: " --tun-csum", TunnelFlags.REMCSUM: " --tun-remcsum"}


def render(report: Report) -> Iterator[str]:
    """Yield the rules of each service and its real servers."""
    yield from in_order(report, _rules)


def _rules(service: Service, pool: list[Destination]) -> str:
    name = service_name(service)
    return f"-A {name}{service_settings(service)}\n" + "".join([f"-a {name}{dest_settings(each)}\n" for each in pool])


def service_name(service: Service) -> str:
    if service.fwmark is not None:
        return f"-f {service.fwmark} -6" if service.address_family == "inet6" else f"-f {service.fwmark}"
    return f"{PROTOCOLS.get(str(service.protocol), '--xxx-service')} {endpoint(service.address, service.port)}"


def service_settings(service: Service) -> str:
    text = f" -s {service.scheduler}"
    if ServiceFlags.PERSISTENT in service.flags:
        text += f" -p {service.timeout}"
        if mask := netmask(service):
            text += f" -M {mask}"
    if service.persistence_engine:
        text += f" --pe {service.persistence_engine}"
    if ServiceFlags.ONEPACKET in service.flags:
        text += " -o"
    flags = scheduler_flags(service)
    return text if flags is None else f"{text} -b {flags or 'flag-3'}"  # sh and mh have no name for the third


def dest_settings(destination: Destination) -> str:
    text = f" -r {endpoint(destination.address, destination.port)} {FORWARDING.get(destination.forwarding, '(null)')}"
    text += f" -w {destination.weight}"
    if destination.forwarding == "tunnel":
        checksum = CHECKSUMS.get(destination.tunnel_flags, "")
        types = {"ipip": "ipip", "gue": f"gue --tun-port {destination.tunnel_port}{checksum}", "gre": f"gre{checksum}"}
        if destination.tunnel_type in types:
            text += f" --tun-type {types[destination.tunnel_type]}"
    if destination.upper_threshold or destination.lower_threshold:
        text += f" -x {destination.upper_threshold} -y {destination.lower_threshold}"
    return text
