"""The examples work as they stand: the units of systemd and the exporter. That of telegraf is in test_influxdb.py."""

import asyncio
import configparser
import runpy
import select
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from conftest import ROOT, capture_path, run
from servers import ask

import ipvsnl
from ipvsnl import genl, testing
from ipvsnl.transport import NetlinkSocket

Tool = Callable[[str], str]

EXAMPLES = ROOT / "examples"
UNITS = ["ipvsnl-textfile.timer", "ipvsnl-textfile.service"]


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
        f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m ipvsnl --replay {tmp_path}/capture.pcap "$@"\n'
    )
    program.chmod(0o755)
    (tmp_path / "capture.pcap").write_bytes(capture_path("linux-6.1").read_bytes())
    (tmp_path / "textfile").mkdir()
    return tmp_path


def start_service(folder: Path) -> int:
    command = shlex.split(service()["ExecStart"])
    environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin"}
    return subprocess.run(command, cwd=folder / "textfile", env=environment, stderr=subprocess.DEVNULL).returncode


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


def test_the_exporter_has_nothing_else() -> None:
    with pytest.raises(HTTPError, match="404"):
        scrape("/")


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
def test_a_dump_from_asyncio_is_what_a_dump_is_and_lets_others_run_meanwhile() -> None:
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
