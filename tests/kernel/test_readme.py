"""The lines with which README tries the running kernel work as typed, and so does the installed program as nobody."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from director import configure

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


def lines(info: str) -> str:
    (text,) = re.findall(rf"^```{info}\n(.*?)```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_lines_that_try_the_live_path_print_the_service(disposable_kernel: None) -> None:
    try:
        done = subprocess.run(
            ["sh", "-ec", lines("sh kernel")], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True
        )
    finally:
        subprocess.run(["ip", "netns", "delete", "trial"], check=True)
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    assert line.startswith("ipvs_virtual_server,address=10.0.0.1,address_family=inet,netmask=32,")
    assert ",port=80,protocol=tcp,sched=rr " in line


def test_the_installed_program_reads_with_the_one_capability(disposable_kernel: None) -> None:
    configure("-A -t 10.0.0.1:80 -s rr\n")
    subprocess.run(["sh", "-ec", lines("sh install")], cwd=ROOT, env=ENVIRONMENT, check=True, capture_output=True)
    page = (ROOT / "docs/command-line.md").read_text()
    (command,) = re.findall(r"^```sh root\n(setpriv.*?)```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(["sh", "-ec", command], cwd="/", env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ipvs_virtual_server,address=10.0.0.1,")
