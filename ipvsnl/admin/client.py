"""Admin: the client that writes."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from errno import EEXIST, ENOENT, ESRCH
from typing import Any, Optional

from .. import _batch, _encode, _key, _schema
from ..client import FAMILY_GONE, Client
from ..errors import DumpInterruptedError, IPVSError, NetlinkError
from ..model import Daemon, Timeouts
from .changes import AnyDest, AnyService, Change
from .config import MAX_TIMEOUT, ServiceConfig, check_daemon
from .explain import explain
from .plan import SERVICE_KEY, dest_key, plan, service_key

MADE_BEFORE = EEXIST, ENOENT, ESRCH  # perhaps: with these the kernel refuses what was done already

SERVICE_COMMANDS = {"add": _schema.NEW_SERVICE, "edit": _schema.SET_SERVICE, "delete": _schema.DEL_SERVICE}
DEST_COMMANDS = {"add": _schema.NEW_DEST, "edit": _schema.SET_DEST, "delete": _schema.DEL_DEST}


class ApplyError(IPVSError):
    """Some changes of apply() were not made.

    failed   each change that was not made, with the error that says why
    done     the changes that were made
    unknown  the changes whose replies were lost: read IPVS to see whether they were made
    """

    def __init__(self, failed: list[tuple[Change, NetlinkError]], done: list[Change], unknown: list[Change]) -> None:
        super().__init__(failed, done, unknown)
        self.failed, self.done, self.unknown = failed, done, unknown

    def __str__(self) -> str:
        text = f"{len(self.failed)} changes failed, {len(self.unknown)} are unknown, {len(self.done)} are done"
        return f"{text}; the first failure: {self.failed[0][1]}" if self.failed else f"{text}: plan again"


class Admin(Client):
    """Read and change the IPVS of one network namespace. Its arguments are those of Client.

    Services and real servers are given as ServiceConfig and DestinationConfig, or as Service and Destination as they
    were read. Values that make no sense are a ValueError, and nothing is sent. Errors are those of Client, and
    AlreadyExistsError or NotFoundError, whose `what` says what is missing. An edit sends all settings.
    """

    def add_service(self, service: AnyService) -> None:
        """Add a virtual service without real servers (IPVS_CMD_NEW_SERVICE)."""
        self._change("add", service)

    def edit_service(self, service: AnyService) -> None:
        """Change the settings of a virtual service (IPVS_CMD_SET_SERVICE). Its connections go on."""
        self._change("edit", service)

    def delete_service(self, service: AnyService) -> None:
        """Delete a virtual service with its real servers (IPVS_CMD_DEL_SERVICE). Its connections break."""
        self._change("delete", service)

    def add_dest(self, service: AnyService, dest: AnyDest) -> None:
        """Add a real server to a virtual service (IPVS_CMD_NEW_DEST)."""
        self._change("add", service, dest)

    def edit_dest(self, service: AnyService, dest: AnyDest) -> None:
        """Change the settings of a real server (IPVS_CMD_SET_DEST). Its connections go on."""
        self._change("edit", service, dest)

    def delete_dest(self, service: AnyService, dest: AnyDest) -> None:
        """Delete a real server (IPVS_CMD_DEL_DEST). Its connections break; `Drain` waits for their end."""
        self._change("delete", service, dest)

    def zero(self, service: Optional[AnyService] = None) -> None:
        """Set the counters of a virtual service and its real servers to 0, or all counters (IPVS_CMD_ZERO)."""
        if service is None:
            return self._command(_schema.ZERO, b"", "all", "zeroing all counters")
        key = Change("delete", service).service.key
        self._command(_schema.ZERO, _encode.service_key(key), "service", f"zeroing {_key.spell_service(key)}", service)

    def flush(self) -> None:
        """Delete all virtual services with their real servers, also those of other programs (IPVS_CMD_FLUSH)."""
        self._command(_schema.FLUSH, b"", "all", "deleting all services")

    def set_timeouts(self, tcp: Optional[int] = None, tcp_fin: Optional[int] = None, udp: Optional[int] = None) -> None:
        """Set those timeouts of connections that are given, seconds (IPVS_CMD_SET_CONFIG)."""
        given = {"tcp": tcp, "tcp_fin": tcp_fin, "udp": udp}
        for name, value in given.items():
            if value is not None:
                _key.number(value, name, 1, MAX_TIMEOUT)  # the kernel takes 0 for "unchanged"
        attributes = _encode.timeouts(Timeouts(**given))  # type: ignore[arg-type]  # None is left out
        self._command(_schema.SET_CONFIG, attributes, "timeouts", f"setting the timeouts {given}")

    def start_daemon(self, daemon: Daemon) -> None:
        """Start a synchronisation daemon (IPVS_CMD_NEW_DAEMON). The kernel chooses what is None."""
        check_daemon(daemon)
        self._command(_schema.NEW_DAEMON, _encode.daemon(daemon), "daemon", f"starting {daemon}", daemon)

    def stop_daemon(self, state: str) -> None:
        """Stop the synchronisation daemon, "master" or "backup" (IPVS_CMD_DEL_DAEMON)."""
        daemon = Daemon(state, "lo", 0, None, None, None, None)  # of which the state alone is sent
        check_daemon(daemon)
        self._command(_schema.DEL_DAEMON, _encode.daemon_key(daemon), "daemon", f"stopping the {state} daemon", daemon)

    def apply(self, changes: Iterable[Change]) -> None:
        """Make these changes, in their order, 100 in a datagram. It goes on after a failure.

        An addition of what exists with the settings that these changes ask for counts as done, and so does a deletion
        of what does not exist. So the same changes may be applied again after an interrupt. Between two changes other
        programs see the first alone: the kernel has no transactions. Raises ApplyError if a change failed, or if its
        answer was lost.
        """
        changes = list(changes)
        for change in changes:
            if not isinstance(change, Change):
                raise ValueError(f"apply() takes changes, such as plan() returns, not {change!r}")
        self._connection.check_process("applying changes")  # once, because it takes a system call
        failed: dict[int, NetlinkError] = {}  # by position
        unknown: set[int] = set()
        for begin in range(0, len(changes), _batch.SIZE):
            end = min(begin + _batch.SIZE, len(changes))
            failures, lost = self._send([*_requests(changes[begin:end])])
            for position, failure in failures.items():
                failed[begin + position] = explain(*_about(changes[begin + position]), *failure)
            if lost:
                unknown.update(set(range(begin, end)) - set(failed))
            if isinstance(lost, TimeoutError):  # each datagram would wait as long
                failed.update(dict.fromkeys(range(end, len(changes)), lost))
                break
        doubtful = {position for position, error in failed.items() if error.errno in MADE_BEFORE}
        if doubtful:
            with suppress(NetlinkError, DumpInterruptedError):  # the failures stay, if it cannot be read
                left = {_place(change) for change in plan(self.dump(), _outcome(changes))}
                made = {position for position in doubtful if _place(changes[position]) not in left}
                failed = {position: error for position, error in failed.items() if position not in made}
        if failed or unknown:
            reasons = [(changes[position], failed[position]) for position in sorted(failed)]
            done = [each for position, each in enumerate(changes) if position not in failed and position not in unknown]
            raise ApplyError(reasons, done, [changes[position] for position in sorted(unknown)])

    def _change(self, action: str, service: AnyService, *dest: AnyDest) -> None:
        change = Change(action, service, *dest)
        if dest and change.dest is None:  # None would mean the whole service
            raise ValueError("dest is a DestinationConfig or a Destination, not None")
        ((command, attributes),) = _requests([change])
        self._command(command, attributes, *_about(change))

    def _command(self, command: int, attributes: bytes, about: str, doing: str, entry: Any = None) -> None:
        """Send one request, and wait for its reply."""
        self._connection.check_process(doing)
        failures, lost = self._send([(command, attributes)], doing)
        if lost:
            raise lost
        if failures:
            raise explain(about, doing, entry, *failures[0])

    def _send(self, requests: "list[_batch.Request]", doing: str = "applying changes") -> "_batch.Answers":
        """Send requests in one datagram. Send them again if the module was reloaded under a new family id."""

        def gone() -> None:
            raise NetlinkError(ENOENT, doing)

        family = self._family
        answers = self._take_turn(lambda: _batch.send(self._connection, family, requests, doing))
        if sum(number in FAMILY_GONE for number, _ in answers[0].values()) == len(requests):
            with suppress(NetlinkError):  # the failures stay, if the id is still that of IPVS
                self._take_turn(gone)  # NotAvailableError, or the new id
        return answers if self._family == family else self._send(requests, doing)


def _requests(changes: Iterable[Change]) -> "Iterator[_batch.Request]":
    """Yield the command and the attributes of each change."""
    last, key = None, b""
    for change in changes:
        action, service, dest = change.action, change.service, change.dest
        if service is not last:  # most changes have the service of the one before
            last, key = service, _encode.service_key(service.key)
        if dest is None:
            yield SERVICE_COMMANDS[action], key if action == "delete" else _encode.service_request(service)
        else:
            encode = _encode.destination_key if action == "delete" else _encode.destination_request
            yield DEST_COMMANDS[action], key + encode(dest)


def _about(change: Change) -> tuple[str, str, Any]:
    return "dest" if change.dest else "service", str(change), change.dest or change.service


def _place(change: Change) -> tuple[Any, Any]:
    return service_key(change.service), change.dest and dest_key(change.dest)


def _outcome(changes: list[Change]) -> Iterable[tuple[Any, Any]]:
    """Return what these changes leave behind, as plan() takes it. What they do not name is left out."""
    outcome: dict[Any, tuple[Any, dict[Any, Any]]] = {}
    for change in changes:
        service, dest = _place(change)
        _, pool = outcome.setdefault(service, (ServiceConfig(**dict(zip(SERVICE_KEY, service))), {}))
        if change.dest is None:
            outcome[service] = change.service, pool
        else:
            pool[dest] = change.dest
        if change.action == "delete":
            (pool if dest else outcome).pop(dest or service)
    return [(service, pool.values()) for service, pool in outcome.values()]
