"""List the virtual services from asyncio, without a thread: the event loop waits for each datagram.

In a clone, as root:

    sudo PYTHONPATH=. python3 examples/asyncio_services.py

This works one layer below ipvsnl.Client. A genl.Connection sends and decodes, and its caller waits. The example reads
one dump. Only the client can tell whether a dump longer than about 90 services is complete while services change.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

import ipvsnl
from ipvsnl import genl
from ipvsnl.transport import NetlinkSocket

IPVS_CMD_GET_SERVICE = 4  # include/uapi/linux/ip_vs.h


async def readable(descriptor: int) -> None:
    """Wait until the descriptor has something to read."""
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)


async def dump(connection: genl.Connection, family: int, command: int) -> "AsyncIterator[genl.Message]":
    """Yield each message of a dump. Other tasks may run between its datagrams."""
    connection.begin(family, genl.NLM_F_DUMP, command, b"", "dumping")
    while connection.awaited:
        await readable(connection.transport.fileno())
        connection.receive("dumping")
        while message := connection.message("dumping"):
            yield message


async def main() -> None:
    transport = NetlinkSocket()
    try:
        connection = genl.Connection(transport)
        families = connection.families("IPVS")
        if not families:
            raise ipvsnl.NotAvailableError("this kernel has no IPVS now: run modprobe ip_vs")
        async for message in dump(connection, families[0].id, IPVS_CMD_GET_SERVICE):
            service = ipvsnl.decode_service(message.attributes())
            print(service.protocol, service.address, service.port, service.fwmark, service.stats.connections)
    finally:
        transport.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except ipvsnl.IPVSError as error:
        print(f"asyncio_services: {error}", file=sys.stderr)
        sys.exit(3 if isinstance(error, ipvsnl.NotAvailableError) else 1)
