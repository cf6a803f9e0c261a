"""The module ip_vs: whoever only looks does not load it, and --load-module does."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import linux
import pytest
from director import KERNEL, VIP, configure, eventually, ipvsnl
from linux import run

from ipvsnl import Client, IPVSError, NotAvailableError, dump

# Before Linux 5.15 the module does not say which family it has (MODULE_ALIAS_GENL_FAMILY() in ip_vs_ctl.c), so the
# kernel does not know what to load: there modprobe alone helps.
LOADED_BY_NAME = {"ip_vs"} if KERNEL >= (5, 15) else set()

LOADER = Path("/proc/sys/kernel/modprobe")  # the program that the kernel has load modules


def loaded() -> set[str]:
    """The modules of IPVS that are."""
    names = {line.split()[0] for line in Path("/proc/modules").read_text().splitlines()}
    return {name for name in names if name.startswith("ip_vs")}


@pytest.fixture(autouse=True)
def without_module(disposable_kernel: None, namespace: None) -> Iterator[None]:
    """Without any module of IPVS, and with it again for the tests that follow."""

    def unloaded() -> bool:
        for name in loaded():  # a scheduler before ip_vs; and namespaces take their time to give their services up
            subprocess.run(["modprobe", "--remove", name], stderr=subprocess.DEVNULL)
        return not loaded()

    eventually(unloaded)
    yield
    run("modprobe", "ip_vs")


def test_the_command_line_says_so_and_leaves_it_unloaded() -> None:
    status, out, err = ipvsnl()
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert "modprobe ip_vs" in err
    assert "--load-module" in err
    assert loaded() == set()


def test_as_a_program_too() -> None:
    done = subprocess.run([sys.executable, "-m", "ipvsnl", "-f", "json"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (3, "", 1)
    assert loaded() == set()


def test_the_library_says_so_and_leaves_it_unloaded() -> None:
    with pytest.raises(NotAvailableError):
        dump()
    assert loaded() == set()


def test_load_module_loads_it() -> None:
    status, out, err = ipvsnl("--load-module")
    assert loaded() == LOADED_BY_NAME
    assert (status, out, err.count("\n")) == ((0, "", 0) if LOADED_BY_NAME else (3, "", 1))


def test_the_library_loads_it_when_asked_to() -> None:
    with contextlib.nullcontext() if LOADED_BY_NAME else pytest.raises(NotAvailableError):
        Client(load_module=True).close()
    assert loaded() == LOADED_BY_NAME


def test_load_module_does_no_harm_where_it_is_loaded() -> None:
    configure(f"-A -t {VIP}:80 -s rr\n")
    status, out, err = ipvsnl("--load-module")
    assert (status, out.count("\n"), err) == (0, 1, "")


def test_a_module_that_cannot_be_loaded_is_not_available() -> None:
    loader = LOADER.read_text()
    LOADER.write_text("/bin/false")
    try:
        status, out, err = ipvsnl("--load-module")
    finally:
        LOADER.write_text(loader)
    assert (status, out, err.count("\n")) == (3, "", 1)
    assert loaded() == set()


def test_asking_by_name_loads_it_even_for_nobody() -> None:
    """Why a client lists all families instead, unless it is told to."""

    def ask() -> None:
        linux.become_nobody()
        with contextlib.suppress(NotAvailableError):
            Client(load_module=True).close()

    linux.in_child(ask)
    assert loaded() == LOADED_BY_NAME


def test_a_client_whose_module_went_says_that_something_is_amiss() -> None:
    run("modprobe", "ip_vs")
    with Client() as client:
        run("modprobe", "--remove", "ip_vs")
        with pytest.raises(IPVSError):
            client.services()
    assert loaded() == set()
