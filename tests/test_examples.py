"""The examples work as they stand: systemd's units and the exporter. telegraf's is in peers/test_influxdb.py."""

import asyncio
import configparser
import os
import runpy
import select
import shlex
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from conftest import ROOT, capture_path, run
from servers import ask, eventually, free_port

import ipvsnl
from ipvsnl import genl, testing
from ipvsnl.transport import NetlinkSocket

Tool = Callable[[str], str]

EXAMPLES = ROOT / "examples"
UNITS = ["ipvsnl-textfile.timer", "ipvsnl-textfile.service"]
INSTALLED = "/usr/local/bin/ipvsnl"  # where ./install puts it


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_to_say_about_a_unit(unit: str, tool: Tool) -> None:
    command = [tool("systemd-analyze"), "--man=no", "verify", str(EXAMPLES / unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def service() -> "configparser.SectionProxy":
    parser = configparser.RawConfigParser(strict=False)  # a key may come twice
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # they are not lower case
    parser.read(EXAMPLES / UNITS[1])
    return parser["Service"]


def test_the_service_has_one_capability_and_one_kind_of_socket() -> None:
    settings = service()
    assert settings["CapabilityBoundingSet"] == settings["AmbientCapabilities"] == "CAP_NET_ADMIN"
    assert settings["RestrictAddressFamilies"] == "AF_NETLINK"
    assert settings["User"] == "prometheus"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the service runs, and an `ipvsnl` that reads a capture, which may be taken away."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ipvsnl"
    program.write_text(
        f"#!/bin/sh\ncd '{ROOT}' && exec '{sys.executable}' -m ipvsnl --replay {tmp_path}/capture.pcap \"$@\"\n"
    )
    program.chmod(0o755)
    (tmp_path / "capture.pcap").write_bytes(capture_path("linux-6.1").read_bytes())
    (tmp_path / "textfile").mkdir()
    return tmp_path


def start_service(folder: Path) -> int:
    command = service()["ExecStart"]
    assert INSTALLED in command
    command = command.replace(INSTALLED, str(folder / "bin" / "ipvsnl"))
    return subprocess.run(shlex.split(command), cwd=folder / "textfile", stderr=subprocess.DEVNULL).returncode


def test_the_command_of_the_service_makes_one_file(folder: Path) -> None:
    assert start_service(folder) == 0
    (file,) = (folder / "textfile").iterdir()
    assert file.name == "ipvs.prom"
    assert file.read_text() == run("-f", "prometheus", "--replay", capture_path("linux-6.1")).stdout
    assert file.stat().st_mode & stat.S_IROTH


def test_a_service_that_fails_says_so_and_leaves_the_last_file_as_it_was(folder: Path) -> None:
    start_service(folder)
    before = (folder / "textfile" / "ipvs.prom").read_bytes()
    (folder / "capture.pcap").unlink()
    assert start_service(folder) != 0
    assert (folder / "textfile" / "ipvs.prom").read_bytes() == before


# The exporter.


def scrape(path: str) -> str:
    """What the exporter answers, over HTTP."""

    async def serve_and_ask() -> str:
        module: dict[str, Any] = runpy.run_path(str(EXAMPLES / "exporter.py"))
        server = await module["start"](0)
        try:
            return await asyncio.get_running_loop().run_in_executor(None, ask, server.sockets[0].getsockname()[1], path)
        finally:
            server.close()

    return asyncio.run(serve_and_ask())


def test_the_exporter_answers_with_a_dump(monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    kernel = testing.Kernel([(testing.service(), [testing.destination(weight=7)])])
    monkeypatch.setattr(ipvsnl, "Client", partial(ipvsnl.Client, transport=kernel))
    text = scrape("/metrics")
    assert 'ipvs_info{version="1.2.1"} 1\n' in text
    assert 'virtual_protocol="tcp"} 7\n' in text
    check = [tool("promtool"), "check", "metrics"]
    assert subprocess.run(check, input=text, capture_output=True, text=True).returncode == 0


def test_a_failed_dump_is_a_failed_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = testing.Kernel()
    kernel.loaded = False
    monkeypatch.setattr(ipvsnl, "Client", partial(ipvsnl.Client, transport=kernel))
    with pytest.raises(HTTPError) as caught:
        scrape("/metrics")
    assert caught.value.code == 503
    assert "modprobe ip_vs" in caught.value.read().decode()


def test_the_exporter_ignores_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ipvsnl, "Client", partial(ipvsnl.Client, transport=testing.Kernel()))
    assert "ipvs_info" in scrape("/metrics?x=1")


def test_the_exporter_has_nothing_else() -> None:
    for path in ("/", "/metricsx", "/x?/metrics"):
        with pytest.raises(HTTPError, match="404"):
            scrape(path)


def example(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an example as its own text says, but for sudo."""
    command = [sys.executable, f"examples/{name}", *arguments]
    environment = {**os.environ, "PYTHONPATH": "."}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("arguments", [["abc"], ["0"], ["70000"], ["-1"], [""], ["1", "2"]], ids=str)
def test_the_exporter_refuses_a_wrong_port_with_one_line(arguments: list[str]) -> None:
    done = example("exporter.py", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "exporter: the only argument is a port, from 1 to 65535\n"


def test_the_exporter_names_a_busy_port() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        done = example("exporter.py", str(port))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"exporter: cannot listen on port {port} of 127.0.0.1: Address already in use\n"


def test_the_exporter_ends_with_130_when_interrupted() -> None:
    address = "127.0.0.1", free_port()

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(address) == 0

    command = [sys.executable, "examples/exporter.py", str(address[1])]
    environment = {**os.environ, "PYTHONPATH": "."}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        eventually(listens)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == (None, "")
        assert process.returncode == 130
    finally:
        process.kill()
        process.wait()


# The asyncio example.


@pytest.mark.parametrize(
    ("error", "status"), [("NotAvailableError('gone')", 3), ("NetlinkError(1, 'asking')", 1)], ids=["3", "1"]
)
def test_the_asyncio_example_exits_as_the_command_line_does(error: str, status: int) -> None:
    code = (
        "import runpy, ipvsnl, ipvsnl.transport\n"
        f"def fail(*_): raise ipvsnl.{error}\n"
        "ipvsnl.transport.NetlinkSocket = fail\n"
        "runpy.run_path('examples/asyncio_services.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("asyncio_services: ")
    assert done.stderr.count("\n") == 1


def test_a_cancelled_wait_of_the_asyncio_example_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The descriptor becomes readable in the same turn of the loop in which the task is cancelled."""
    readable = runpy.run_path(str(EXAMPLES / "asyncio_services.py"))["readable"]

    async def cancel_when_ready() -> None:
        here, there = socket.socketpair()
        with here, there:
            waiting = asyncio.create_task(readable(here.fileno()))
            await asyncio.sleep(0)
            there.send(b"x")
            time.sleep(0.01)
            asyncio.get_running_loop().call_soon(waiting.cancel)
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(cancel_when_ready())
    assert caplog.text == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="generic netlink is a part of Linux")
def test_the_kernel_has_answered_when_send_returns() -> None:
    """As the exporter says of client.fileno(), tried with the list of families: nothing is waited for."""
    transport = NetlinkSocket()
    request = genl.request(genl.GENL_ID_CTRL, 0x301, 1, transport.port, genl.CTRL_CMD_GETFAMILY, b"")
    transport.send(request)
    for _ in range(2):  # the families, and the end
        readable, _, _ = select.select([transport.fileno()], [], [], 0)
        assert readable
        transport.recv_into(bytearray(65536))
    transport.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="generic netlink is a part of Linux")
def test_a_dump_from_asyncio_is_what_a_dump_is_and_lets_others_run() -> None:
    """With the list of families, which every kernel has; tests/kernel/test_asyncio_example.py has the services."""
    example = runpy.run_path(str(EXAMPLES / "asyncio_services.py"))
    transport = NetlinkSocket()
    connection = genl.Connection(transport)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def names() -> list[str]:
        ticking = asyncio.create_task(tick())
        found = [message async for message in example["dump"](connection, genl.GENL_ID_CTRL, genl.CTRL_CMD_GETFAMILY)]
        ticking.cancel()
        return [genl.CTRL_ATTRS.decode(message.attributes())["FAMILY_NAME"] for message in found]

    expected = [family.name for family in connection.families()]
    assert asyncio.run(names()) == expected
    assert turns > 1
    transport.close()
