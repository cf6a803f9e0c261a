"""Serve the metrics of IPVS to Prometheus, with asyncio, at http://127.0.0.1:9112/metrics.

In a clone, as root:

    sudo PYTHONPATH=. python3 examples/exporter.py [PORT]

Each scrape is a dump. The kernel prepares a reply inside send() and recv(), so a dump never waits for a descriptor: it
uses the processor. A thread therefore opens, uses and closes the client, and the event loop serves others.
"""

import asyncio
import os
import sys

import ipvsnl
from ipvsnl.formats import Report, prometheus


def exposition() -> str:
    """Dump with a client of its own, because the module may have been reloaded since the last scrape."""
    with ipvsnl.Client() as client:
        info, timeouts, daemons = client.info(), client.timeouts(), client.daemons()
        report = Report(client.dump(), info=info, timeouts=timeouts, daemons=daemons)
        return "".join(prometheus.render(report))


async def answer(target: str) -> "tuple[str, str]":
    """Return status and body. A failed dump fails the scrape, so that Prometheus sets `up` to 0."""
    if target.partition("?")[0] != "/metrics":
        return "404 Not Found", "the metrics are at /metrics\n"
    try:
        return "200 OK", await asyncio.get_running_loop().run_in_executor(None, exposition)
    except ipvsnl.IPVSError as error:
        return "503 Service Unavailable", f"{error}\n"


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), timeout=5)
        status, text = await answer(head.split(b" ")[1].decode("latin-1"))
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(text.encode())}\r\nConnection: close\r\n\r\n{text}".encode()
        )
        await writer.drain()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, IndexError, ConnectionError):
        pass  # not HTTP, or the client has gone
    except asyncio.CancelledError:
        pass  # an interrupt: Python 3.11 writes a traceback when a connection ends as cancelled
    finally:
        writer.close()


async def start(port: int) -> asyncio.AbstractServer:
    return await asyncio.start_server(serve, "127.0.0.1", port)


async def run(port: int) -> None:
    server = await start(port)
    await server.serve_forever()


def main(arguments: "list[str]") -> int:
    """Serve until interrupted. Exit statuses are those of the command line."""
    try:
        port = int(*arguments or ["9112"])
        if not 0 < port < 65536:
            raise ValueError
    except (TypeError, ValueError):
        print("exporter: the only argument is a port, from 1 to 65535", file=sys.stderr)
        return 2
    try:
        asyncio.run(run(port))
    except OSError as error:
        print(f"exporter: cannot listen on port {port} of 127.0.0.1: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
