"""The client: requests to IPVS."""

import errno
import os
import sys
from contextlib import suppress
from types import FrameType

from . import _decode, _encode, _schema
from ._dump import DUMP_DESTS, DUMP_SERVICES, ListReader
from ._key import ADDRESS_FAMILIES, ServiceKey, check_key, family_of, service_key, spell_service
from ._typing import T, ipaddress, typing
from .errors import NetlinkError, NotAvailableError, NotFoundError
from .genl import Connection
from .model import Daemon, Destination, Info, Service, Timeouts
from .transport import SMALL_OFFER, TIMEOUT, NetlinkSocket, Transport

# The kernel's errors if no family has the id, or another family has it (genl_rcv_msg(), genl_family_rcv_msg()).
FAMILY_GONE = (errno.ENOENT, errno.EOPNOTSUPP)


class Client:
    """A client that reads the IPVS of one network namespace.

        with Client() as client:
            for service, destinations in client.dump():
                ...

    The constructor opens a socket and resolves the family. It raises NotAvailableError if the kernel has no IPVS now.
    It raises NetlinkError or PermissionDeniedError if the kernel refuses the socket or the namespace.

    Each request raises PermissionDeniedError without CAP_NET_ADMIN, and DecodeError for a malformed reply. All other
    failures of the kernel or the socket are a NetlinkError.

    netns        the network namespace to read: a name of ip netns, or a path such as /proc/PID/ns/net. The default is
                 that of the calling thread, which never leaves it. Another namespace requires CAP_SYS_ADMIN
    load_module  let the kernel load the module ip_vs if it is missing. By default nothing is loaded
    timeout      how long to wait for a datagram, seconds, more than 0 and less than 2**31 / 1000 (else ValueError).
                 None waits forever. An expired timeout is a NetlinkError that is also a TimeoutError
    transport    a replacement for the socket, such as capture.Replay. The client closes it. It excludes netns
                 (ValueError), and timeout does not apply to it

    A client belongs to one thread. If a thread sends a request while another waits for a reply, it gets a NetlinkError
    with EBUSY. In a forked child the client is closed. A client can be used after every error. While the module is
    unloaded, requests raise NotAvailableError, and they succeed once it is back.

    A dump longer than one datagram (about 90 entries) is repeated until it is certain that no entry is missing
    (_merge.py). If the entries change too fast for that, the client raises DumpInterruptedError.
    """

    def __init__(
        self,
        *,
        netns: "typing.Optional[str]" = None,
        load_module: bool = False,
        timeout: "typing.Optional[float]" = TIMEOUT,
        transport: "typing.Optional[Transport]" = None,
    ) -> None:
        if not (netns is None or isinstance(netns, str)) or "\0" in (netns or ""):
            raise ValueError(f"netns is a name of ip netns or a path such as /proc/PID/ns/net, not {netns!r}")
        if transport is not None and netns is not None:
            raise ValueError("netns chooses the socket, and transport replaces it: give only one of them")
        self._transport = NetlinkSocket(timeout, netns) if transport is None else transport
        self._connection = Connection(self._transport)
        self._process = os.getpid()
        self._turns: list[FrameType] = []
        self._other: Transport | None = None
        self._make_readers()
        try:
            self._family = self._find_family(load_module)
        except BaseException:
            self.close()
            raise

    def _make_readers(self) -> None:
        """Make readers without layouts, because the messages of another family id have another type."""
        self._services = ListReader(self._connection, DUMP_SERVICES)
        self._destinations: ListReader | None = None  # over a socket of its own, opened when first needed
        if self._other:
            self._other.close()
        self._other = None

    def _find_family(self, load_module: bool) -> int:
        """Return the id of the family, which the kernel assigns when the module is loaded."""
        try:
            if load_module:
                return self._connection.load_family(_schema.FAMILY_NAME).id
            for family in self._connection.families(_schema.FAMILY_NAME):
                return family.id
        except NetlinkError as error:
            if error.errno != errno.ENOENT:
                raise
        todo = (
            "it has no module ip_vs, or cannot load it by itself, as Linux 5.10 cannot: run modprobe ip_vs"
            if load_module
            else "run modprobe ip_vs (or use --load-module; in Python, Client(load_module=True))"
        )
        raise NotAvailableError(f"this kernel has no IPVS now: {todo}")

    def close(self) -> None:
        """Close the client for good. To close it twice does no harm."""
        self._transport.close()
        if self._other:
            self._other.close()

    def fileno(self) -> int:
        """Return the file descriptor of the first socket, or -1 if the client is closed.

        A transport without a socket, such as Replay, raises OSError (EBADF). Real servers and repeated dumps use other
        sockets: examples/asyncio_services.py shows how to wait for descriptors.
        """
        return self._transport.fileno()

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def services(self) -> list[Service]:
        """Return all virtual services, without their real servers (IPVS_CMD_GET_SERVICE).

        They are in the kernel's order. sorted() puts them in ipvsadm's order.
        """
        return self._take_turn(lambda: self._services.read(self._family, b""))

    def dests(self, service: "typing.Union[Service, ServiceKey]") -> list[Destination]:
        """Return the real servers of a virtual service, given as a Service or its key (IPVS_CMD_GET_DEST).

        They are in the kernel's order. If the service does not exist, the list is empty, because the kernel does not
        report it.
        """
        key = service.key if isinstance(service, Service) else check_key(service)
        family, attributes = ADDRESS_FAMILIES[key[1]], _encode.service_key(key)
        return self._take_turn(lambda: self._destination_reader().read(self._family, attributes, family))

    def dump(self) -> "typing.Iterator[tuple[Service, list[Destination]]]":
        """Yield each virtual service with its real servers.

        All services are read first. The real servers of a service are read when it is yielded. If it was deleted before
        that, the list is empty. Errors are raised during the iteration.
        """
        for service in self.services():
            yield service, self.dests(service)

    def service(
        self,
        protocol: "typing.Union[str, int, None]" = None,
        address: "typing.Union[str, ipaddress.IPv4Address, ipaddress.IPv6Address, None]" = None,
        port: "typing.Optional[int]" = None,
        *,
        fwmark: "typing.Optional[int]" = None,
        address_family: "typing.Optional[str]" = None,
    ) -> Service:
        """Return one virtual service, by protocol, address and port, or by fwmark (IPVS_CMD_GET_SERVICE).

        The arguments have the values of the fields of Service. The protocol may also be a number, and the address an
        object of the module ipaddress. Port 0 is the service for all ports. The default `address_family` of a fwmark is
        "inet".

        Raise NotFoundError if there is no such service, and ValueError if the arguments identify none.
        """
        family = family_of(address) if address_family is None else address_family
        key = service_key(protocol, address, port, fwmark, family)
        try:
            attributes = self._request(
                _schema.GET_SERVICE, _schema.NEW_SERVICE, "reading a service", _encode.service_key(key)
            )
        except NetlinkError as error:
            if error.errno != errno.ESRCH:
                raise
            doing = f"there is no virtual service {spell_service(key)}"
            todo = "services() and ipvsadm -Ln list those that exist"
            raise NotFoundError(errno.ESRCH, doing, error.ext_ack, todo, "service") from None
        return _decode.decode_service(attributes)

    def info(self) -> Info:
        """Return the version of IPVS and the size of its connection table (IPVS_CMD_GET_INFO)."""
        return _decode.decode_info(self._request(_schema.GET_INFO, _schema.SET_INFO, "reading the version"))

    def timeouts(self) -> Timeouts:
        """Return the timeouts of TCP and UDP connections, seconds (IPVS_CMD_GET_CONFIG)."""
        attributes = self._request(_schema.GET_CONFIG, _schema.SET_CONFIG, "reading the timeouts")
        return _decode.decode_timeouts(attributes)

    def daemons(self) -> list[Daemon]:
        """Return the running synchronisation daemons: a master, a backup, both or none (IPVS_CMD_GET_DAEMON)."""

        def read() -> list[Daemon]:
            dump = self._connection.dump(
                self._family, _schema.GET_DAEMON, b"", reply=_schema.NEW_DAEMON, doing="dumping the daemons"
            )
            return [_decode.decode_daemon(message.attributes()) for message in dump]

        return self._take_turn(read)

    def _request(self, command: int, reply: int, doing: str, attributes: bytes = b"") -> bytes:
        """Send a request, and return the attributes of the reply."""
        return self._take_turn(
            lambda: self._connection.request(self._family, command, attributes, reply=reply, doing=doing)
        )

    def _destination_reader(self) -> ListReader:
        """Return the reader of real servers, with a socket of its own.

        On that socket the kernel allocates datagrams no larger than most pools need (transport.py). If it cannot be
        opened, use the first socket.
        """
        if self._destinations:
            return self._destinations
        try:
            self._other = self._transport.another(SMALL_OFFER) if hasattr(self._transport, "another") else None
        except OSError:  # no descriptor is left, or no privilege to enter the namespace; the next call tries again
            return ListReader(self._connection, DUMP_DESTS)
        connection = self._connection
        if self._other:
            connection = Connection(self._other)
            try:
                # The kernel learns the offer when the next datagram is received.
                connection.request(
                    self._family, _schema.GET_INFO, b"", reply=_schema.SET_INFO, doing="reading the version"
                )
            except BaseException:
                self._other.close()
                raise
        self._destinations = ListReader(connection, DUMP_DESTS)
        return self._destinations

    def _take_turn(self, request: "typing.Callable[[], T]") -> T:
        """Serialize requests. Retry once if the module was reloaded under a new family id.

        A turn is the frame of this function, and ends with it. A lock would stay locked if a signal handler raised
        between its acquisition and `try`, or before its release.
        """
        turn = sys._getframe()
        self._turns.append(turn)  # atomic: exactly one thread is the first
        try:
            while (first := self._turns[0]) is not turn:
                try:
                    first.clear()  # a frame that runs cannot be cleared
                except RuntimeError:
                    number = errno.EBUSY if os.getpid() == self._process else errno.EBADF
                    raise NetlinkError(number, "sending a request while another waits for its reply") from None
                with suppress(ValueError):  # another thread removed it
                    self._turns.remove(first)
            try:
                return request()
            except NetlinkError as error:
                if error.errno not in FAMILY_GONE:
                    raise
                gone, self._family = self._family, self._find_family(False)
                if self._family == gone:
                    raise
                self._make_readers()
                return request()
        finally:
            self._turns.remove(turn)


def dump() -> list[tuple[Service, list[Destination]]]:
    """Open a client, read all virtual services with their real servers, and close it.

    Raise what Client() and Client.dump() raise.
    """
    with Client() as client:
        return list(client.dump())
