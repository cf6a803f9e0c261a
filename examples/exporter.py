"""An exporter for Prometheus with asyncio: http://127.0.0.1:9112/metrics is IPVS at the moment of the scrape.

    sudo python3 exporter.py [PORT]    where ipvsnl is installed; in a clone put PYTHONPATH=. before python3

The kernel answers a question before send() returns, so there is never anything to wait for on client.fileno(): what a
dump takes is the processor, and now and then a lock in the kernel. So it is done in a thread, in which the client is
made, used and closed, and the loop serves others meanwhile.
"""

import asyncio
import sys

import ipvsnl
from ipvsnl.formats import Report, prometheus


def exposition() -> str:
    """A client for each scrape costs less than to keep one right: the module may be gone since, and back."""
    with ipvsnl.Client() as client:
        info, timeouts, daemons = client.info(), client.timeouts(), client.daemons()
        report = Report(client.dump(), info=info, timeouts=timeouts, daemons=daemons)
        return "".join(prometheus.render(report))


async def answer(path: str) -> "tuple[str, str]":
    """Status and text. A failed dump is a failed scrape: then `up` is 0, and no old numbers pass for new ones."""
    if path != "/metrics":
        return "404 Not Found", "only /metrics is here\n"
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
        pass  # that was no HTTP
    finally:
        writer.close()


async def start(port: int) -> asyncio.AbstractServer:
    return await asyncio.start_server(serve, "127.0.0.1", port)


async def main() -> None:
    server = await start(int(sys.argv[1]) if len(sys.argv) > 1 else 9112)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
