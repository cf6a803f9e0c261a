"""The least that it runs on: Debian's python3-minimal with what that depends on and nothing else, in a root of its own
that is mounted read-only and has no /proc, /dev or /sys. And ways to start it that leave things out, there and here.
"""

import shutil
import subprocess
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, cannot, capture_path, run

Tool = Callable[[str], str]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def furnish(folder: Path) -> None:
    """The package, the same inside another one, a zipapp, and a capture to read."""
    for copy in ("ipvsnl", "outer/vendor/lvs", "zip/ipvsnl"):
        shutil.copytree(ROOT / "ipvsnl", folder / copy, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("outer", "outer/vendor"):
        (folder / package / "__init__.py").touch()
    # As README makes one: the __main__.py that zipapp could write would lose the exit status.
    (folder / "zip" / "__main__.py").write_text("import sys\nfrom ipvsnl.cli import main\nsys.exit(main())\n")
    zipapp.create_archive(folder / "zip", folder / "ipvsnl.pyz")
    shutil.copy(capture_path("linux-6.1"), folder / "capture.pcap")


@pytest.fixture(scope="module")
def minimal(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`minimal(...)` starts Debian's minimal Python with these arguments in such a root."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        cannot("this needs root")
    packages, root = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("root")
    names = depends(tool("apt-cache"), "python3-minimal", "--important")
    name = next(name for name in names if name.startswith("python3."))
    closure = depends(tool("apt-cache"), name, "--important", "--recurse")
    done = subprocess.run([tool("apt-get"), "download", *closure], cwd=packages, capture_output=True, text=True)
    if done.returncode:
        cannot(f"apt cannot download {name}: {done.stderr}")
    for package in packages.iterdir():
        subprocess.run([tool("dpkg-deb"), "-x", str(package), str(root)], check=True)
    furnish(root)
    python = f"/usr/bin/{name[: -len('-minimal')]}"
    script = f"mount --bind {root} {root} && mount -o remount,bind,ro {root} && exec chroot {root} {python} "
    enter = ["unshare", "--mount", "sh", "-c", script + '"$@"', "sh"]  # chroot goes to the new /

    def start(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*enter, *arguments], capture_output=True, text=True, env={}, timeout=60)

    return start


def depends(apt_cache: str, package: str, *options: str) -> list[str]:
    """Names that apt-cache prints of what a package depends on; recursively, its own first."""
    done = subprocess.run([apt_cache, "depends", *options, package], capture_output=True, text=True)
    if done.returncode:
        cannot(f"apt does not know {package}")
    if "--recurse" in options:
        return [line for line in done.stdout.splitlines() if not line.startswith((" ", "<"))]
    return [line.split()[-1] for line in done.stdout.splitlines()[1:]]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """`here(...)` starts this Python with these arguments in a folder with the same files."""
    folder = tmp_path_factory.mktemp("here")
    furnish(folder)

    def start(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, env={}, timeout=60)

    return start


@pytest.fixture(params=["here", "minimal"])
def python(request: pytest.FixtureRequest) -> Run:
    start: Run = request.getfixturevalue(request.param)
    return start


WAYS = {
    "a module": ["-m", "ipvsnl"],
    "without site": ["-S", "-m", "ipvsnl"],
    "optimized": ["-OO", "-m", "ipvsnl"],
    "a zipapp": ["ipvsnl.pyz"],
    "a zipapp, isolated and without site": ["-I", "-S", "ipvsnl.pyz"],
    "vendored": ["-m", "outer.vendor.lvs"],
    "isolated, vendored, optimized": [
        *("-I", "-S", "-OO", "-c"),
        "import sys; sys.path.insert(0, '.'); from outer.vendor.lvs.cli import main; sys.exit(main())",
    ],
}


@pytest.mark.parametrize("format", ["line", "prometheus"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_capture_is_printed(way: list[str], format: str, python: Run) -> None:
    done = python(*way, "-f", format, "--replay", "capture.pcap")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("-f", format, "--replay", capture_path("linux-6.1")).stdout != ""


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_the_exit_status_comes_through(way: list[str], python: Run) -> None:
    done = python(*way, "--nonsense")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_the_root_is_minimal(minimal: Run) -> None:
    """So that the tests above are about something."""
    for module in ("json", "ctypes", "dataclasses", "gettext"):
        assert f"No module named '{module}'" in minimal("-c", f"import {module}").stderr
    assert "No such file or directory" in minimal("-c", "open('/proc/self/status')").stderr
    assert "Read-only file system" in minimal("-c", "open('file', 'w')").stderr


def test_json_is_printed_where_there_is_json(here: Run) -> None:
    done = here("-m", "ipvsnl", "-f", "json", "--replay", "capture.pcap")
    assert done.stdout == run("-f", "json", "--replay", capture_path("linux-6.1")).stdout


def test_json_says_so_where_there_is_none(minimal: Run) -> None:
    done = minimal("-m", "ipvsnl", "-f", "json", "--replay", "capture.pcap")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "ipvsnl: --format json needs the module json, which this Python lacks (see --help)\n"


def test_another_namespace_says_how_to_do_without(minimal: Run) -> None:
    """There is neither os.setns() nor ctypes in Debian's minimal Python 3.11."""
    done = minimal("-m", "ipvsnl", "--netns", "/usr")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "nsenter --net=/usr ipvsnl" in done.stderr or "no network namespace" in done.stderr  # since Python 3.12


def test_the_kernel_is_asked_as_anywhere(minimal: Run) -> None:
    done = minimal("-m", "ipvsnl")
    assert (done.returncode, done.stderr) == (run().returncode, run().stderr)
