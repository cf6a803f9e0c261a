"""What `pip install` gets: the wheel and the sdist, built from a copy of the checkout; and the page of help()."""

import inspect
import os
import shutil
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, cannot, capture_path, run, run_python

import ipvsnl

FILES = {f"ipvsnl/{path.relative_to(ROOT / 'ipvsnl')}" for path in (ROOT / "ipvsnl").rglob("*.py")}
FILES.add("ipvsnl/py.typed")


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
