"""Ask the kernel about IPVS: the client that most callers want."""

import errno
from _thread import allocate_lock
from contextlib import ExitStack
from functools import wraps

from . import ipvs
from .errors import NetlinkError, NotAvailableError, NotFoundError
from .genl import Connection
from .transport import TIMEOUT, NetlinkSocket
from .windows import Window, is_whole, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, Callable, TypeVar

    from .layout import Layouts
    from .model import Daemon, Destination, Info, Service, Timeouts
    from .transport import Transport

    Method = TypeVar("Method", bound=Callable[..., Any])

# How genl_rcv_msg() and genl_family_rcv_msg() answer where there is no family of that id, and where it is another's.
FAMILY_GONE = (errno.ENOENT, errno.EOPNOTSUPP)


def _exclusive(method: "Method") -> "Method":
    """One question at a time; and if the family has gone meanwhile, once more with the one that has taken its place."""

    @wraps(method)
    def ask(self: "Client", *args: "Any", **kwargs: "Any") -> "Any":
        if not self._lock.acquire(False):
            raise NetlinkError(errno.EBUSY, "asking while another answer is awaited")
        try:
            return method(self, *args, **kwargs)
        except NetlinkError as error:
            if error.errno not in FAMILY_GONE:
                raise
            gone, self._family = self._family, self._find_family(False)
            if self._family == gone:
                raise
            return method(self, *args, **kwargs)
        finally:
            self._lock.release()

    return ask  # type: ignore[return-value]


