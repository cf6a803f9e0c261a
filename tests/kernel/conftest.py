"""Where a kernel test runs: as root, in a network namespace of its own, on a kernel with IPVS.

`tests/kernel/run` starts these tests in virtual machines that have all that. Started by hand where something is
missing, they say so and are skipped; but in a virtual machine of ours that would hide a fault, so there they fail.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import linux
import pytest

IN_GUEST = "IPVSNL_GUEST" in os.environ


@pytest.fixture(scope="session", autouse=True)
def ipvs() -> None:
    if IN_GUEST:
        subprocess.run(["modprobe", "ip_vs"], check=True)
    elif os.geteuid() != 0:
        pytest.skip("needs root: tests/kernel/run boots a virtual machine where that is so")
    elif not Path("/proc/net/ip_vs").exists():
        pytest.skip("needs a kernel with IPVS: tests/kernel/run boots one in a virtual machine")


@pytest.fixture(autouse=True)
def namespace(ipvs: None) -> Iterator[None]:
    """Every test begins in a new network namespace, where IPVS has no service."""
    with linux.network_namespace():
        yield


@pytest.fixture
def disposable_kernel(ipvs: None) -> None:
    """For tests that unload modules: this machine's own kernel is not to be touched so."""
    if not IN_GUEST:
        pytest.skip("unloads ip_vs, which is done in virtual machines alone")
