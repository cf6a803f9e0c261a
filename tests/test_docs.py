"""The documentation works as typed: blocks of Python and shell run and print what follows them, and links resolve.

The info string of a shell block says where it runs. A bare `sh` runs here, from the clone; `sh kernel` and `sh install`
in a virtual machine (tests/kernel/test_readme.py); `sh tests` and `sh ci` in .ci/run. The others need what only a
director or the network has.
"""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import ROOT, cannot

import ipvsnl

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
ELSEWHERE = ["kernel", "install", "tests", "root", "docker", "atheris", "guest", "ci"]


class Block(NamedTuple):
    page: str
    line: int
    info: str
    text: str
    printed: str  # of the block ```text that follows


def blocks() -> "list[Block]":
    found: list[Block] = []
    for page in PAGES:
        text = page.read_text()
        for match in re.finditer(r"^```(\S.*)\n((?:.*\n)*?)```\n", text, re.MULTILINE):
            if match[1] == "text":
                found[-1] = found[-1]._replace(printed=match[2])
            else:
                line = text.count("\n", 0, match.start()) + 1
                found.append(Block(str(page.relative_to(ROOT)), line, match[1], match[2], ""))
    return found


def name(block: Block) -> str:
    return f"{block.page}:{block.line}"


def assert_printed(output: str, expected: str) -> None:
    """Compare whole lines; a line `...` stands for any number of lines."""
    pattern = "".join(r"(?:.*\n)*?" if line == "...\n" else re.escape(line) for line in expected.splitlines(True))
    assert re.fullmatch(pattern, output), output


@pytest.mark.parametrize("block", [each for each in blocks() if each.info == "python"], ids=name)
def test_a_python_block_runs_as_printed(block: Block) -> None:
    done = subprocess.run([sys.executable, "-c", block.text], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert not block.printed or done.stdout == block.printed


@pytest.mark.parametrize("block", [each for each in blocks() if each.info == "sh"], ids=name)
def test_a_shell_block_runs_as_typed(block: Block) -> None:
    if ".venv/" in block.text and not (ROOT / ".venv/bin/python").exists():
        cannot("./run-tests has made no .venv here")
    settings = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "TMPDIR")}
    done = subprocess.run(
        ["sh", "-ec", block.text], cwd=ROOT, env=settings, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    if block.printed:
        assert_printed(done.stdout, block.printed)


@pytest.mark.parametrize("info", ["toml", "ini"])
def test_what_the_docs_quote_is_in_the_example(info: str) -> None:
    example = (ROOT / "examples/telegraf.conf").read_text()
    (block,) = (each for each in blocks() if each.info == info)
    quoted = block.text if info == "toml" else "".join(f"#     {line}" for line in block.text.splitlines(True))
    assert quoted in example


def test_every_shell_block_has_a_place_to_run() -> None:
    infos = {block.info for block in blocks() if block.info.split()[0] == "sh"}
    assert infos == {"sh", *(f"sh {place}" for place in ELSEWHERE)}


def anchors(page: Path) -> "set[str]":
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_resolves(page: Path) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 160


def test_the_readme_lists_every_call() -> None:
    text = (ROOT / "README.md").read_text()
    methods = {name for name, value in vars(ipvsnl.Client).items() if inspect.isfunction(value) and name[0] != "_"}
    functions = {name for name in ipvsnl.__all__ if inspect.isfunction(getattr(ipvsnl, name))}
    assert set(re.findall(r"`client\.(\w+)\(", text)) | {"close", "fileno"} == methods
    assert set(re.findall(r"`ipvsnl\.([a-z_]+)\(", text)) == functions
    (arguments,) = re.findall(r"`Client\((.*?)\)`", text)
    assert re.findall(r"(\w+)=", arguments) == [*inspect.signature(ipvsnl.Client).parameters]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_has_no_line_over_120_columns_but_tables_and_output(page: Path) -> None:
    prose = re.sub(r"^```.*\n(?:.*\n)*?```\n", "", page.read_text(), flags=re.MULTILINE)
    assert [line for line in prose.splitlines() if len(line) > 120 and line[:1] != "|"] == []
