"""The language of the project: short sentences, imperative first lines, words that say one thing."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

from ipvsnl.cli import LONG_OPTIONS

SOURCES = sorted(path for folder in ("ipvsnl", "examples", "bench") for path in ROOT.glob(f"{folder}/**/*.py"))
PROSE = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
GENERIC = ["attrs", "genl", "_fastpath", "transport", "netns", "errors"]  # _merge proves what holds for IPVS only
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
LONGEST = 28  # words in a sentence
FORBIDDEN = re.compile(
    r"\b(meanwhile|besides|nevertheless|anew|seldom|whoever|not\s+to\s+be\s+had|had\s+enough)\b", re.IGNORECASE
)
# A docstring that begins so describes a function, and does not say what to do.
DESCRIBES = re.compile(
    r"(the|an?|what|whether|how|which|where|when|that|this|it|as|one|all|each|every|[a-z]+:)\b", re.I
)

each_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def docstrings(path: Path) -> "Iterator[tuple[ast.AST, str]]":
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTIONS)):
            text = ast.get_docstring(node)
            if text is not None:
                yield node, text


def sentences(docstring: str) -> "list[str]":
    """The sentences of the running text: without tables, examples and other blocks that are indented."""
    found = []
    for paragraph in docstring.split("\n\n"):
        lines = [line for line in paragraph.split("\n") if not re.search(r"^\s|\S {2,}\S", line)]
        found += re.split(r"(?<=[.?!])\s+", " ".join(lines))
    return found


def comments(path: Path) -> str:
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text()).readline)
    return "\n".join(token.string for token in tokens if token.type == tokenize.COMMENT)


def test_the_sources_and_the_docs_are_found() -> None:
    names = {str(path.relative_to(ROOT)) for path in SOURCES + PROSE}
    assert {"ipvsnl/cli.py", "ipvsnl/formats/rules.py", "bench/codec.py", "README.md", "docs/library.md"} <= names


def test_blocks_and_tables_are_no_sentences() -> None:
    text = "Read it. And\nwrite it.\n\n    with Client() as client:\n\nname   a table\n       goes on\n"
    assert [each for each in sentences(text) if each] == ["Read it.", "And write it."]


@each_source
def test_the_first_line_of_a_docstring_is_a_sentence(path: Path) -> None:
    first = [(getattr(node, "name", "the module"), text.split("\n")[0]) for node, text in docstrings(path)]
    assert [(name, line) for name, line in first if not line.endswith(".")] == []


@each_source
def test_the_docstring_of_a_function_says_what_to_do(path: Path) -> None:
    functions = [(node.name, text) for node, text in docstrings(path) if isinstance(node, FUNCTIONS)]
    assert [(name, text.split("\n")[0]) for name, text in functions if DESCRIBES.match(text)] == []


@each_source
def test_the_sentences_of_docstrings_are_short(path: Path) -> None:
    found = [sentence for _, text in docstrings(path) for sentence in sentences(text)]
    assert [sentence for sentence in found if len(sentence.split()) > LONGEST] == []


@each_source
def test_docstrings_and_comments_have_no_forbidden_word(path: Path) -> None:
    text = "\n".join([*(text for _, text in docstrings(path)), comments(path)])
    assert [match.group() for match in FORBIDDEN.finditer(text)] == []


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_the_docs_have_no_forbidden_word(path: Path) -> None:
    assert [match.group() for match in FORBIDDEN.finditer(path.read_text())] == []


@pytest.mark.parametrize("name", GENERIC)
def test_the_generic_layer_names_neither_ipvs_nor_an_option(name: str) -> None:
    text = (ROOT / "ipvsnl" / f"{name}.py").read_text()
    if name == "errors":  # the class that all errors inherit from
        text = re.sub(r"\bIPVSError\b", "", text)
    options = "|".join([option.rstrip("=") for option in LONG_OPTIONS])
    names = re.compile(rf"ip_?vs|--({options})\b", re.IGNORECASE)
    assert [line for line in text.splitlines() if names.search(line)] == []


TESTS = sorted((ROOT / "tests").glob("**/*.py"))


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_test_names_have_at_most_70_characters(path: Path) -> None:
    names = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, FUNCTIONS)]
    assert [name for name in names if name.startswith("test_") and len(name) > 70] == []


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_file_imports_another(path: Path) -> None:
    """Shared code lives in helper modules."""
    modules = [node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    assert [module for module in modules if module and re.match(r"(.+\.)?test_", module)] == []
