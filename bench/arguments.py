"""Read the numbers that a benchmark takes from its command line."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Describe a benchmark by its docstring. A wrong argument is one sentence and status 2."""

    def __init__(self, description: "str | None") -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def count(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number
