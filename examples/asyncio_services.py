"""The virtual services from asyncio, without a thread: the loop waits on fileno() for each datagram.

    sudo python3 asyncio_services.py    where ipvsnl is installed; in a clone put PYTHONPATH=. before python3

This is one layer below ipvsnl.Client: genl.Connection sends and reads, and leaves it to others to wait. One dump is
what is read here; a list of more than some ninety services that changes meanwhile takes the client (ipvsnl/windows.py).
"""

import asyncio
from collections.abc import AsyncIterator

from ipvsnl import IPVSError, NotAvailableError, genl, ipvs, rows
from ipvsnl.transport import NetlinkSocket


async def readable(descriptor: int) -> None:
    """Returns when there is something to read."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_reader(descriptor, ready.set_result, None)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


async def dump(connection: genl.Connection, family: int, command: int) -> "AsyncIterator[genl.Message]":
    """Each message of a dump. Others may run between its datagrams."""
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
        families = connection.families(ipvs.FAMILY_NAME)
        if not families:
            raise NotAvailableError("this kernel has no IPVS now: run modprobe ip_vs")
        async for message in dump(connection, families[0].id, ipvs.GET_SERVICE):
            service = rows.decode_service(message.attributes())
            print(service.protocol, service.address, service.port, service.fwmark, service.stats.connections)
    finally:
        transport.close()


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except IPVSError as error:
        raise SystemExit(f"asyncio_services: {error}") from None
