"""What several test files need: the captures, the command line as a subprocess, programs that may be missing."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import ipvsadm
import netlink
import pytest
import servers

ROOT = Path(__file__).parent.parent
FIXTURES = Path(__file__).parent / "fixtures"
KERNELS = sorted(folder.name for folder in FIXTURES.iterdir())

sys.path.insert(0, str(ROOT))  # these tests test the package beside them, whatever is installed


def capture_path(kernel: str, name: str = "stats.pcap") -> Path:
    return FIXTURES / kernel / name


def capture(kernel: str, name: str = "stats.pcap") -> bytes:
    return capture_path(kernel, name).read_bytes()


def printed(kernel: str, name: str) -> str:
    """What ipvsadm printed on that kernel."""
    return capture_path(kernel, name).read_text()


def listing(kernel: str) -> list[ipvsadm.Entry]:
    """All that ipvsadm printed of the services and real servers on that kernel, but the rates, which had moved on."""
    return ipvsadm.merge(
        *(ipvsadm.services(printed(kernel, f"{name}.txt")) for name in ("list", "stats", "thresholds", "persistent")),
        ipvsadm.rules(printed(kernel, "save.txt")),
    )


def run(*arguments: "str | Path", **options: object) -> "subprocess.CompletedProcess[str]":
    """`python -m ipvsnl` with these arguments."""
    settings: dict[str, object] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run([sys.executable, "-m", "ipvsnl", *map(str, arguments)], **settings)  # type: ignore[call-overload]


def pythons() -> list[str]:
    """This Python, and those of other versions that are in the path and start."""
    found = [sys.executable]
    for name in [f"python3.{minor}" for minor in range(9, 20) if minor != sys.version_info.minor]:
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            found.append(path)
    return found


PYTHONS = pythons()


def run_python(code: str, python: str = sys.executable, **options: object) -> str:
    """What a new interpreter prints that runs this code, and must do so without an error."""
    settings: dict[str, object] = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60, **options}
    done = subprocess.run([python, "-c", code], **settings)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def cannot(reason: str) -> NoReturn:
    """Skips the test that this machine cannot run, visibly; but in CI it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI must run this test")
    pytest.skip(reason)


def as_nobody(code: str) -> str:
    """What this code prints as a user without any privilege."""
    drop = "import os; os.setgroups([]); os.setgid(65534); os.setuid(65534)\n" if os.geteuid() == 0 else ""
    # Imported before the drop: the files need not be readable to others.
    imports = "import ctypes, resource, socket, threading, ipvsnl.cli, ipvsnl.genl, ipvsnl.netns"
    return run_python(f"import sys; sys.path.insert(0, {str(ROOT)!r}); {imports}\n{drop}{code}")


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """`tool("tshark")` is the program's path. Where it is missing the test is skipped, but in CI it fails."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            cannot(f"{name} is not installed")
        return path

    return find


@pytest.fixture
def influxdb(tool: Callable[[str], str], tmp_path: Path) -> Iterator[int]:
    """The port of an InfluxDB with an empty database `telegraf`."""
    with servers.influxdb(tool("influxd"), tmp_path) as port:
        yield port


@pytest.fixture
def kernel_socket(monkeypatch: pytest.MonkeyPatch) -> Callable[[netlink.ScriptedKernel], None]:
    """`kernel_socket(kernel)` makes every netlink socket that is opened from then on one to this scripted kernel."""

    def install(kernel: netlink.ScriptedKernel) -> None:
        monkeypatch.setattr("socket.socket", lambda *args, **kwargs: netlink.FakeSocket(kernel))

    return install