class Client:
    """A conversation with the IPVS of one network namespace.

        with Client() as client:
            for service, destinations in client.dump():
                ...

    Making it opens a socket and looks up the family: NotAvailableError where the kernel has no IPVS now. Everything
    else raises PermissionDeniedError without CAP_NET_ADMIN, NetlinkError for whatever else the kernel or the socket
    refuses, and DecodeError for an answer that can't be read.

    netns        the network namespace to read: a name of ip netns, or a path such as /proc/PID/ns/net; by default that
                 of the calling thread, which stays there in any case. Another one needs CAP_SYS_ADMIN, too
    load_module  let the kernel load the module ip_vs if it is not there; by default nothing is loaded
    timeout      how long to wait for each datagram, seconds; None is for ever
    transport    what answers instead of a socket to the kernel, such as capture.Replay; it is closed with the client,
                 and netns and timeout, which are the socket's, do not matter to it

    A client belongs to one thread: while one thread asks, another that asks gets a NetlinkError with EBUSY. In a
    process that was forked from its own it is closed. It may go on after every error: what is left of an answer that
    was given up, came late or could not be read is skipped. While the module is gone it raises NotAvailableError, and
    goes on once it is back.

    A list that does not fit one datagram (about 90 entries) is read twice, and more often while it changes, until it is
    certain that nothing was left out (windows.py); DumpInterruptedError if that does not come to an end.
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
        self._service_layouts = ipvs.service_layouts()
        self._destination_layouts = ipvs.destination_layouts()
        try:
            self._family = self._find_family(load_module)
        except BaseException:
            self.close()
            raise

    def _find_family(self, load_module: bool) -> int:
        try:
            if load_module:
                return self._connection.load_family(ipvs.FAMILY_NAME).id
            for family in self._connection.families():
                if family.name == ipvs.FAMILY_NAME:
                    return family.id
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
        todo = (
            "it has no module ip_vs, or cannot load it by itself, as Linux 5.10 cannot: run modprobe ip_vs"
            if load_module
            else "run modprobe ip_vs, or use --load-module"
        )
        raise NotAvailableError(f"this kernel has no IPVS now: {todo}")

    def close(self) -> None:
        """Close the socket. Closing twice is fine."""
        self._transport.close()

    def fileno(self) -> int:
        """The socket's file descriptor."""
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

        def windows(connection: Connection) -> "Iterator[Window]":
            return self._windows(
                connection, ipvs.GET_SERVICE, b"", ipvs.NEW_SERVICE, "dumping the services",
                self._service_layouts, ipvs.services, ipvs.decode_service,
            )  # fmt: skip

        first = list(windows(self._connection))
        return _entries(first) if is_whole(first) else self._settle(first, windows, ipvs.service_identity, resizes=True)

    @_exclusive
    def dests(self, service: "Service") -> "list[Destination]":
        """The real servers of one virtual service, in the kernel's order (IPVS_CMD_GET_DEST). A service that is gone
        has none: the kernel does not tell the two apart."""
        family = service.address_family
        key = ipvs.encode_service_key(family, service.protocol, service.address, service.port, service.fwmark)

        def make(rows: "Iterable[tuple[Any, ...]]") -> "list[Destination]":
            return ipvs.destinations(rows, family)

        def decode(attributes: bytes) -> "Destination":
            return ipvs.decode_destination(attributes, family)

        def windows(connection: Connection) -> "Iterator[Window]":
            return self._windows(
                connection, ipvs.GET_DEST, key, ipvs.NEW_DEST, "dumping real servers",
                self._destination_layouts, make, decode,
            )  # fmt: skip

        first = list(windows(self._connection))
        return _entries(first) if is_whole(first) else self._settle(first, windows, ipvs.destination_identity)

    def _windows(
        self,
        connection: Connection,
        command: int,
        key: bytes,
        reply: int,
        doing: str,
        layouts: "Layouts",
        make: "Callable[[Iterable[tuple[Any, ...]]], list[Any]]",
        decode: "Callable[[bytes], Any]",
    ) -> "Iterator[Window]":
        """A dump, begun at once, and read datagram by datagram as it is asked for."""
        entries: list[Any] = []
        size = 0

        def take(datagram: bytes, offset: int, seq: int, port: int) -> int:
            nonlocal size
            size = len(datagram)
            end, rows = layouts.rows(datagram, offset, seq, port)
            entries.extend(make(rows))
            return end

        messages = connection.datagrams(self._family, command, key, reply=reply, doing=doing, take=take)

        def read() -> "Iterator[Window]":
            nonlocal entries
            for message in messages:
                if message:
                    entries.append(decode(message.attributes()))
                    layouts.learn(message)
                elif entries:
                    yield Window(entries, size)
                    entries = []
            if entries:
                yield Window(entries, size)

        return read()

    def _settle(
        self,
        first: "list[Window]",
        windows: "Callable[[Connection], Iterator[Window]]",
        identity: "Callable[[Any], Any]",
        resizes: bool = False,
    ) -> "list[Any]":
        """A list that did not fit one datagram, made sure by more dumps (windows.py)."""
        with ExitStack() as others:

            def again() -> "Iterator[Window]":
                return windows(self._connection)

            def elsewhere() -> "Iterator[Window] | None":
                others.close()  # the last one, which has been read to its end
                transport = self._transport.another() if hasattr(self._transport, "another") else None
                if transport is None:
                    return None
                others.callback(transport.close)
                return windows(Connection(transport))

            return settle(first, again, elsewhere, identity, resizes=resizes)

    def dump(self) -> "Iterator[tuple[Service, list[Destination]]]":
        """Each virtual service with its real servers. The services are read first, all of them; the real servers of
        each when its turn comes."""
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
        """One virtual service, by `protocol`, `address` and `port`, or by `fwmark`: as the fields of Service, and as
        exactly (port 0 is the service for all ports). `address_family` matters for a fwmark, where "inet" is meant
        if nothing is said; else the address tells. NotFoundError if there is none, ValueError if the arguments
        cannot name one."""
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
        return ipvs.decode_service(attributes)

    @_exclusive
    def info(self) -> "Info":
        """The version of IPVS and the size of its connection table (IPVS_CMD_GET_INFO)."""
        return ipvs.decode_info(
            self._connection.request(
                self._family, ipvs.GET_INFO, b"", reply=ipvs.SET_INFO, doing="asking for the version"
            )
        )

    @_exclusive
    def timeouts(self) -> "Timeouts":
        """The timeouts of TCP and UDP connections, seconds (IPVS_CMD_GET_CONFIG)."""
        return ipvs.decode_timeouts(
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
        return [ipvs.decode_daemon(message.attributes()) for message in dump]


def _entries(windows: "list[Window]") -> "list[Any]":
    return windows[0].entries if windows else []


def dump() -> "list[tuple[Service, list[Destination]]]":
    """Everything at once: open a client, read all virtual services with their real servers, close it."""
    with Client() as client:
        return list(client.dump())
