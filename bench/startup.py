#!/usr/bin/env python3
"""What it costs to start: whole processes against `python3 -c pass`, in pairs, and the modules that an import loads.

bench/startup.py [PAIRS]    of runs for each row of the table, by default 20
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BARE = ["-c", "pass"]
ROWS = {
    "replay of a small capture": ["-m", "ipvsnl", "--replay", "tests/fixtures/linux-6.1/stats.pcap"],
    "import ipvsnl": ["-c", "import ipvsnl"],
    "import dataclasses, socket, struct": ["-c", "import dataclasses, socket, struct"],
    "import pyroute2": ["-c", "import pyroute2"],
}


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    print(f"Python {sys.version.split()[0]}, wall time against python3 -c pass, median of {pairs} pairs of runs")
    for name, arguments in ROWS.items():
        if run(arguments) is None:
            print(f"{name:36}not installed")
            continue
        times = [(run(arguments) or 0, run(BARE) or 1) for _ in range(pairs)]
        ratio = statistics.median(ours / bare for ours, bare in times)
        print(f"{name:36}{ratio:5.2f}   {statistics.median(ours for ours, _ in times) * 1e3:6.1f} ms")


def run(arguments: "list[str]") -> "float | None":
    """Seconds that the process took, None if it failed."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True)
    return time.perf_counter() - started if done.returncode == 0 else None


if __name__ == "__main__":
    main()
