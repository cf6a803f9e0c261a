"""Other network namespaces, on this machine's own kernel: to enter one takes root, but no IPVS.

The kernel says to which namespace a socket belongs (SIOCGSKNS, since Linux 4.9). What IPVS says in each of two is in
tests/kernel/test_namespaces.py.
"""

import errno
import fcntl
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import netlink
import pytest
from conftest import as_nobody, run, run_python

from ipvsnl import Client, NetlinkError, netns
from ipvsnl.cli import main
from ipvsnl.genl import Connection
from ipvsnl.transport import NetlinkSocket

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="network namespaces are a part of Linux")
needs_root = pytest.mark.skipif(sys.platform.startswith("linux") and os.geteuid() != 0, reason="needs root")

SIOCGSKNS = 0x894C
HERE = "/proc/thread-self/ns/net"


@pytest.fixture
def there() -> Iterator[str]:
    """The path of another network namespace, for as long as a process lives in it."""
    with subprocess.Popen(["unshare", "--net", "sleep", "60"]) as process:
        path = f"/proc/{process.pid}/ns/net"
        while os.stat(path).st_ino == os.stat(HERE).st_ino:
            assert process.poll() is None
            time.sleep(0.01)
        yield path
        process.kill()


def namespace_of(transport: NetlinkSocket) -> int:
    """The inode of the namespace to which a socket belongs, which is the namespace's identity."""
    file = fcntl.ioctl(transport.fileno(), SIOCGSKNS)
    try:
        return os.stat(file).st_ino
    finally:
        os.close(file)


@pytest.fixture
def stays_at_home() -> Iterator[None]:
    before = os.stat(HERE).st_ino
    yield
    assert os.stat(HERE).st_ino == before


@needs_root
def test_a_socket_belongs_to_the_namespace_of_the_path(there: str, stays_at_home: None) -> None:
    transport = NetlinkSocket(netns=there)
    assert namespace_of(transport) == os.stat(there).st_ino != os.stat(HERE).st_ino
    transport.close()


@needs_root
def test_a_name_is_one_of_ip_netns(there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert netns.NAMES == "/run/netns"
    monkeypatch.setattr(netns, "NAMES", str(tmp_path))
    (tmp_path / "blue").symlink_to(there)
    transport = NetlinkSocket(netns="blue")
    assert namespace_of(transport) == os.stat(there).st_ino
    transport.close()


@needs_root
def test_a_socket_in_another_namespace_talks_to_the_kernel(there: str) -> None:
    transport = NetlinkSocket(netns=there)
    assert "nlctrl" in [family.name for family in Connection(transport).families()]
    transport.close()


@needs_root
def test_a_client_opens_its_socket_there(there: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def open_socket(*arguments: int) -> netlink.FakeSocket:
        opened.append(os.stat(HERE).st_ino)
        return netlink.FakeSocket(netlink.IPVSKernel([(netlink.service(), [])]))

    monkeypatch.setattr("socket.socket", open_socket)
    with Client(netns=there) as client:
        assert len(client.services()) == 1
    assert main(["--netns", there]) == main(["--netns", there, "--record", "/dev/null"]) == 0
    assert opened == [os.stat(there).st_ino] * 5  # the command line has one more for real servers


@needs_root
def test_an_error_there_is_the_callers(there: str, stays_at_home: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: int) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("socket.socket", refuse)
    with pytest.raises(NetlinkError, match="opening a generic netlink socket: Too many open files"):
        NetlinkSocket(netns=there)


@pytest.mark.parametrize(
    "name, number, todo",
    [
        ("no-such-name", errno.ENOENT, "ip netns"),
        ("/no/such/path", errno.ENOENT, "slash"),
        pytest.param("/proc/self/ns/uts", errno.EINVAL, "no network namespace", marks=needs_root),
        pytest.param(__file__, errno.EINVAL, "no network namespace", marks=needs_root),
        pytest.param("", errno.EINVAL, "name of ip netns", marks=needs_root),
    ],
)
def test_what_is_no_namespace_is_a_netlink_error(
    name: str, number: int, todo: str, stays_at_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(netns, "NAMES", str(tmp_path))
    with pytest.raises(NetlinkError, match=todo) as caught:
        Client(netns=name)
    assert caught.value.errno == number
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@needs_root
def test_a_fifo_does_not_make_it_wait(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(NetlinkError, match="no network namespace"):
        NetlinkSocket(netns=str(tmp_path / "fifo"))


def test_without_privilege_it_names_the_capability() -> None:
    code = """
try:
    ipvsnl.Client(netns="/proc/self/ns/net")
except ipvsnl.PermissionDeniedError as error:
    print(error)
"""
    assert "CAP_SYS_ADMIN" in as_nobody(code)


def test_where_there_may_be_no_more_threads_that_is_a_netlink_error() -> None:
    code = """
resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
try:
    ipvsnl.Client(netns="/proc/self/ns/net")
except ipvsnl.NetlinkError as error:
    print(error)
"""
    said = as_nobody(code)
    assert "starting a thread" in said and "EAGAIN" in said


def test_a_python_that_cannot_says_how_to_do_without(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "setns", raising=False)
    monkeypatch.setitem(sys.modules, "ctypes", None)
    monkeypatch.setattr(netns, "NAMES", str(tmp_path))
    (tmp_path / "blue").touch()
    with pytest.raises(NetlinkError, match=f"nsenter --net={tmp_path}/blue") as caught:
        NetlinkSocket(netns="blue")
    assert caught.value.errno == errno.ENOSYS


def test_without_a_namespace_neither_ctypes_nor_threads_are_imported() -> None:
    code = "import sys, ipvsnl.cli, ipvsnl.transport; ipvsnl.transport.NetlinkSocket(); print(*sys.modules)"
    assert not {"ctypes", "threading"} & set(run_python(code).split())


def test_the_command_line_says_it_in_one_line() -> None:
    done = run("--netns", "no-such-name")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("ipvsnl: entering the network namespace no-such-name: No such file")
    assert done.stderr.count("\n") == 1
