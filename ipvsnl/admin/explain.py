"""Explain why the kernel refused a write. For these commands it sends an errno, and no text."""

from errno import EAFNOSUPPORT, EEXIST, EINVAL, ENETUNREACH, ENODEV, ENOENT, ESRCH
from typing import Any, Optional

from ..errors import NetlinkError, NotFoundError, netlink_error

NO_IPV6 = "IPv6 is off in this kernel: see ipv6.disable in /proc/cmdline"
# By what a command is about, and errno: what is missing, if something is, and what helps.
CAUSES = {
    ("service", EEXIST): ("", "edit_service() changes the one that exists"),
    ("service", ESRCH): ("service", "services() returns those that exist"),
    ("service", ENOENT): ("scheduler", "this kernel does not have the scheduler: try modprobe ip_vs_{0.scheduler}"),
    ("engine", ENOENT): ("persistence engine", "try modprobe ip_vs_pe_{0.persistence_engine} and ip_vs_{0.scheduler}"),
    ("service", EAFNOSUPPORT): ("", NO_IPV6),
    ("dest", EAFNOSUPPORT): ("", NO_IPV6),
    ("dest", EEXIST): ("", "edit_dest() changes the one that exists"),
    ("dest", ESRCH): ("service", "the virtual service does not exist: services() returns those that do"),
    ("dest", ENOENT): ("dest", "the virtual service does not have it: dests(service) returns those that it has"),
    ("dest", EINVAL): ("", "the address must be unicast (none is before ip link set lo up), and of the service's "
                       "address family while a sync daemon runs"),
    ("daemon", EEXIST): ("", "stop_daemon() stops the one that runs; a daemon cannot be edited"),
    ("daemon", ESRCH): ("daemon", "daemons() returns those that run"),
    ("daemon", ENODEV): ("", "there is no network interface {0.mcast_ifn}: see ip link"),
    ("daemon", ENETUNREACH): ("", "{0.mcast_ifn} is down: see ip link"),
    ("daemon", EINVAL): ("", "mcast_group must be multicast, and each real server of its service's address family"),
    ("timeouts", EINVAL): ("", "one is too long for this kernel, and none was set"),
}  # fmt: skip

# Linux's own schedulers. For an unknown scheduler and for an unknown engine the kernel sends the same errno.
SCHEDULERS = ["none", "rr", "wrr", "lc", "wlc", "fo", "ovf", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "twos"]


def explain(about: str, doing: str, entry: Any, errno: int, ext_ack: "Optional[str]") -> NetlinkError:
    """Return the error that names the cause. `entry` is what the command was about."""
    if about == "service" and errno == ENOENT and entry.persistence_engine and entry.scheduler in SCHEDULERS:
        about = "engine"
    what, todo = CAUSES.get((about, errno), ("", None))
    todo = todo and todo.format(entry)
    if what:
        return NotFoundError(errno, doing, ext_ack, todo, what)
    return netlink_error(errno, doing, ext_ack, todo)
