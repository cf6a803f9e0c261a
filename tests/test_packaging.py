"""What ./install makes, what `pip install` gets from a copy of the clone (wheel and sdist), and the page of help()."""

import inspect
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import ROOT, cannot, capture_path, run, run_python

import ipvsnl

FILES = {f"ipvsnl/{path.relative_to(ROOT / 'ipvsnl')}" for path in (ROOT / "ipvsnl").rglob("*.py")}
FILES.add("ipvsnl/py.typed")


def install(*arguments: "str | Path", **options: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, ROOT / "install", *arguments], capture_output=True, text=True, **options)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The file that ./install makes, also where new files are nobody else's business."""
    file = tmp_path / "a b" / "ipvsnl"
    file.parent.mkdir()
    done = install(file, preexec_fn=lambda: os.umask(0o077))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"installed {file}\n", "")
    return file


def start(file: Path, *arguments: "str | Path") -> "subprocess.CompletedProcess[str]":
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    return subprocess.run([file, *arguments], cwd="/", env={"PATH": path}, capture_output=True, text=True)


def test_the_installed_file_is_everybodys_and_has_each_modules_byte_code(installed: Path) -> None:
    assert [path.name for path in installed.parent.iterdir()] == ["ipvsnl"]
    assert installed.stat().st_mode & 0o7777 == 0o755
    sources = {"__main__.py", *(name for name in FILES if name.endswith(".py"))}
    names = {name for name in zipfile.ZipFile(installed).namelist() if not name.endswith("/")}
    assert names == {*sources, *(f"{name}c" for name in sources), "ipvsnl/py.typed"}


def test_the_installed_file_prints_and_ends_as_the_clone_does(installed: Path) -> None:
    for arguments in (["--replay", str(capture_path("linux-6.1"))], ["-x"], ["--replay", "/nowhere"]):
        done, expected = start(installed, *arguments), run(*arguments)
        assert (done.returncode, done.stdout, done.stderr) == (expected.returncode, expected.stdout, expected.stderr)


def test_the_installed_file_runs_on_another_python_from_its_source(installed: Path) -> None:
    with zipfile.ZipFile(installed) as archive, zipfile.ZipFile(installed.with_name("other"), "w") as other:
        for name in archive.namelist():
            data = archive.read(name)
            other.writestr(name, b"\0\0\0\0" + data[4:] if name.endswith(".pyc") else data)  # no Python's number
    done = subprocess.run([sys.executable, installed.with_name("other"), "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"ipvsnl {ipvsnl.__version__}\n", "")


def test_an_installation_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for target, reason in ((tmp_path / "no" / "ipvsnl", "No such file or directory"), (folder, "Is a directory")):
        done = install(target)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"install: cannot write {target}: {reason}")
        assert done.stderr.count("\n") == 1
    assert [*tmp_path.iterdir()] == [folder]


class Built(NamedTuple):
    sdist: Path
    wheel: Path
    of_sdist: Path  # the wheel that is built from the sdist


def builder(folder: Path) -> Path:
    """The Python of a new virtual environment that has what pyproject.toml builds with."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "setuptools>=64", "wheel"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        cannot(f"pip cannot install setuptools: {done.stderr.strip()[-300:]}")
    return python


def build(python: Path, kind: str, checkout: Path, target: Path) -> Path:
    target.mkdir(exist_ok=True)
    code = f"import sys; from setuptools.build_meta import build_{kind} as build; print(build(sys.argv[1]))"
    done = subprocess.run([python, "-c", code, target], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("build")
    python = builder(folder / "builder")
    checkout = folder / "checkout"
    shutil.copytree(ROOT / "ipvsnl", checkout / "ipvsnl", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    sdist = build(python, "sdist", checkout, folder / "out")
    (folder / "unpacked").mkdir()
    subprocess.run(["tar", "-xf", sdist, "-C", folder / "unpacked"], check=True)
    (unpacked,) = (folder / "unpacked").iterdir()
    return Built(
        sdist, build(python, "wheel", checkout, folder / "out"), build(python, "wheel", unpacked, folder / "of_sdist")
    )


def test_the_wheel_has_every_file_of_the_package_and_no_other(built: Built) -> None:
    names = set(zipfile.ZipFile(built.wheel).namelist())
    assert {name for name in names if ".dist-info/" not in name} == FILES


def test_the_sdist_has_them_and_builds_the_same_wheel(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {*FILES, "pyproject.toml", "README.md", "LICENSE"}
    one, other = (
        {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}
        for archive in (zipfile.ZipFile(built.wheel), zipfile.ZipFile(built.of_sdist))
    )
    assert one == other


def test_the_wheel_runs_in_an_empty_environment(built: Built, tmp_path: Path) -> None:
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "--quiet", "install", "--no-index", built.wheel], check=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    for command in ([python.with_name("ipvsnl")], [python, "-m", "ipvsnl"]):
        done = subprocess.run(
            [*command, "--replay", capture_path("linux-6.1")],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == run("--replay", capture_path("linux-6.1")).stdout


def test_help_is_a_page_with_every_public_name() -> None:
    page = run_python("import ipvsnl; help(ipvsnl)")
    assert [name for name in ipvsnl.__all__ if name not in page] == []


@pytest.mark.parametrize("name", ipvsnl.__all__)
def test_every_public_name_is_described(name: str) -> None:
    thing = getattr(ipvsnl, name)
    members = (
        {
            member: value
            for member, value in vars(thing).items()
            if inspect.isfunction(value) and not member.startswith("_") and value.__module__.startswith("ipvsnl")
        }
        if inspect.isclass(thing)
        else {}
    )
    undocumented = [member for member, value in {name: thing, **members}.items() if not inspect.getdoc(value)]
    assert undocumented == []
    for field in getattr(thing, "__match_args__", ()) if inspect.isclass(thing) else ():
        assert f"\n{field} " in f"{inspect.getdoc(thing)}\n", f"{name}.{field}"
