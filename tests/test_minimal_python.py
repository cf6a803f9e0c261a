"""Run on Debian's python3-minimal with its dependencies alone, in a read-only root without /proc, /dev and /sys.

The package is started in several ways, there and with this Python.
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

# Modules that the minimal Python of a suite lacks: Debian 12, 13 and the next one.
LACKING = {
    "python3.11": ["json", "dataclasses", "ctypes", "gettext"],
    "python3.13": ["ctypes", "gettext"],
    "python3.14": ["ctypes", "gettext"],
}


class Minimal:
    """Debian's minimal Python in a root: call it with its arguments."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        # Works in a chroot, too, where mounts cannot be made private. chroot(1) then goes to the new /.
        enter = f"chroot {root} /usr/bin/{name}"
        script = f"""mount --bind {root} {root} && mount -o remount,bind,ro {root} || exit
            {enter} "$@"; status=$?; umount {root}; exit $status"""
        self._enter = ["unshare", "--mount", "--propagation=unchanged", "sh", "-c", script, "sh"]

    def __call__(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*self._enter, *arguments], capture_output=True, text=True, env={}, timeout=60)

    @property
    def lacking(self) -> list[str]:
        if self.name not in LACKING:
            cannot(f"LACKING has no entry for {self.name}")
        return LACKING[self.name]


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
def minimal(tool: Tool, tmp_path_factory: pytest.TempPathFactory) -> Minimal:
    done = subprocess.run(["unshare", "--mount", "--propagation=unchanged", "true"], capture_output=True, text=True)
    if done.returncode:
        cannot(f"needs root, to mount: {done.stderr.strip()}")
    packages, root = tmp_path_factory.mktemp("packages"), tmp_path_factory.mktemp("root")
    names = depends(tool("apt-cache"), "python3-minimal", "--important")
    name = next(name for name in names if name.startswith("python3."))
    # base-files has the links from /lib64 to /usr/lib64 and so on, which every Debian has.
    closure = ["base-files", *depends(tool("apt-cache"), name, "--important", "--recurse")]
    done = subprocess.run([tool("apt-get"), "download", *closure], cwd=packages, capture_output=True, text=True)
    if done.returncode:
        cannot(f"apt cannot download {name}: {done.stderr.strip()}")
    for package in packages.iterdir():
        subprocess.run([tool("dpkg-deb"), "-x", str(package), str(root)], check=True)
    furnish(root)
    return Minimal(root, name[: -len("-minimal")])


def depends(apt_cache: str, package: str, *options: str) -> list[str]:
    """List the dependencies of a package; recursively, with the package itself first."""
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


def test_the_root_is_minimal(minimal: Minimal) -> None:
    """So that the tests above are about something."""
    for module in LACKING["python3.11"]:
        lacks = f"No module named '{module}'" in minimal("-c", f"import {module}").stderr
        assert (module, lacks) == (module, module in minimal.lacking)
    assert "No such file or directory" in minimal("-c", "open('/proc/self/status')").stderr
    assert "Read-only file system" in minimal("-c", "open('file', 'w')").stderr


def test_json_is_printed_where_there_is_json(here: Run) -> None:
    done = here("-m", "ipvsnl", "-f", "json", "--replay", "capture.pcap")
    assert done.stdout == run("-f", "json", "--replay", capture_path("linux-6.1")).stdout


def test_minimal_python_prints_json_or_names_the_module(minimal: Minimal) -> None:
    done = minimal("-m", "ipvsnl", "-f", "json", "--replay", "capture.pcap")
    if "json" in minimal.lacking:
        message = "ipvsnl: --format json needs the module json, which this Python lacks (see --help)\n"
        assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
    else:
        expected = run("-f", "json", "--replay", capture_path("linux-6.1")).stdout
        assert (done.returncode, done.stdout, done.stderr) == (0, expected, "")


def test_another_namespace_says_how_to_do_without(minimal: Minimal) -> None:
    """There is neither os.setns() nor ctypes in Debian's minimal Python 3.11."""
    done = minimal("-m", "ipvsnl", "--netns", "/usr")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    expected = "nsenter --net=/usr" if minimal.name == "python3.11" else "no network namespace"
    assert expected in done.stderr


def test_the_kernel_is_asked_as_anywhere(minimal: Minimal) -> None:
    done = minimal("-m", "ipvsnl")
    assert (done.returncode, done.stderr) == (run().returncode, run().stderr)
