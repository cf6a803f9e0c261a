"""Ask the kernel about IPVS: the client that most callers want."""

import errno
from _thread import allocate_lock
from functools import wraps

from . import ipvs, rows
from .errors import NetlinkError, NotAvailableError, NotFoundError
from .genl import Connection
from .lists import DESTINATIONS, SERVICES, ListReader
from .transport import SMALL_OFFER, TIMEOUT, NetlinkSocket, forks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from .model import Daemon, Destination, Info, Service, Timeouts
    from .transport import Transport

    Method = TypeVar("Method", bound=Callable[..., Any])

# How genl_rcv_msg() and genl_family_rcv_msg() answer where there is no family of that id, and where it is another's.
FAMILY_GONE = (errno.ENOENT, errno.EOPNOTSUPP)


def _exclusive(method: "Method") -> "Method":
    """One question at a time; and if the family has gone meanwhile, once more with the one that has taken its place."""

    @wraps(method)
    def ask(self: "Client", *args: "Any", **kwargs: "Any") -> "Any":
        if self._lock.locked():  # and in a child that was forked meanwhile it stays so
            number = errno.EBUSY if forks() == self._forks else errno.EBADF
            raise NetlinkError(number, "asking while another answer is awaited")
        with self._lock:  # which no signal's exception leaves locked
            try:
                return method(self, *args, **kwargs)
            except NetlinkError as error:
                if error.errno not in FAMILY_GONE:
                    raise
                gone, self._family = self._family, self._find_family(False)
                if self._family == gone:
                    raise
                self._make_readers()
                return method(self, *args, **kwargs)

    return ask  # type: ignore[return-value]


