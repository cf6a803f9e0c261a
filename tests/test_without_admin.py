"""The package without the folder ipvsnl/admin/: whatever does not import it works as before."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

TESTS = Path(__file__).parent

# Test files that import nothing from the folder, and are left out all the same.
LEFT_OUT = {
    "test_docs.py": "runs the examples of docs/writing.md",
    "test_minimal_python.py": "copies the package itself, and downloads a Python",
    "test_packaging.py": "builds what pyproject.toml lists, with the folder",
    "test_run_tests.py": "tests ./run-tests, and makes virtual environments",
    Path(__file__).name: "is this file",
}
# Simulations that take half of the time, of modules that other tests import as well.
SLOW = "while_memory_is_short or most_entries_are_new or at_any_instruction"


def imports(file: Path) -> "set[str]":
    """The modules that a file imports, or whose names it imports, at its top and in its functions."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names)}
    return found


def needs_admin(file: Path) -> bool:
    """Whether a test file imports the folder, itself or through a module beside it."""
    files, waiting = {file}, [file]
    while waiting:
        names = imports(waiting.pop())
        if any(f"{name}.".startswith("ipvsnl.admin.") for name in names):
            return True
        beside = {path for name in names if (path := TESTS / f"{name}.py").exists()} - files
        files |= beside
        waiting += beside
    return False


def test_without_the_folder_all_that_reads_works(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    shutil.rmtree(copy / "ipvsnl" / "admin")
    reading = [path for path in sorted(TESTS.glob("test_*.py")) if not needs_admin(path) and path.name not in LEFT_OUT]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-k", f"not ({SLOW})"]
    done = subprocess.run(
        [*command, *[f"tests/{path.name}" for path in reading]],
        cwd=copy,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
