"""Each option with each other option, on a scripted kernel or a capture: it works, or is one sentence and status 2."""

from __future__ import annotations

import io
import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import netlink
import pytest
from conftest import KERNELS, ROOT, capture, capture_path
from tools.fuzz import mutate

from ipvsnl.cli import main

Install = Callable[[netlink.ScriptedKernel], None]
Output = pytest.CaptureFixture[str]

CAPTURE = str(capture_path("linux-6.1"))
ENTRIES = [
    (netlink.service(), [netlink.destination(WEIGHT=netlink.u32(weight)) for weight in (0, 1)]),
    (netlink.fwmark_service(47), []),
]
FORMATS = ["line", "json", "prometheus", "list", "stats", "rate", "rules"]
OPTIONS = {
    **{format: ["-f", format] for format in FORMATS},
    "services-only": ["--services-only"],
    "aggregate": ["--aggregate"],
    "all-fields": ["--all-fields"],
    "netns": ["--netns", "blue"],
    "load-module": ["--load-module"],
    "record": ["--record", "out.pcap"],
    "replay": ["--replay", CAPTURE],
    "execd": ["--execd"],
}
REFUSED = {
    frozenset(pair)
    for pair in [
        ("services-only", "aggregate"),
        ("netns", "replay"),
        ("netns", "netns"),
        ("record", "replay"),
        ("record", "execd"),
        *itertools.product(["aggregate"], ["list", "stats", "rate", "rules"]),
        *itertools.product(["all-fields"], ["json", "prometheus", "list", "stats", "rate", "rules"]),
    ]
}
# What shows that an option did something, by format; None where the option changes nothing that is printed.
MARKS = {
    "line": lambda text: text.startswith("ipvs_virtual_server,"),
    "json": lambda text: list(json.loads(text))[:4] == ["services", "info", "timeouts", "daemons"],
    "prometheus": lambda text: text.startswith("# HELP ipvs_info "),
    "list": lambda text: "Prot LocalAddress:Port Scheduler Flags\n" in text,
    "stats": lambda text: "   Conns   InPkts" in text,
    "rate": lambda text: "     CPS    InPPS" in text,
    "rules": lambda text: text.startswith("-A "),
    "services-only": lambda text: text.count("192.0.2.") == 0,
    "aggregate": lambda text: "real_servers_available" in text,
    "all-fields": lambda text: "bps_in=" in text,
    "netns": lambda text: "blue" in text,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_socket: Install) -> None:
    """A folder of its own, a kernel, the same one in all namespaces, and a newline on stdin."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("ipvsnl.netns.call_inside", lambda netns, action: action())
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    kernel_socket(netlink.IPVSKernel(ENTRIES))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(OPTIONS, 2)))
def test_two_options_work_together_or_are_refused(one: str, other: str, here: None, capsys: Output) -> None:
    status = main([*OPTIONS[one], *OPTIONS[other]])
    out, err = capsys.readouterr()
    if frozenset((one, other)) in REFUSED:
        assert (status, out) == (2, "")
        assert err.startswith("ipvsnl: ") and err.count("\n") == 1
    else:
        assert (status, err) == (0, "")
        formats = [option for option in (one, other) if option in FORMATS]
        for option in {one, other} & set(MARKS) - set(formats[:-1]):  # the last format counts
            if option != "netns" or set(formats) <= {"line", "json", "prometheus"}:
                assert MARKS[option](out), out


def test_namespaces_are_named_as_they_were_given(here: None, capsys: Output) -> None:
    assert main(["--netns", "/proc/1/ns/net", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["netns"] == "/proc/1/ns/net"


def test_a_name_of_a_namespace_that_is_no_text_can_be_printed(here: None, capsys: Output) -> None:
    """As Python gives an argument that is not UTF-8."""
    assert main(["--netns", "bl\udcfce", "-f", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["netns"] == r"bl\xfce"


@pytest.mark.parametrize(("format", "expected"), [("line", set()), ("rules", set()), ("list", {netlink.GET_INFO})])
def test_a_format_asks_the_kernel_for_no_more_than_it_prints(
    format: str, expected: set[int], kernel_socket: Install, capsys: Output
) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    assert main(["--services-only", "-f", format]) == 0
    asked = {command for family, command, _ in kernel.asked() if family == netlink.IPVS}
    assert asked == {netlink.GET_SERVICE, *expected}


@pytest.mark.parametrize("format", FORMATS)
def test_a_broken_capture_is_printed_or_is_one_line(format: str, tmp_path: Path, capsys: Output) -> None:
    file = tmp_path / "broken.pcap"
    statuses = set()
    for seed in range(60):
        file.write_bytes(mutate(capture(KERNELS[seed % len(KERNELS)]), random.Random(seed)))
        status = main(["-f", format, "--replay", str(file)])
        out, err = capsys.readouterr()
        statuses.add(status)
        if status == 0:
            assert MARKS[format](out) and err == ""
        else:
            assert format == "line" or out == ""
            assert err.startswith("ipvsnl: ") and err.count("\n") == 1
    assert statuses == {0, 1}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_strict_python_replays_without_a_warning(kernel: str, format: str) -> None:
    """With -bb a comparison of bytes and text is an error."""
    command = [sys.executable, "-bb", "-W", "error", "-m", "ipvsnl", "-f", format, "--replay", capture_path(kernel)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and MARKS[format](done.stdout)


def test_the_help_names_every_format_and_option(capsys: Output) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    words = [*FORMATS, *(option[0] for option in OPTIONS.values())]
    assert [word for word in words if word not in text] == []
    assert max(map(len, text.splitlines())) < 80
