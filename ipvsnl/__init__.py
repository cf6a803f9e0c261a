"""IPVS, the load balancer in the Linux kernel, read over generic netlink.

    import ipvsnl

    with ipvsnl.Client() as client:
        for service, destinations in client.dump():
            print(service.address, service.port, service.stats.connections, len(destinations))

All that most callers need is named in this file; besides it there are the modules `capture` (Replay and Recorder, a
file in the kernel's place), `testing` (a made-up kernel) and `cli` (main). Reading needs CAP_NET_ADMIN; by default
nothing here makes the kernel load a module. Every failure is an IPVSError, but for arguments that make no sense, a
ValueError. Names in capitals, such as IPVS_SVC_ATTR_* and those in brackets after a field, are those of the kernel's
include/uapi/linux/ip_vs.h; what each question may raise is said at Client.

The rooms of this package, each standing on those after it: cli (the command line), formats (text), client (questions
and answers), capture, pcap and testing (other things in the kernel's place), _dump (whole lists), _merge (lists that
change while they are read), rows (from attributes to the model), ipvs (what IPVS puts into attributes), layout (many
messages at once), genl (messages), transport and netns (the socket, and where it is opened), attrs (attributes), model,
_dataclass, errors.

`TYPE_CHECKING = False` in these files is what type checkers, by that name, take for true: importing typing just for
annotations would cost each start of the program.
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