class Client:
    """A conversation with the IPVS of one network namespace.

        with Client() as client:
            for service, destinations in client.dump():
                ...

    Making it opens a socket and looks up the family: NotAvailableError where the kernel has no IPVS now, NetlinkError
    or PermissionDeniedError where the socket or the namespace is refused. Each question raises PermissionDeniedError
    without CAP_NET_ADMIN, NetlinkError for whatever else the kernel or the socket refuses, and DecodeError for an
    answer that can't be read.

    netns        the network namespace to read: a name of ip netns, or a path such as /proc/PID/ns/net; by default that
                 of the calling thread, which stays there in any case. Another one needs CAP_SYS_ADMIN, too
    load_module  let the kernel load the module ip_vs if it is not there; by default nothing is loaded
    timeout      how long to wait for a datagram that is not there, seconds, more than 0 and less than 2**31 / 1000
                 (else ValueError); None is for ever
    transport    what answers instead of a socket to the kernel, such as capture.Replay; it is closed with the client,
                 and netns and timeout, which are the socket's, do not matter to it

    A client belongs to one thread: while one thread asks, another that asks gets a NetlinkError with EBUSY. In a
    process that was forked from its own it is closed. It may go on after every error: what is left of an answer that
    was given up, came late or could not be read is skipped. While the module is gone it raises NotAvailableError, and
    goes on once it is back.

    A list that does not fit one datagram (about 90 entries) is read twice, and more often while it changes, until it is
    certain that nothing was left out (windows.py); DumpInterruptedError if that does not come to an end. For real
    servers datagrams are small at first (about 20 entries), and of that size once a list did not fit (transport.py).
    """

    def __init__(
        self,
        *,
        netns: "str | None" = None,
        load_module: bool = False,
        timeout: "float | None" = TIMEOUT,
        transport: "Transport | None" = None,
    ) -> None:
        self._transport = transport or NetlinkSocket(timeout, netns)
        self._connection = Connection(self._transport)
        self._lock = allocate_lock()
        self._forks = forks()
        self._other: Transport | None = None
        self._make_readers()
        try:
            self._family = self._find_family(load_module)
        except BaseException:
            self.close()
            raise

    def _make_readers(self) -> None:
        """Readers that know no layout yet: the messages of another family have another type."""
        self._services = ListReader(self._connection, SERVICES)
        self._destinations: ListReader | None = None  # over a socket of its own, opened when first needed
        if self._other:
            self._other.close()
        self._other = None

    def _find_family(self, load_module: bool) -> int:
        try:
            if load_module:
                return self._connection.load_family(ipvs.FAMILY_NAME).id
            for family in self._connection.families(ipvs.FAMILY_NAME):
                return family.id
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
        todo = (
            "it has no module ip_vs, or cannot load it by itself, as Linux 5.10 cannot: run modprobe ip_vs"
            if load_module
            else "run modprobe ip_vs, or use --load-module, in Python Client(load_module=True)"
        )
        raise NotAvailableError(f"this kernel has no IPVS now: {todo}")

    def close(self) -> None:
        """Close it for good. Closing twice is fine."""
        self._transport.close()
        if self._other:
            self._other.close()

    def fileno(self) -> int:
        """The file descriptor of the socket that the client was made with, -1 once it is closed; OSError (EBADF) from
        a transport that has none, such as Replay. Real servers, and second readings of long lists, come over other
        sockets: to wait on descriptors, examples/asyncio_services.py goes one layer below."""
        return self._transport.fileno()

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: "type[BaseException] | None",
        error: "BaseException | None",
        traceback: "TracebackType | None",
    ) -> None:
        self.close()

    @_exclusive
    def services(self) -> "list[Service]":
        """All virtual services, in the kernel's order, without their real servers (IPVS_CMD_GET_SERVICE)."""
        return self._services.read(self._family, b"")

    @_exclusive
    def dests(self, service: "Service") -> "list[Destination]":
        """The real servers of one virtual service, in the kernel's order (IPVS_CMD_GET_DEST). A service that is gone
        has none: the kernel does not tell the two apart."""
        family = service.address_family
        key = ipvs.encode_service_key(family, service.protocol, service.address, service.port, service.fwmark)
        reader = self._destinations or self._make_destination_reader()
        return reader.read(self._family, key, family)

    def _make_destination_reader(self) -> ListReader:
        """Over a socket of its own, for which the kernel prepares no larger datagrams than the list of a service's real
        servers mostly needs (transport.py). Where there cannot be one more, the first one does as well."""
        try:
            self._other = self._transport.another(SMALL_OFFER) if hasattr(self._transport, "another") else None
        except OSError:  # no descriptor left, or no privilege any more to enter the namespace: next time, perhaps
            return ListReader(self._connection, DESTINATIONS)
        connection = self._connection
        if self._other:
            connection = Connection(self._other)
            try:
                # The kernel learns what is offered from an answer that is received. The shortest there is will do.
                connection.request(
                    self._family, ipvs.GET_INFO, b"", reply=ipvs.SET_INFO, doing="asking for the version"
                )
            except BaseException:
                self._other.close()
                raise
        self._destinations = ListReader(connection, DESTINATIONS)
        return self._destinations

    def dump(self) -> "Iterator[tuple[Service, list[Destination]]]":
        """Each virtual service with its real servers (IPVS_CMD_GET_SERVICE, then IPVS_CMD_GET_DEST for each). The
        services are read first, all of them; the real servers of each when its turn comes: none, if it was deleted
        meanwhile. Errors come while it is iterated."""
        for service in self.services():
            yield service, self.dests(service)

    @_exclusive
    def service(
        self,
        protocol: "str | None" = None,
        address: "str | None" = None,
        port: "int | None" = None,
        *,
        fwmark: "int | None" = None,
        address_family: "str | None" = None,
    ) -> "Service":
        """One virtual service (IPVS_CMD_GET_SERVICE), by `protocol`, `address` and `port`, or by `fwmark`: as the
        fields of Service, and as exactly (port 0 is the service for all ports). `address_family` matters for a
        fwmark, where "inet" is meant if nothing is said; else the address tells. NotFoundError if there is none,
        ValueError if the arguments cannot name one."""
        family = address_family or ("inet6" if address and ":" in address else "inet")
        try:
            attributes = self._connection.request(
                self._family,
                ipvs.GET_SERVICE,
                ipvs.encode_service_key(family, protocol, address, port, fwmark),
                reply=ipvs.NEW_SERVICE,
                doing="asking for a service",
            )
        except NetlinkError as error:
            if error.errno != errno.ESRCH:
                raise
            wanted = f"fwmark {fwmark} ({family})" if fwmark is not None else f"{protocol} {address} port {port}"
            raise NotFoundError(errno.ESRCH, f"there is no virtual service {wanted}", error.ext_ack) from None
        return rows.decode_service(attributes)

    @_exclusive
    def info(self) -> "Info":
        """The version of IPVS and the size of its connection table (IPVS_CMD_GET_INFO)."""
        return rows.decode_info(
            self._connection.request(
                self._family, ipvs.GET_INFO, b"", reply=ipvs.SET_INFO, doing="asking for the version"
            )
        )

    @_exclusive
    def timeouts(self) -> "Timeouts":
        """The timeouts of TCP and UDP connections, seconds (IPVS_CMD_GET_CONFIG)."""
        return rows.decode_timeouts(
            self._connection.request(
                self._family, ipvs.GET_CONFIG, b"", reply=ipvs.SET_CONFIG, doing="asking for the timeouts"
            )
        )

    @_exclusive
    def daemons(self) -> "list[Daemon]":
        """The running synchronisation daemons, a master, a backup, both or none (IPVS_CMD_GET_DAEMON)."""
        dump = self._connection.dump(
            self._family, ipvs.GET_DAEMON, b"", reply=ipvs.NEW_DAEMON, doing="dumping the daemons"
        )
        return [rows.decode_daemon(message.attributes()) for message in dump]


def dump() -> "list[tuple[Service, list[Destination]]]":
    """Everything at once: open a client, read all virtual services with their real servers, close it. Raises what
    Client() and Client.dump() do."""
    with Client() as client:
        return list(client.dump())
