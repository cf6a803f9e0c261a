"""Read IPVS, the load balancer in the Linux kernel, over generic netlink.

    import ipvsnl

    with ipvsnl.Client() as client:
        for service, destinations in client.dump():
            print(service.address, service.port, service.stats.connections, len(destinations))

Reading requires CAP_NET_ADMIN. By default nothing here makes the kernel load a module. Every failure is an IPVSError.
Arguments that make no sense are a ValueError. Client says what each request raises. Names in capitals, such as
IPVS_SVC_ATTR_ADDR, or those in parentheses after a field, are from the kernel's include/uapi/linux/ip_vs.h.

Most callers need only the names in this file. These modules are public as well:

capture                          read from and write to captures: Replay, Recorder
testing                          a kernel for tests
formats                          from the model to text
cli                              the command line: main
genl, attrs, transport, netns    generic netlink, for any family

Modules with a leading underscore are private. Each module imports only modules below it (docs/internals.md).
"""

import sys

if sys.version_info < (3, 9):  # noqa: UP036 - it must come before the imports, which older versions cannot parse
    _text = "ipvsnl: this needs Python 3.9 or later, and runs on Python %d.%d" % sys.version_info[:2]  # noqa: UP031
    raise SystemExit(_text) if sys.argv[0] in ("-m", "-c") else ImportError(_text)  # Python 2 says -c for -m

from ._decode import decode_destination, decode_service
from .client import Client, dump
from .errors import (
    AlreadyExistsError,
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
    "AlreadyExistsError",
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
    "decode_destination",
    "decode_service",
    "dump",
]
