"""Servers that a test starts on loopback, talks HTTP with, and ends."""

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar, Union
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import ProxyHandler, build_opener

T = TypeVar("T")

_open = build_opener(ProxyHandler({})).open  # whatever proxy this machine has, loopback is not behind it


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*command: Union[str, Path]) -> Iterator[None]:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.kill()


def eventually(read: Callable[[], T]) -> T:
    """What `read` returns once the server is there and that is something."""
    end = time.monotonic() + 60
    while True:
        try:
            value = read()
        except URLError:  # nobody listens yet
            value = None
        if value:
            return value
        assert time.monotonic() < end
        time.sleep(0.1)


def ask(port: int, path: str, body: "str | None" = None) -> str:
    """What a GET, or a POST with this body, is answered with."""
    data = None if body is None else body.encode()
    with _open(f"http://127.0.0.1:{port}{path}", data, timeout=10) as answer:
        return str(answer.read().decode())


INFLUXDB = """\
reporting-disabled = true
bind-address = "127.0.0.1:{rpc}"
[meta]
  dir = "{folder}/meta"
[data]
  dir = "{folder}/data"
  wal-dir = "{folder}/wal"
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:{http}"
"""


@contextmanager
def influxdb(program: str, folder: Path) -> Iterator[int]:
    """The port of an InfluxDB with an empty database `telegraf`."""
    port = free_port()
    file = folder / "influxdb.conf"
    file.write_text(INFLUXDB.format(rpc=free_port(), http=port, folder=folder))
    with running(program, "-config", file):
        eventually(lambda: ask(port, f"/query?q={quote('CREATE DATABASE telegraf')}", ""))
        yield port
