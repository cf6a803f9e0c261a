"""The command line as a function and as a program: what goes to stdout, the one line on stderr, the exit status.

Where a kernel is needed it is the scripted one, behind the socket that the program opens.
"""

import errno
import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import netlink
import pytest
from conftest import capture_path, run

from ipvsnl import __version__
from ipvsnl.cli import main

CAPTURE = str(capture_path("linux-6.1"))
ENTRIES = [(netlink.service(), [netlink.destination()]), (netlink.fwmark_service(47), [])]
Install = Callable[[netlink.ScriptedKernel], None]
Output = pytest.CaptureFixture[str]


def one_line(text: str) -> bool:
    return text.startswith("ipvsnl: ") and text.count("\n") == 1 and text.endswith("\n")


# What is printed.


@pytest.mark.parametrize("arguments", [["-f", "line"], ["-fline"], ["--format", "line"], ["--format=line"]])
def test_line_protocol_is_the_default_format(arguments: list[str], capsys: Output) -> None:
    assert main(["--replay", CAPTURE]) == 0
    default = capsys.readouterr().out
    assert main([*arguments, "--replay", CAPTURE]) == 0
    assert capsys.readouterr().out == default != ""


def test_json_is_one_document(capsys: Output) -> None:
    assert main(["-f", "json", "--replay", CAPTURE]) == 0
    assert len(json.loads(capsys.readouterr().out)["services"]) == 9


@pytest.mark.parametrize("format", ["line", "json"])
def test_services_only_prints_no_real_servers(format: str, capsys: Output) -> None:
    assert main(["--services-only", "-f", format, "--replay", CAPTURE]) == 0
    text = capsys.readouterr().out
    assert "10.99.0.1" in text and "192.0.2.10" not in text and "destinations" not in text


def test_nothing_goes_to_stderr_when_all_is_well() -> None:
    assert run("--replay", CAPTURE).stderr == ""


