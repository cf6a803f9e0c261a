#!/usr/bin/env python3
"""Measure the start of the program: milliseconds of whole processes, without the variables of this environment.

bench/startup.py [RUNS]    of each row, by default 40, of the Python that runs this
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROWS = {
    "python3 -c pass": ["-c", "pass"],
    "replay of a small capture": ["-m", "ipvsnl", "--replay", "tests/fixtures/linux-6.1/stats.pcap"],
    "import ipvsnl": ["-c", "import ipvsnl"],
    "import dataclasses, socket, struct": ["-c", "import dataclasses, socket, struct"],
    "import pyroute2": ["-c", "import pyroute2"],
}


def main(arguments: "list[str]") -> int:
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    runs = (arguments or ["40"])[0]
    if len(arguments) > 1 or not (runs.isascii() and runs.isdecimal() and int(runs)):
        print("usage: bench/startup.py [RUNS], a number above 0", file=sys.stderr)
        return 2
    names = [name for name in ROWS if milliseconds(name) is not None]  # this run also fills the caches
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(int(runs)):  # in turn, so that another load of the machine meets every row
        for name in names:
            times[name].append(milliseconds(name) or 0)
    print(f"Python {sys.version.split()[0]}, median of {runs} runs")
    for name in ROWS:
        print(f"{name:36}" + (f"{statistics.median(times[name]):6.1f} ms" if name in times else "not installed"))
    return 0


def milliseconds(row: str) -> "float | None":
    """Time a process, None if it fails."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, *ROWS[row]], cwd=ROOT, env={}, capture_output=True)
    return (time.perf_counter() - begin) * 1e3 if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
