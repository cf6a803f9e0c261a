"""Ask the kernel about IPVS: the client that most callers want."""

import errno

from . import ipvs
from .errors import NetlinkError, NotAvailableError, NotFoundError
from .genl import Connection
from .transport import TIMEOUT, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .model import Daemon, Destination, Info, Service, Timeouts
    from .transport import Transport


class Client:
    """A conversation with the IPVS of one network namespace, that of the thread which makes the client.

        with Client() as client:
            for service, destinations in client.dump():
                ...

    Making it opens a socket and looks up the family: NotAvailableError where the kernel has no IPVS now. Everything
    else raises PermissionDeniedError without CAP_NET_ADMIN, NetlinkError for whatever else the kernel or the socket
    refuses, and DecodeError for an answer that can't be read.

    load_module  let the kernel load the module ip_vs if it is not there; by default nothing is loaded
    timeout      how long one answer may take, seconds; None is for ever
    transport    what answers instead of a socket to the kernel, such as capture.Replay; it is closed with the client

    A client belongs to one thread. It may go on after an error.
    """

    def __init__(
        self,
        *,
        load_module: bool = False,
        timeout: "float | None" = TIMEOUT,
        transport: "Transport | None" = None,
    ) -> None:
        self._transport = transport or NetlinkSocket(timeout)
        self._connection = Connection(self._transport)
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
            "it has no module ip_vs, or cannot load it" if load_module else "run modprobe ip_vs, or use --load-module"
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

    def services(self) -> "list[Service]":
        """All virtual services, in the kernel's order, without their real servers (IPVS_CMD_GET_SERVICE)."""
        services: list[Service] = []

        def take(datagram: bytes, offset: int, seq: int) -> int:
            end, rows = self._service_layouts.rows(datagram, offset, seq)
            services.extend(ipvs.services(rows))
            return end

        for message in self._connection.dump(
            self._family, ipvs.GET_SERVICE, b"", reply=ipvs.NEW_SERVICE, doing="dumping the services", take=take
        ):
            services.append(ipvs.decode_service(message.attributes()))
            self._service_layouts.learn(message)
        return services

    def dests(self, service: "Service") -> "list[Destination]":
        """The real servers of one virtual service, in the kernel's order (IPVS_CMD_GET_DEST). A service that is gone
        has none: the kernel does not tell the two apart."""
        destinations: list[Destination] = []

        def take(datagram: bytes, offset: int, seq: int) -> int:
            end, rows = self._destination_layouts.rows(datagram, offset, seq)
            destinations.extend(ipvs.destinations(rows, service.address_family))
            return end

        key = ipvs.encode_service_key(
            service.address_family, service.protocol, service.address, service.port, service.fwmark
        )
        for message in self._connection.dump(
            self._family, ipvs.GET_DEST, key, reply=ipvs.NEW_DEST, doing="dumping real servers", take=take
        ):
            destinations.append(ipvs.decode_destination(message.attributes(), service.address_family))
            self._destination_layouts.learn(message)
        return destinations

    def dump(self) -> "Iterator[tuple[Service, list[Destination]]]":
        """Each virtual service with its real servers. The services are read first, all of them; the real servers of
        each when its turn comes."""
        for service in self.services():
            yield service, self.dests(service)

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

    def info(self) -> "Info":
        """The version of IPVS and the size of its connection table (IPVS_CMD_GET_INFO)."""
        return ipvs.decode_info(
            self._connection.request(
                self._family, ipvs.GET_INFO, b"", reply=ipvs.SET_INFO, doing="asking for the version"
            )
        )

    def timeouts(self) -> "Timeouts":
        """The timeouts of TCP and UDP connections, seconds (IPVS_CMD_GET_CONFIG)."""
        return ipvs.decode_timeouts(
            self._connection.request(
                self._family, ipvs.GET_CONFIG, b"", reply=ipvs.SET_CONFIG, doing="asking for the timeouts"
            )
        )

    def daemons(self) -> "list[Daemon]":
        """The running synchronisation daemons, a master, a backup, both or none (IPVS_CMD_GET_DAEMON)."""
        dump = self._connection.dump(
            self._family, ipvs.GET_DAEMON, b"", reply=ipvs.NEW_DAEMON, doing="dumping the daemons"
        )
        return [ipvs.decode_daemon(message.attributes()) for message in dump]


def dump() -> "list[tuple[Service, list[Destination]]]":
    """Everything at once: open a client, read all virtual services with their real servers, close it."""
    with Client() as client:
        return list(client.dump())
