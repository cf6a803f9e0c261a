"""The folder ipvsnl/ as a part of another package: copied there under another name, it works as it is."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, capture_path, run, run_python

CAPTURE = str(capture_path("linux-6.1"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with the package `outer.vendor.lvs`, which is a copy of ours, where ours cannot be imported."""
    package = tmp_path / "outer" / "vendor"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "ipvsnl", package / "lvs", ignore=ignore)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    return tmp_path


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    # -S leaves out site-packages, in which ipvsnl may be installed.
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=folder, capture_output=True, text=True, timeout=60, env={}
    )


def test_a_copy_under_another_name_runs_with_m(elsewhere: Path) -> None:
    done = python(elsewhere, "-m", "outer.vendor.lvs", "--replay", CAPTURE)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--replay", CAPTURE).stdout != ""


@pytest.mark.parametrize("format", ["line", "json"])
def test_a_copy_finds_its_formats(elsewhere: Path, format: str) -> None:
    done = python(elsewhere, "-m", "outer.vendor.lvs", "-f", format, "--replay", CAPTURE)
    assert done.stdout == run("-f", format, "--replay", CAPTURE).stdout


def test_a_copy_under_another_name_is_imported(elsewhere: Path) -> None:
    code = f"""
import outer.vendor.lvs as lvs
from outer.vendor.lvs.capture import Replay
with open({CAPTURE!r}, "rb") as file, lvs.Client(transport=Replay(file)) as client:
    print(len(client.services()), lvs.Service.__module__)
"""
    done = python(elsewhere, "-c", code)
    assert (done.stdout, done.stderr) == ("9 outer.vendor.lvs.model\n", "")


def test_a_copy_does_not_import_a_package_called_ipvsnl(elsewhere: Path) -> None:
    (elsewhere / "ipvsnl.py").write_text("raise SystemExit('the wrong one')")
    done = python(elsewhere, "-m", "outer.vendor.lvs", "--replay", CAPTURE)
    assert (done.returncode, done.stderr) == (0, "")


def test_nothing_is_imported_from_outside_the_standard_library(elsewhere: Path) -> None:
    """-S: no site-packages. -I would do, too, but hides the folder."""
    code = f"import sys; from outer.vendor.lvs.cli import main; sys.exit(main(['-f', 'json', '--replay', {CAPTURE!r}]))"
    assert python(elsewhere, "-c", code).returncode == 0


def test_the_console_script_is_the_command_line() -> None:
    # What an installed `ipvsnl` does, from [project.scripts] in pyproject.toml.
    scripts = (ROOT / "pyproject.toml").read_text().split("[project.scripts]\n")[1]
    name, _, target = scripts.split("\n")[0].partition(" = ")
    module, _, function = target.strip('"').partition(":")
    assert name == "ipvsnl"
    code = f"import sys; sys.argv = ['ipvsnl', '--version']; from {module} import {function}; sys.exit({function}())"
    assert run_python(code) == run("--version").stdout
