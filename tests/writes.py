"""Writes with their outcome on every kernel, for testing.Kernel and for real ones: the two must not diverge."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from ipvsnl import Daemon, ServiceFlags, TunnelFlags
from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig

WEB = ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr")
SIP = ServiceConfig("udp", "10.0.0.1", 5060, scheduler="rr", flags=ServiceFlags.PERSISTENT, timeout=60,
                    persistence_engine="sip")  # fmt: skip
SIX = ServiceConfig("tcp", "2001:db8::1", 80, scheduler="rr", flags=ServiceFlags.PERSISTENT, timeout=60, netmask=64)
MARK = ServiceConfig(fwmark=1, scheduler="rr")
MARK6 = ServiceConfig(fwmark=1, address_family="inet6", scheduler="rr")
ABSENT = ServiceConfig("tcp", "10.0.0.99", 80)
HASH = ServiceConfig("tcp", "10.0.0.2", 80, scheduler="sh", timeout=360, netmask=24,
                     flags=ServiceFlags.PERSISTENT | ServiceFlags.SCHED1 | ServiceFlags.SCHED2)  # fmt: skip

MASQ = DestinationConfig("192.0.2.1", 80, forwarding="masquerade")
GUE = DestinationConfig("192.0.2.2", 80, forwarding="tunnel", tunnel_type="gue", tunnel_port=6080,
                        tunnel_flags=TunnelFlags.CSUM)  # fmt: skip
LIMITED = DestinationConfig("192.0.2.3", 80, forwarding="direct", upper_threshold=100, lower_threshold=50)
OTHER = DestinationConfig("2001:db8::5", 80, forwarding="tunnel")
GONE = DestinationConfig("192.0.2.99", 80, forwarding="masquerade")

MASTER = Daemon("master", "lo", 7, None, None, None, None)


class Step(NamedTuple):
    action: Callable[[Admin], Any]
    errno: int = 0  # 0 if the kernel does it
    what: str | None = None  # NotFoundError.what


def read(admin: Admin, service: ServiceConfig) -> Any:
    return admin.service(
        service.protocol, service.address, service.port, fwmark=service.fwmark, address_family=service.address_family
    )


def edit_weight(admin: Admin, service: ServiceConfig, position: int, weight: int) -> None:
    """Edit a real server as it was read, of those in the order of their keys."""
    admin.edit_dest(read(admin, service), replace(sorted(admin.dests(service.key))[position], weight=weight))


STEPS = {
    "add a service": Step(lambda admin: admin.add_service(WEB)),
    "add it again": Step(lambda admin: admin.add_service(WEB), errno.EEXIST),
    "add it again with other settings": Step(lambda admin: admin.add_service(replace(WEB, timeout=9)), errno.EEXIST),
    "add one with sh": Step(lambda admin: admin.add_service(HASH)),
    "add one with an engine": Step(lambda admin: admin.add_service(SIP)),
    "add one of IPv6": Step(lambda admin: admin.add_service(SIX)),
    "add a mark": Step(lambda admin: admin.add_service(MARK)),
    "add the mark of IPv6": Step(lambda admin: admin.add_service(MARK6)),
    "an unknown scheduler": Step(
        lambda admin: admin.add_service(replace(ABSENT, scheduler="nosuch")), errno.ENOENT, "scheduler"
    ),
    "an unknown engine": Step(
        lambda admin: admin.add_service(replace(WEB, port=81, persistence_engine="nosuch")),
        errno.ENOENT,
        "persistence engine",
    ),
    "an edit to an unknown scheduler": Step(
        lambda admin: admin.edit_service(replace(WEB, scheduler="nosuch", timeout=5)), errno.ENOENT, "scheduler"
    ),
    "edit a service as it was read": Step(lambda admin: admin.edit_service(replace(read(admin, SIP), timeout=90))),
    "edit one to the same": Step(lambda admin: admin.edit_service(read(admin, HASH))),
    "edit an absent one": Step(lambda admin: admin.edit_service(ABSENT), errno.ESRCH, "service"),
    "delete an absent one": Step(lambda admin: admin.delete_service(ABSENT), errno.ESRCH, "service"),
    "add a real server": Step(lambda admin: admin.add_dest(WEB, MASQ)),
    "add the real server again": Step(lambda admin: admin.add_dest(WEB, MASQ), errno.EEXIST),
    "add one by GUE": Step(lambda admin: admin.add_dest(WEB, GUE)),
    "add one with thresholds": Step(lambda admin: admin.add_dest(read(admin, WEB), LIMITED)),
    "add one of IPv6 to one of IPv4": Step(lambda admin: admin.add_dest(WEB, OTHER)),
    "add one to an absent service": Step(lambda admin: admin.add_dest(ABSENT, MASQ), errno.ESRCH, "service"),
    "edit the weight of the masqueraded": Step(lambda admin: edit_weight(admin, WEB, 0, 5)),
    "edit the weight of GUE": Step(lambda admin: edit_weight(admin, WEB, 1, 7)),
    "edit the weight of the limited": Step(lambda admin: edit_weight(admin, WEB, 2, 0)),
    "edit the weight of IPv6": Step(lambda admin: edit_weight(admin, WEB, 3, 9)),
    "edit an absent real server": Step(lambda admin: admin.edit_dest(WEB, GONE), errno.ENOENT, "dest"),
    "edit one of an absent service": Step(lambda admin: admin.edit_dest(ABSENT, MASQ), errno.ESRCH, "service"),
    "delete an absent real server": Step(lambda admin: admin.delete_dest(WEB, GONE), errno.ENOENT, "dest"),
    "delete one of an absent service": Step(lambda admin: admin.delete_dest(ABSENT, MASQ), errno.ESRCH, "service"),
    "a daemon beside mixed families": Step(lambda admin: admin.start_daemon(MASTER), errno.EINVAL),
    "zero all": Step(lambda admin: admin.zero()),
    "zero one": Step(lambda admin: admin.zero(WEB)),
    "zero an absent one": Step(lambda admin: admin.zero(ABSENT), errno.ESRCH, "service"),
    "set timeouts": Step(lambda admin: admin.set_timeouts(udp=30, tcp_fin=60)),
    "set them back": Step(lambda admin: admin.set_timeouts(tcp=900)),
    "delete the mark": Step(lambda admin: admin.delete_service(read(admin, MARK))),
    "delete the mark twice": Step(lambda admin: admin.delete_service(MARK), errno.ESRCH, "service"),
    "stop a daemon that does not run": Step(lambda admin: admin.stop_daemon("master"), errno.ESRCH, "daemon"),
}

# What is there in the end, as rules.
RULES = """\
-A -t 10.0.0.1:80 -s rr
-a -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 5
-a -t 10.0.0.1:80 -r 192.0.2.2:80 -i -w 7 --tun-type gue --tun-port 6080 --tun-csum
-a -t 10.0.0.1:80 -r 192.0.2.3:80 -g -w 0 -x 100 -y 50
-a -t 10.0.0.1:80 -r [2001:db8::5]:80 -i -w 9 --tun-type ipip
-A -t 10.0.0.2:80 -s sh -p 360 -M 255.255.255.0 -b sh-fallback,sh-port
-A -u 10.0.0.1:5060 -s rr -p 90 --pe sip
-A -t [2001:db8::1]:80 -s rr -p 60 -M 64
-A -f 1 -6 -s rr
"""
