"""The formats. Each is a function that turns a Report into pieces of text. None of them does I/O."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..model import Daemon, Destination, Info, Service, Timeouts

    Entries = Iterable[tuple[Service, list[Destination] | None]]


class Report:
    """What a format prints.

    entries     what Client.dump() yields; None for real servers that were not asked for
    time        when they were asked for, nanoseconds since 1970
    netns       the network namespace, if it is to be named
    info        what Client.info() returned; None if it is unknown
    timeouts    what Client.timeouts() returned; None if they are unknown
    daemons     what Client.daemons() returned; None if they are unknown
    all_fields  line: print the fields that telegraf's plugin lacks
    aggregate   line, json, prometheus: print sums() in place of real servers

    Not every format has a place for all of that.
    """

    def __init__(
        self,
        entries: "Entries",
        time: int = 0,
        *,
        netns: "str | None" = None,
        info: "Info | None" = None,
        timeouts: "Timeouts | None" = None,
        daemons: "list[Daemon] | None" = None,
        all_fields: bool = False,
        aggregate: bool = False,
    ) -> None:
        self.entries = entries
        self.time = time
        self.netns = netns
        self.info = info
        self.timeouts = timeouts
        self.daemons = daemons
        self.all_fields = all_fields
        self.aggregate = aggregate


def sums(destinations: "list[Destination]") -> "dict[str, int]":
    """Sum up the real servers of one service. A weight above 0 makes a real server available."""
    return {
        "active_connections": sum([destination.active_connections for destination in destinations]),
        "inactive_connections": sum([destination.inactive_connections for destination in destinations]),
        "persistent_connections": sum([destination.persistent_connections for destination in destinations]),
        "real_servers": len(destinations),
        "real_servers_available": sum([destination.weight > 0 for destination in destinations]),
    }
