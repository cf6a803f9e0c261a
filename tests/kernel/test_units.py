"""The example units, started by a real systemd on a kernel with IPVS: the privilege that they leave is enough.

systemd is the first process of a new PID namespace here, as in a container, and starts only what these units need.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from director import VIP, configure

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD, PYTHON = Path("/lib/systemd/systemd"), Path("/usr/bin/python3")
UNITS = Path("/run/systemd/system")
TEXTFILE = Path("/var/lib/prometheus/node-exporter/ipvs.prom")
UNNEEDED = ["binfmt", "journald", "journal-flush", "sysusers", "tmpfiles-setup", "tmpfiles-setup-dev", "udevd"]

TRIAL = """\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
StandardOutput=append:{folder}/said
StandardError=append:{folder}/said
ExecStart=/bin/sh {folder}/trial
"""


@pytest.fixture
def systemd(disposable_kernel: None, tmp_path: Path) -> Path:
    """A folder for what systemd is to do (`trial`) and what that says (`said`). The machine has got the user and the
    program that the units name."""
    with open("/etc/passwd", "a") as users, open("/etc/group", "a") as groups:
        users.write("prometheus:x:990:990::/var/lib/prometheus:/usr/sbin/nologin\n")
        groups.write("prometheus:x:990:\n")
    subprocess.run([PYTHON, ROOT / "install"], check=True)
    UNITS.mkdir(parents=True, exist_ok=True)
    for unit in (ROOT / "examples").glob("ipvsnl-textfile.*"):
        shutil.copy(unit, UNITS)
    (UNITS / "ipvsnl-textfile.service.d").mkdir(exist_ok=True)
    patience = "[Service]\nTimeoutStartSec=200\n"  # an emulated machine is no measure of what the unit allows
    (UNITS / "ipvsnl-textfile.service.d" / "patience.conf").write_text(patience)
    for name in UNNEEDED:
        (UNITS / f"systemd-{name}.service").symlink_to("/dev/null")
    (UNITS / "trial.service").write_text(TRIAL.format(folder=tmp_path))
    return tmp_path


def test_the_timer_starts_the_service_which_writes_the_file_unprivileged(systemd: Path) -> None:
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r 192.0.2.1:80 -m -w 7\n")
    (systemd / "trial").write_text(
        "systemctl start ipvsnl-textfile.service; systemctl is-failed ipvsnl-textfile.service\n"
        f"stat -c '%U %a' {TEXTFILE}; mv {TEXTFILE} {systemd}/first; systemctl start ipvsnl-textfile.timer\n"
        f"for i in $(seq 60); do [ -e {TEXTFILE} ] && break; sleep 1; done\n"
        f"cp {TEXTFILE} {systemd}/second; systemctl poweroff --force --force\n"
    )
    enter = ["unshare", "--fork", "--pid", "--mount", "--mount-proc", "env", "container=other"]
    start = [str(SYSTEMD), "--system", "--unit=trial.service", "--log-target=kmsg", "--show-status=no"]
    subprocess.run([*enter, *start], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=300)
    said = (systemd / "said").read_text()
    assert said.splitlines()[:2] == ["inactive", "prometheus 644"], said
    for name in ("first", "second"):
        text = (systemd / name).read_text()
        assert f'virtual_address="{VIP}",virtual_port="80",virtual_protocol="tcp"}} 7\n' in text
        assert 'ipvs_info{version="1.2.1"} 1\n' in text
