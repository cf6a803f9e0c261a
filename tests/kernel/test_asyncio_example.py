"""examples/asyncio_services.py on a real kernel: it prints each service."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from director import configure

ROOT = Path(__file__).resolve().parents[2]


def test_each_service_is_a_line_also_of_a_list_over_several_datagrams() -> None:
    configure("".join(f"-A -t 10.0.0.1:{port} -s rr\n" for port in range(1, 301)))
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples/asyncio_services.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(f"tcp 10.0.0.1 {port} None 0" for port in range(1, 301))
