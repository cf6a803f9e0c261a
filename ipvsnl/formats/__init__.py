"""The formats: functions that turn a Report into pieces of text, without I/O."""

from collections.abc import Iterable
from operator import attrgetter

from .._dataclass import dataclass
from .._typing import typing
from ..model import Daemon, Destination, Info, Service, Timeouts


@dataclass
class Report:
    """What a format prints. A format ignores what it has no place for.

    entries     what Client.dump() yields; None for real servers that were not requested
    time        when they were requested, nanoseconds since 1970
    netns       the network namespace, if it is to be named
    info        what Client.info() returned; None if it is unknown
    timeouts    what Client.timeouts() returned; None if they are unknown
    daemons     what Client.daemons() returned; None if they are unknown
    all_fields  line: print the fields that telegraf's plugin lacks
    aggregate   line, json, prometheus: print sums() in place of real servers
    """

    entries: "Iterable[tuple[Service, typing.Optional[list[Destination]]]]"
    time: int = 0
    netns: "typing.Optional[str]" = None
    info: "typing.Optional[Info]" = None
    timeouts: "typing.Optional[Timeouts]" = None
    daemons: "typing.Optional[list[Daemon]]" = None
    all_fields: bool = False
    aggregate: bool = False


def sums(destinations: list[Destination]) -> dict[str, int]:
    """Sum up the real servers of one service. A weight above 0 makes a real server available."""
    names = ("active_connections", "inactive_connections", "persistent_connections")
    values = {name: sum(map(attrgetter(name), destinations)) for name in names}
    available = sum([destination.weight > 0 for destination in destinations])
    return {**values, "real_servers": len(destinations), "real_servers_available": available}
