"""IPVS, the load balancer in the Linux kernel, read over generic netlink.

    import ipvsnl

    with ipvsnl.Client() as client:
        for service, destinations in client.dump():
            print(service.address, service.port, service.stats.connections, len(destinations))

All that there is for callers is named in this file. Reading needs CAP_NET_ADMIN; by default nothing here makes the
kernel load a module. Every failure is an IPVSError.

The rooms of this package, each standing on those after it: cli (the command line), formats (text), client (questions
and answers), capture and pcap (files instead of the kernel), transport (the socket), ipvs (what IPVS puts into
attributes), layout (many messages at once), genl (messages), attrs (attributes), model, errors.
"""

from .client import Client, dump
from .errors import (
    DecodeError,
    DumpInterruptedError,
    IPVSError,
    NetlinkError,
    NotAvailableError,
    NotFoundError,
    PermissionDeniedError,
)
from .model import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

__version__ = "0.1.0"

__all__ = [
    "Client",
    "Daemon",
    "DecodeError",
    "Destination",
    "DumpInterruptedError",
    "IPVSError",
    "Info",
    "NetlinkError",
    "NotAvailableError",
    "NotFoundError",
    "PermissionDeniedError",
    "Service",
    "ServiceFlags",
    "Stats",
    "Timeouts",
    "TunnelFlags",
    "dump",
]
