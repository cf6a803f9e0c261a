"""One JSON document, with the fields of the model under their own names."""

import json

from ..model import ServiceFlags, TunnelFlags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from enum import IntFlag
    from typing import Any

    from ..model import Destination, Service


def render(entries: "Iterable[tuple[Service, list[Destination] | None]]", timestamp: int) -> "Iterator[str]":
    """{"services": [...]}, a piece for each service; `destinations` of None, for those that nobody asked for, gives no
    such key. The document has no time in it: `timestamp` is for formats that do."""
    before = '{"services": ['
    for service, destinations in entries:
        value = fields(service)
        if destinations is not None:
            value["destinations"] = [fields(destination) for destination in destinations]
        yield before + json.dumps(value)
        before = ", "
    yield (before if before != ", " else "") + "]}\n"


def fields(record: object) -> "dict[str, Any]":
    """The fields of a dataclass of the model, as what json can write."""
    values: dict[str, Any] = {}
    for name in record.__slots__:  # type: ignore[attr-defined]
        value = getattr(record, name)
        if isinstance(value, (ServiceFlags, TunnelFlags)):
            value = flag_names(value)
        elif name == "stats":
            value = fields(value)
        values[name] = value
    return values


def flag_names(flags: "IntFlag") -> list[str]:
    """The names of the flags that are set, lower case; bits without a name as one hex number after them."""
    names = []
    rest = int(flags)
    for flag in type(flags):
        if flag & flags:
            names.append(str(flag.name).lower())
            rest &= ~int(flag)
    return names + [hex(rest)] * bool(rest)
