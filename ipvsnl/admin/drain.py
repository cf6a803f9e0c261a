"""Take real servers out of service without breaking their connections."""

from dataclasses import replace
from time import monotonic
from typing import Any, Optional

from ..model import Destination, Service
from .changes import Change
from .client import Admin
from .plan import Desired, Prune, dest_key, index, is_pruned, service_key


class Drain:
    """Delete real servers once they have no connections left, or once their time is up.

    admin         what reads and writes
    deadline      how long a real server may keep its connections, seconds
    udp_deadline  the same for UDP services, whose connections do not end under steady traffic
    clock         what tells the time, seconds

    The time counts from the first step() that finds a real server draining, so a new process starts at 0. Weight 0 in
    the kernel does not mean that weight 0 is desired: keep what is desired elsewhere.
    """

    def __init__(self, admin: Admin, deadline: float = 120, udp_deadline: float = 10, clock: Any = monotonic) -> None:
        self._admin, self._clock = admin, clock
        self._deadline, self._udp_deadline = deadline, udp_deadline
        self._since: dict[Any, float] = {}

    def step(self, desired: Optional[Desired] = None, *, prune: Prune = False) -> list[Change]:
        """Do what can be done now, and return the changes. It neither waits nor sleeps.

        `desired` and `prune` are those of plan(). The real servers that plan() would delete are set to weight 0, and
        deleted later. A service that plan() would delete follows its last real server. Without `desired` each real
        server with weight 0 is draining. An edit to another weight, or a place in `desired`, cancels it.
        """
        wanted = {} if desired is None else index(desired)
        changes: list[Change] = []
        entries = list(self._admin.dump())  # first: if it fails, the times stay
        before, self._since = self._since, {}
        for service, dests in entries:
            config, pool = wanted.get(service_key(service), (None, {}))
            if desired is None:
                leaving = [dest for dest in dests if not dest.weight]
            elif config or is_pruned(prune, service):
                leaving = [dest for dest in dests if dest_key(dest) not in pool]
                changes += [] if config or dests else [Change("delete", service)]
            else:
                continue
            changes += [change for dest in leaving for change in self._drain(service, dest, before)]
        self._admin.apply(changes)
        return changes

    def _drain(self, service: Service, dest: Destination, before: "dict[Any, float]") -> list[Change]:
        now, key = self._clock(), (service.key, dest.key)
        self._since[key] = now if dest.weight else before.get(key, now)
        is_over = now - self._since[key] >= (self._udp_deadline if service.protocol == "udp" else self._deadline)
        connections = dest.active_connections + dest.inactive_connections + dest.persistent_connections
        if is_over or not (dest.weight or connections):
            return [Change("delete", service, dest)]
        return [Change("edit", service, replace(dest, weight=0))] if dest.weight else []
