#!/usr/bin/env python3
"""The programs that the tests call, each with Debian's package of it.

`tests/programs.py unit kernel` prints the packages that are missing here for these two groups.
"""

from __future__ import annotations

import os
import shutil
import sys

# What the unit tests need, what the kernel tests need, and what boots a kernel for them.
PROGRAMS = {
    "unit": {
        "influxd": "influxdb",
        "prometheus-node-exporter": "prometheus-node-exporter",
        "promtool": "prometheus",
        "strace": "strace",
        "systemd-analyze": "systemd",
        "tcpdump": "tcpdump",
        "tshark": "tshark",
        "victoria-metrics": "victoria-metrics",
    },
    "kernel": {
        "ip": "iproute2",
        "ipvsadm": "ipvsadm",
        "modprobe": "kmod",
        "strace": "strace",
        "systemctl": "systemd",  # starts the example units
        "unshare": "util-linux",
    },
    "guest": {
        "busybox": "busybox-static",
        "file": "file",
        "qemu-system-x86_64": "qemu-system-x86",
    },
}


def missing(*groups: str) -> list[str]:
    """List the packages of these groups that are not installed."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"  # a user's PATH may lack them
    return sorted(
        {
            package
            for group in groups
            for program, package in PROGRAMS[group].items()
            if shutil.which(program, path=path) is None
        }
    )


if __name__ == "__main__":
    print(*missing(*sys.argv[1:]))