def test_an_empty_ipvs_is_done(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(netlink.IPVSKernel())
    assert main([]) == 0
    assert capsys.readouterr() == ("", "")
    kernel_socket(netlink.IPVSKernel())
    assert main(["-f", "json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["services"] == [] and err == ""


def test_without_replay_the_kernel_is_asked(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(netlink.IPVSKernel(ENTRIES))
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(",")[0] for line in lines] == ["ipvs_virtual_server", "ipvs_real_server", "ipvs_virtual_server"]


def test_the_timestamp_of_a_live_dump_is_now(
    kernel_socket: Install, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time_ns", lambda: 1234567890123456789)
    kernel_socket(netlink.IPVSKernel(ENTRIES))
    main([])
    assert {line.split(" ")[-1] for line in capsys.readouterr().out.splitlines()} == {"1234567890123456789"}


def test_services_only_asks_for_no_real_servers(kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    assert main(["--services-only"]) == 0
    assert [command for family, command, _ in kernel.asked() if family == netlink.IPVS] == [netlink.GET_SERVICE]


def test_by_default_the_kernel_is_not_made_to_load_a_module(kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    main([])
    assert [is_dump for family, _, is_dump in kernel.asked() if family == netlink.NLCTRL] == [True]


def test_load_module_asks_for_the_family_by_name(kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    assert main(["--load-module"]) == 0
    assert [r.attributes for r in kernel.requests if r.type == netlink.NLCTRL] == [netlink.attribute(2, b"IPVS\0")]


@pytest.mark.parametrize("options", [[], ["--services-only"], ["-f", "json"]])
def test_the_socket_is_closed_at_the_end(options: list[str], kernel_socket: Install) -> None:
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    main(options)
    assert kernel.closed


def test_without_arguments_main_takes_those_of_the_program(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["ipvsnl", "--version"])
    assert main() == 0
    assert capsys.readouterr().out == f"ipvsnl {__version__}\n"


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ipvsnl {__version__}\n", "")


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_names_every_option_and_status(option: str, capsys: Output) -> None:
    assert main([option]) == 0
    text = capsys.readouterr().out
    options = ["--format", "--services-only", "--netns", "--load-module", "--record", "--replay", "--execd"]
    options += ["--version", "line", "json", "prometheus", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]
    assert [name for name in options if name not in text] == []
    assert re.search(r"0 done.*1 .*2 .*3 .*130 interrupted", text, re.DOTALL)


# Wrong arguments: status 2.


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["-x"],
        ["argument"],
        ["--replay", CAPTURE, "argument"],
        ["-f"],
        ["--format"],
        ["-f", "xml"],
        ["-f", ""],
        ["--replay"],
        ["--record"],
        ["--record", "one.pcap", "--replay", "two.pcap"],
        ["--record", "one.pcap", "--execd"],
        ["--netns", "blue", "--replay", CAPTURE],
        ["--netns"],
        ["--services-only=yes"],
    ],
)
def test_wrong_arguments_are_one_line_and_status_2(
    arguments: list[str], capsys: Output, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernel_socket: Install
) -> None:
    monkeypatch.chdir(tmp_path)
    kernel = netlink.IPVSKernel(ENTRIES)
    kernel_socket(kernel)
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and one_line(err)
    assert kernel.requests == [] and list(tmp_path.iterdir()) == []


def test_wrong_arguments_of_the_program_are_status_2_too() -> None:
    done = run("--nonsense")
    assert (done.returncode, done.stdout) == (2, "")
    assert one_line(done.stderr) and "--nonsense" in done.stderr and "--help" in done.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["-f"], "option -f requires an argument (see --help)"),
        (["--replay"], "option --replay requires an argument (see --help)"),
        (["file.pcap"], "unexpected argument file.pcap: to read a capture, use --replay file.pcap (see --help)"),
    ],
)
def test_wrong_arguments_say_what_is_right(arguments: list[str], said: str, capsys: Output) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"ipvsnl: {said}\n"


# Files: status 1.


def test_a_capture_that_is_not_there_is_one_line(tmp_path: Path, capsys: Output) -> None:
    assert main(["--replay", str(tmp_path / "none.pcap")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and one_line(err) and "none.pcap: No such file" in err


def test_a_folder_in_place_of_a_capture_is_one_line(tmp_path: Path, capsys: Output) -> None:
    assert main(["--replay", str(tmp_path)]) == 1
    assert one_line(capsys.readouterr().err)


def test_a_recording_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: Output, kernel_socket: Install) -> None:
    kernel_socket(netlink.IPVSKernel(ENTRIES))
    assert main(["--record", str(tmp_path / "none" / "file.pcap")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and one_line(err)


# The kernel: status 1 where it refuses, 3 where it has no IPVS.


def refusing(number: int, words: "str | None" = None) -> netlink.IPVSKernel:
    def refuse(request: netlink.Request) -> "list[netlink.Reply] | None":
        if request.type == netlink.NLCTRL:
            return None
        return [netlink.refusal(number, words, request=request.raw, seq=request.seq)]

    return netlink.IPVSKernel(special=refuse)


def test_a_missing_privilege_is_one_line_that_names_it(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(refusing(errno.EPERM))
    assert main([]) == 1
    out, err = capsys.readouterr()
    assert out == "" and one_line(err) and "CAP_NET_ADMIN" in err


def test_another_refusal_is_one_line_with_the_kernels_words(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(refusing(errno.EINVAL, "not today"))
    assert main(["-f", "json", "--services-only"]) == 1
    err = capsys.readouterr().err
    assert one_line(err) and "EINVAL" in err and "not today" in err


def test_a_kernel_without_ipvs_is_one_line_that_says_what_helps(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(netlink.IPVSKernel(loaded=False))
    assert main([]) == 3
    out, err = capsys.readouterr()
    assert out == "" and one_line(err) and "modprobe ip_vs" in err and "--load-module" in err


def test_a_kernel_that_cannot_load_ipvs_is_status_3_with_another_hint(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(netlink.IPVSKernel(loaded=False))
    assert main(["--load-module"]) == 3
    err = capsys.readouterr().err
    assert one_line(err) and "--load-module" not in err


def test_a_system_that_is_not_linux_is_one_line(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("socket.AF_NETLINK")
    assert main([]) == 3
    out, err = capsys.readouterr()
    assert out == "" and one_line(err) and "Linux" in err


def test_a_system_that_is_not_linux_reads_captures(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AF_NETLINK", "SO_PASSCRED", "SCM_CREDENTIALS"):
        monkeypatch.delattr(f"socket.{name}", raising=False)
    monkeypatch.setattr("socket.socket", None)
    assert main(["--replay", CAPTURE]) == 0
    assert capsys.readouterr().out.count("\n") == 21


def test_an_answer_that_cannot_be_read_is_one_line(kernel_socket: Install, capsys: Output) -> None:
    kernel_socket(netlink.IPVSKernel([(netlink.service(AF=netlink.u16(7)), [])]))
    assert main([]) == 1
    assert one_line(capsys.readouterr().err)


def test_a_socket_that_cannot_be_opened_is_one_line(capsys: Output, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr("socket.socket", refuse)
    assert main([]) == 1
    assert one_line(capsys.readouterr().err)
