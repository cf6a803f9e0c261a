"""What starts the tests: run-tests and tests/kernel/run, in a copy of the clone in a folder with a space."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import programs
import pytest
from conftest import ROOT, cannot


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Copy what the scripts need, and no network: no requirement is to be downloaded."""
    folder = tmp_path / "a clone"
    shutil.copytree(ROOT / "tests" / "kernel", folder / "tests" / "kernel")
    for name in ("run-tests", "tests/programs.py"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "tests" / "requirements.txt").touch()
    return folder


def run_tests(clone: Path, *arguments: str, python: str = sys.executable) -> "subprocess.CompletedProcess[str]":
    if programs.missing("unit") or importlib.util.find_spec("ensurepip") is None:
        cannot("run-tests would install packages, or go without them")
    environment = {"PATH": os.environ["PATH"], "PYTHON": python}
    return subprocess.run([clone / "run-tests", *arguments], env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("python", ["false", "no such python"])
def test_run_tests_names_a_python_that_it_cannot_use(clone: Path, python: str) -> None:
    done = run_tests(clone, python=python)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(f"run-tests: {python} is not Python 3.9 or newer")


def test_a_failed_installation_leaves_no_environment(clone: Path) -> None:
    (clone / "tests" / "requirements.txt").write_text("./missing\n")
    done = run_tests(clone, "-k", "nothing")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "tests/requirements.txt" in done.stderr and "missing" in done.stderr
    assert not (clone / ".venv").exists()


def test_an_incomplete_environment_is_made_again(clone: Path) -> None:
    (clone / ".venv").mkdir()
    (clone / ".venv" / "rubbish").touch()
    run_tests(clone, "-k", "nothing")
    assert (clone / ".venv" / "made-from").exists() and not (clone / ".venv" / "rubbish").exists()


def kernel_run(clone: Path) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": "/usr/bin:/bin"}
    command = [clone / "tests" / "kernel" / "run", "6.1", "--", "-k", "a b"]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)


def test_the_kernel_tests_run_in_the_projects_environment(clone: Path) -> None:
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    python.chmod(0o755)
    (clone / ".venv" / "made-from").touch()
    assert kernel_run(clone).stdout == f"{clone}/tests/kernel/run|6.1|--|-k|a b|"


def test_without_the_environment_the_kernel_tests_name_run_tests(clone: Path) -> None:
    done = kernel_run(clone)
    if "pytest" not in done.stdout:
        cannot("this Python has pytest")
    assert done.returncode == 77
    assert f"'{clone}/run-tests' makes .venv" in done.stdout
