"""Compare what IPVS has with what it should have, and tell the changes. Nothing is sent."""

from collections.abc import Collection, Iterable
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any, Callable, Union

from ..model import Destination, Service, ServiceFlags
from .changes import AnyDest, AnyService, Change
from .config import DestinationConfig, ServiceConfig, to_config

Entry = tuple[Service, list[Destination]]
Desired = Iterable[tuple[AnyService, Iterable[AnyDest]]]
Prune = Union[bool, Callable[[Service], bool]]

SERVICE_KEY = "address_family", "protocol", "address", "port", "fwmark"
DEST_KEY = "address", "port", "address_family"
service_key: "Callable[[Any], Any]" = attrgetter(*SERVICE_KEY)
dest_key: "Callable[[Any], Any]" = attrgetter(*DEST_KEY)
SERVICE_SETTINGS = {field.name for field in fields(ServiceConfig)}.difference(SERVICE_KEY)
DEST_SETTINGS = {field.name for field in fields(DestinationConfig)}.difference(DEST_KEY)


def plan(
    current: Iterable[Entry], desired: Desired, *, prune: Prune = False, keep: Collection[str] = (), drain: bool = False
) -> list[Change]:
    """Tell the changes that make `current`, such as Client.dump() yields it, to what is desired.

    prune  whether services that are not desired are deleted: no, all, or those for which a function says yes
    keep   names of fields, such as "weight", that are not compared; an edit leaves them as they are
    drain  set real servers that are not desired to weight 0 instead of deleting them; `Drain` deletes them later

    Additions come first, then edits, then deletions. While no change fails, no pool is empty in between. Edits to
    weight 0 are the last edits. A new service with the scheduler mh is made without scheduler, filled, and then given
    mh, because mh builds its table at each change. A plan of what has been applied is empty.
    """
    kept = {keep} if isinstance(keep, str) else set(keep)
    if not kept <= SERVICE_SETTINGS | DEST_SETTINGS:
        raise ValueError(f"keep: no setting is called {', '.join(kept - SERVICE_SETTINGS - DEST_SETTINGS)}")
    if drain and "weight" in kept:
        raise ValueError("keep: a weight cannot be kept with drain=True, which sets it to 0")
    settings_of_service = attrgetter("address_family", *SERVICE_SETTINGS - kept)
    settings_of_dest = attrgetter("address_family", *DEST_SETTINGS - kept)
    missing = index(desired)
    additions, edits, to_zero, deletions = [], [], [], []
    for service, dests in current:
        config, pool = missing.pop(service_key(service), (None, {}))
        if config is None:
            if not is_pruned(prune, service):
                continue
            if not drain or not dests:  # a service that is drained goes after its last real server
                deletions.append(Change("delete", service))
                continue
        else:
            shown = replace(service, flags=ServiceFlags(int(service.flags) & ~int(ServiceFlags.HASHED)))
            if settings_of_service(shown) != settings_of_service(config):
                edits.append(Change("edit", _keeping(config, shown, kept & SERVICE_SETTINGS)))
        for dest in dests:
            target = pool.pop(dest_key(dest), None)
            if target is None and not drain:
                deletions.append(Change("delete", service, dest))
            elif target is None and dest.weight:
                to_zero.append(Change("edit", service, replace(dest, weight=0)))
            elif target is not None and settings_of_dest(dest) != settings_of_dest(target):
                target = _keeping(target, dest, kept & DEST_SETTINGS)
                (edits if target.weight else to_zero).append(Change("edit", service, target))
        additions += [Change("add", service, dest) for dest in pool.values()]
    for config, pool in missing.values():
        is_slow = config.scheduler == "mh" and pool
        additions.append(Change("add", replace(config, scheduler="none") if is_slow else config))
        additions += [Change("add", config, dest) for dest in pool.values()]
        edits += [Change("edit", config)] if is_slow else []
    return additions + edits + to_zero + deletions


def is_pruned(prune: Prune, service: Service) -> bool:
    """Return whether a service that is not desired is to go."""
    return prune(service) if callable(prune) else prune


def _keeping(config: Any, entry: Any, kept: "set[str]") -> Any:
    try:
        return replace(config, **{name: getattr(entry, name) for name in kept})
    except ValueError as error:
        raise ValueError(f"keep: with the {', '.join(sorted(kept))} of {entry}, {error}") from None


def index(desired: Desired) -> "dict[Any, Any]":
    """Return each service with its real servers, by key, and these by key."""
    found: dict[Any, Any] = {}
    for service, dests in desired:
        config, pool = to_config(service, ServiceConfig), dict[Any, DestinationConfig]()
        for dest in dests:
            target = to_config(dest, DestinationConfig)
            if pool.setdefault(dest_key(target), target) is not target:
                raise ValueError(f"{Change('add', config, target)}: this real server is desired twice")
        if found.setdefault(service_key(config), (config, pool))[1] is not pool:
            raise ValueError(f"{Change('add', config)}: this service is desired twice")
    return found
