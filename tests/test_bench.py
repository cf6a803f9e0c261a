"""The benchmarks refuse what they cannot do in one sentence. That they run, tests/test_docs.py shows."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

SCRIPTS = ["apply.py", "codec.py", "dump.py", "fleet.py"]


def bench(*arguments: "str | Path", path: "str | Path" = "/usr/bin:/bin") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT / "bench", env={"PATH": str(path)}, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_explains_the_arguments(script: str) -> None:
    done = bench(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"bench/{script} [" in done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("wrong", ["x", "0", "-1", "", "nan", "--nonsense"])
def test_a_wrong_number_is_one_sentence_and_status_2(script: str, wrong: str) -> None:
    done = bench(script, wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{script}: ")
    assert done.stderr.count("\n") == 1


def test_a_dump_names_the_package_that_has_the_compiler(tmp_path: Path) -> None:
    for program in ("ipvsadm", "ip", "modprobe", "qemu-system-x86_64", "busybox", "file"):
        (tmp_path / program).touch(mode=0o755)
    done = bench("dump.py", path=tmp_path)
    message = "this needs Debian's gcc libc6-dev: run apt-get install gcc libc6-dev as root"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"dump.py: {message}\n")
