"""ipvsnl.admin on a real kernel: what ipvsadm prints after each call, and the errors that the kernel answers."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import linux
import pytest
import writes
from director import REAL, VIP, configure, eventually, set_up_addresses, set_up_void, talk
from linux import CAP_NET_ADMIN, become_nobody, enter_user_namespace, in_child, run
from writes import ABSENT, GUE, LIMITED, MARK, MARK6, MASQ, OTHER, SIP, SIX, WEB

from ipvsnl import (
    AlreadyExistsError,
    Client,
    Daemon,
    NetlinkError,
    NotAvailableError,
    NotFoundError,
    PermissionDeniedError,
    ServiceFlags,
)
from ipvsnl.admin import Admin, ApplyError, Change, DestinationConfig, Drain, ServiceConfig, parse_rules, plan
from ipvsnl.formats import Report, rules
from ipvsnl.transport import NetlinkSocket

S = "-t 10.0.0.1:80"


@pytest.fixture
def admin() -> Iterator[Admin]:
    with Admin() as admin:
        yield admin


def saved() -> str:
    return run("ipvsadm", "-Sn")


def ours(client: Client) -> str:
    return "".join(rules.render(Report(client.dump(), 0)))


def with_dest(dest: DestinationConfig) -> str:
    """What ipvsadm saves of WEB with this real server."""
    with Admin() as admin:
        admin.flush()
        admin.add_service(WEB)
        admin.add_dest(WEB, dest)
    return saved()


def refused(action: Callable[[], Any], number: int, kind: type[NetlinkError] = NetlinkError) -> NetlinkError:
    """The error with which the kernel refuses this, and changes nothing."""
    before = saved()
    with pytest.raises(kind) as caught:
        action()
    assert caught.value.errno == number
    assert saved() == before
    return caught.value


def test_each_write_has_the_outcome_of_the_scenario(admin: Admin) -> None:
    for name, step in writes.STEPS.items():
        if not step.errno:
            step.action(admin)
            continue
        error = refused(lambda action=step.action: action(admin), step.errno)  # type: ignore[misc]
        assert (name, getattr(error, "what", None)) == (name, step.what)
    assert ours(admin) == writes.RULES
    assert run("ipvsadm", "-Ln", "--timeout") == "Timeout (tcp tcpfin udp): 900 60 30\n"


def test_a_service_is_added_once(admin: Admin) -> None:
    admin.add_service(WEB)
    assert saved() == f"-A {S} -s rr\n"
    refused(lambda: admin.add_service(WEB), errno.EEXIST, AlreadyExistsError)


@pytest.mark.parametrize(
    "service, line",
    [
        (
            replace(WEB, scheduler="sh", flags=ServiceFlags(1 | 8 | 16), timeout=360, netmask=24),
            f"-A {S} -s sh -p 360 -M 255.255.255.0 -b sh-fallback,sh-port",
        ),
        (SIP, "-A -u 10.0.0.1:5060 -s rr -p 60 --pe sip"),
        (SIX, "-A -t [2001:db8::1]:80 -s rr -p 60 -M 64"),
        (MARK, "-A -f 1 -s rr"),
        (MARK6, "-A -f 1 -6 -s rr"),
        (replace(WEB, scheduler="none"), f"-A {S} -s none"),
        (replace(WEB, protocol="sctp"), "-A --sctp-service 10.0.0.1:80 -s rr"),
        (replace(WEB, flags=ServiceFlags.ONEPACKET), f"-A {S} -s rr -o"),
    ],
)
def test_the_settings_of_a_service(admin: Admin, service: ServiceConfig, line: str) -> None:
    admin.add_service(service)
    assert saved() == f"{line}\n"
    admin.delete_service(service)
    assert saved() == ""


def test_an_unknown_scheduler_is_named(admin: Admin) -> None:
    error = refused(lambda: admin.add_service(replace(WEB, scheduler="nosuch")), errno.ENOENT, NotFoundError)
    assert "ip_vs_nosuch" in str(error)


def test_an_edit_keeps_the_engine(admin: Admin) -> None:
    admin.add_service(SIP)
    admin.edit_service(replace(admin.services()[0], timeout=90))
    assert saved() == "-A -u 10.0.0.1:5060 -s rr -p 90 --pe sip\n"


def test_an_edit_of_what_was_read_changes_nothing(admin: Admin) -> None:
    admin.add_service(replace(WEB, flags=ServiceFlags(1 | 8), timeout=300))
    (before,) = admin.services()
    assert before.flags & ServiceFlags.HASHED
    line = saved()
    admin.edit_service(before)
    assert (saved(), admin.services()) == (line, [before])


def test_an_absent_service_is_not_found(admin: Admin) -> None:
    for action in (admin.edit_service, admin.delete_service, admin.zero):
        assert refused(lambda action=action: action(ABSENT), errno.ESRCH, NotFoundError).what == "service"  # type: ignore[attr-defined, misc]


@pytest.mark.parametrize(
    "dest, words",
    [
        (MASQ, "-r 192.0.2.1:80 -m -w 1"),
        (replace(MASQ, forwarding="local"), "-r 192.0.2.1:80 -g -w 1"),
        (replace(MASQ, forwarding="direct"), "-r 192.0.2.1:80 -g -w 1"),
        (replace(MASQ, forwarding="tunnel"), "-r 192.0.2.1:80 -i -w 1 --tun-type ipip"),
        (GUE, "-r 192.0.2.2:80 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum"),
        (
            replace(MASQ, forwarding="tunnel", tunnel_type="gre"),
            "-r 192.0.2.1:80 -i -w 1 --tun-type gre --tun-nocsum",
        ),
        (OTHER, "-r [2001:db8::5]:80 -i -w 1 --tun-type ipip"),
    ],
)
def test_a_real_server(dest: DestinationConfig, words: str) -> None:
    assert with_dest(dest) == f"-A {S} -s rr\n-a {S} {words}\n"


def test_an_edit_of_the_weight_resets_nothing(admin: Admin) -> None:
    admin.add_service(WEB)
    for dest in (GUE, LIMITED, OTHER):
        admin.add_dest(WEB, dest)
    for dest in admin.dests(WEB.key):
        admin.edit_dest(WEB, replace(dest, weight=7))
    assert "-r 192.0.2.2:80 -i -w 7 --tun-type gue --tun-port 6080 --tun-csum" in saved()
    assert "-r [2001:db8::5]:80 -i -w 7 --tun-type ipip" in saved()
    (limits,) = [line for line in run("ipvsadm", "-Ln", "--thresholds").splitlines() if "192.0.2.3" in line]
    assert limits.split()[2:4] == ["100", "50"]
    admin.delete_dest(WEB, OTHER)
    assert "2001" not in saved()


def test_addresses_that_no_real_server_has(admin: Admin) -> None:
    """Where the library does not see it, the kernel does, and the error names the address."""
    admin.add_service(replace(SIX, flags=ServiceFlags(0)))
    error = refused(
        lambda: admin.add_dest(SIX, DestinationConfig("fe80::1", 80, forwarding="masquerade")), errno.EINVAL
    )
    assert "address" in str(error)


def test_without_any_address_the_error_mentions_lo(admin: Admin) -> None:
    linux._check(linux._libc.unshare(linux.CLONE_NEWNET))
    with Admin() as inside:
        inside.add_service(WEB)
        error = refused(lambda: inside.add_dest(WEB, MASQ), errno.EINVAL)
        assert "ip link set lo up" in str(error)
        run("ip", "link", "set", "lo", "up")
        inside.add_dest(WEB, MASQ)


def test_zero(admin: Admin) -> None:
    set_up_addresses()
    configure(f"-A -t {VIP}:80 -s rr\n-a -t {VIP}:80 -r {REAL}:80 -m\n")
    talk("tcp", (VIP, 80), (REAL, 80)).close()
    eventually(lambda: admin.services()[0].stats.connections == 1)
    rules_before = saved()
    admin.zero(admin.services()[0])
    (service,) = admin.services()
    assert (service.stats.connections, admin.dests(service)[0].stats.connections) == (0, 0)
    talk("tcp", (VIP, 80), (REAL, 80)).close()
    eventually(lambda: admin.services()[0].stats.connections == 1)
    admin.zero()
    assert admin.services()[0].stats.connections == 0
    assert saved() == rules_before


def test_timeouts(admin: Admin) -> None:
    admin.set_timeouts(udp=30)
    assert run("ipvsadm", "-Ln", "--timeout") == "Timeout (tcp tcpfin udp): 900 120 30\n"
    with pytest.raises(ValueError, match="tcp"):
        admin.set_timeouts(tcp=8_589_935, udp=31)
    assert run("ipvsadm", "-Ln", "--timeout") == "Timeout (tcp tcpfin udp): 900 120 30\n"
    admin.set_timeouts(tcp=2_147_483)
    assert run("ipvsadm", "-Ln", "--timeout") == "Timeout (tcp tcpfin udp): 2147483 120 30\n"


def daemons() -> str:
    return run("ipvsadm", "-Ln", "--daemon")


def test_a_daemon_with_the_kernels_own_settings(admin: Admin) -> None:
    master = Daemon("master", "lo", 7, None, None, None, None)
    admin.start_daemon(master)
    assert daemons() == "master sync daemon (mcast=lo, syncid=7, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
    refused(lambda: admin.start_daemon(master), errno.EEXIST, AlreadyExistsError)
    admin.stop_daemon("master")
    assert daemons() == ""
    assert refused(lambda: admin.stop_daemon("master"), errno.ESRCH, NotFoundError).what == "daemon"  # type: ignore[attr-defined]
    nosuch = replace(master, mcast_ifn="nosuch0")
    assert "nosuch0" in str(refused(lambda: admin.start_daemon(nosuch), errno.ENODEV))


def test_a_daemon_with_settings_of_its_own(admin: Admin) -> None:
    set_up_void()
    admin.start_daemon(Daemon("master", "void", 9, 1000, "224.0.0.99", 9000, 5))
    assert daemons() == "master sync daemon (mcast=void, syncid=9, maxlen=1000, group=224.0.0.99, port=9000, ttl=5)\n"
    admin.stop_daemon("master")
    admin.start_daemon(Daemon("master", "void", 9, None, "ff05::1", None, None))
    assert "maxlen=1452, group=ff05::1" in daemons()


def test_a_daemon_and_mixed_families_exclude_each_other(admin: Admin) -> None:
    master = Daemon("master", "lo", 7, None, None, None, None)
    admin.add_service(WEB)
    admin.add_dest(WEB, OTHER)
    assert "address family" in str(refused(lambda: admin.start_daemon(master), errno.EINVAL))
    admin.delete_dest(WEB, OTHER)
    admin.start_daemon(master)
    assert "daemon" in str(refused(lambda: admin.add_dest(WEB, OTHER), errno.EINVAL))


def test_an_interface_that_is_down(admin: Admin) -> None:
    run("ip", "link", "add", "d1", "type", "dummy")
    down = replace(writes.MASTER, mcast_ifn="d1")
    assert "d1 is down" in str(refused(lambda: admin.start_daemon(down), errno.ENETUNREACH))
    run("ip", "link", "set", "d1", "up")
    admin.start_daemon(down)  # an address is not necessary
    assert "mcast=d1" in daemons()


def test_flush_leaves_other_namespaces_alone(admin: Admin) -> None:
    admin.add_service(WEB)
    with linux.network_namespace(), Admin() as other:
        other.add_service(MARK)
        other.flush()
        assert saved() == ""
    assert saved() == f"-A {S} -s rr\n"
    admin.flush()
    admin.flush()
    assert saved() == ""


def dests(count: int) -> list[DestinationConfig]:
    return [
        DestinationConfig(f"10.{9 + (number >> 16)}.{number >> 8 & 255}.{number & 255}", 80, forwarding="masquerade")
        for number in range(1, count + 1)
    ]


class Counting(NetlinkSocket):
    """Counts the datagrams that are sent."""

    sent = 0

    def send(self, request: bytes) -> None:
        self.sent += 1
        super().send(request)


@pytest.mark.parametrize("bad", [[0], [124], [249], range(1000)], ids=["first", "middle", "last", "all"])
def test_a_batch_reports_exactly_what_failed(admin: Admin, bad: Any) -> None:
    admin.add_service(WEB)
    changes = [Change("add", WEB, dest) for dest in dests(max(250, len(bad)))]
    for number in bad:
        changes[number] = Change("edit", WEB, changes[number].dest)
    with pytest.raises(ApplyError) as caught:
        admin.apply(changes)
    assert [change for change, _ in caught.value.failed] == [changes[number] for number in bad]
    assert {error.errno for _, error in caught.value.failed} == {errno.ENOENT}  # type: ignore[attr-defined]
    assert (len(caught.value.done), caught.value.unknown) == (len(changes) - len(bad), [])
    assert len(admin.dests(WEB.key)) == len(changes) - len(bad)


def test_a_small_change_is_one_datagram() -> None:
    transport = Counting()
    with Admin(transport=transport) as admin:
        desired = [(WEB, dests(1000))]
        admin.apply(plan(admin.dump(), desired))
        assert plan(admin.dump(), desired) == []
        desired[0][1][500] = replace(desired[0][1][500], weight=9)
        changes = plan(admin.dump(), desired)
        assert [str(change)[:2] for change in changes] == ["-e"]
        before = transport.sent
        admin.apply(changes)
        assert transport.sent == before + 1
        assert plan(admin.dump(), desired) == []


def test_services_of_others_are_left_alone(admin: Admin) -> None:
    theirs = "-A -t 10.9.9.9:99 -s wrr -p 77\n-a -t 10.9.9.9:99 -r 192.0.2.77:99 -m -w 3\n"
    configure(theirs)
    admin.apply(plan(admin.dump(), [(WEB, [MASQ])]))
    admin.apply(plan(admin.dump(), []))
    assert theirs in saved()
    admin.apply(plan(admin.dump(), [(WEB, [MASQ])], prune=True))
    assert saved() == f"-A {S} -s rr\n-a {S} -r 192.0.2.1:80 -m -w 1\n"


@pytest.mark.parametrize("seed", range(12))
def test_plans_of_random_configurations(admin: Admin, seed: int) -> None:
    chance = random.Random(seed)

    def configuration() -> list[tuple[ServiceConfig, list[DestinationConfig]]]:
        keys = chance.sample(range(8), chance.randrange(8))
        return [
            (
                ServiceConfig(
                    *(("tcp", "10.0.0.1", key) if key < 6 else (None, None, None)),
                    fwmark=None if key < 6 else key,
                    scheduler=chance.choice(["rr", "wlc", "mh", "sh", "none"]),
                    flags=chance.choice([0, 1, 4, 9]),
                    timeout=chance.choice([0, 60, 300]),
                    netmask=chance.choice([None, 24]),
                    persistence_engine=chance.choice([None, "sip"]) if key < 6 else None,
                ),
                [
                    DestinationConfig(
                        f"192.0.2.{number}",
                        80,
                        forwarding=chance.choice(["masquerade", "direct", "tunnel", "local"]),
                        weight=chance.randrange(3),
                        upper_threshold=chance.choice([0, 100]),
                        tunnel_type=chance.choice(["ipip", "gre"]),
                        tunnel_flags=chance.choice([0, 1]),
                    )
                    for number in chance.sample(range(1, 9), chance.randrange(8))
                ],
            )
            for key in keys
        ]

    for _ in range(3):
        desired = configuration()
        admin.apply(plan(admin.dump(), desired, prune=True))
        assert plan(admin.dump(), desired, prune=True) == []


def test_rules_are_restored_byte_for_byte(admin: Admin) -> None:
    configure(
        writes.RULES.replace(" -x 100 -y 50", "")
        + "-A -u 10.0.0.9:0 -s mh -p 77 -o -b mh-port\n-a -u 10.0.0.9:0 -r 192.0.2.9:0 -m -w 65535\n"
        + "-A --sctp-service 10.0.0.9:99 -s lblcr\n-a --sctp-service 10.0.0.9:99 -r 192.0.2.9:99 -i -w 0 "
        + "--tun-type gre --tun-csum\n"
    )
    text = saved()
    admin.flush()
    admin.apply(plan(admin.dump(), parse_rules(text)))
    assert saved() == text


def test_our_rules_keep_thresholds_and_ipvsadm_reads_them(admin: Admin) -> None:
    admin.apply(plan([], [(WEB, [LIMITED])]))
    text = ours(admin)
    admin.flush()
    admin.apply(plan([], parse_rules(text)))
    assert (ours(admin), admin.dests(WEB.key)[0].upper_threshold) == (text, 100)
    admin.flush()
    configure(text)
    assert (ours(admin), admin.dests(WEB.key)[0].upper_threshold) == (text, 100)


def test_an_interrupted_apply_is_finished_by_the_same_apply(admin: Admin) -> None:
    changes = plan([], [(replace(WEB, scheduler="mh"), dests(3000))])

    class Interrupted(Exception):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for delay in (0.01, 0.03, 0.1):
            signal.setitimer(signal.ITIMER_REAL, delay)
            with contextlib.suppress(Interrupted):
                try:
                    admin.apply(changes)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            done = len(admin.dests(WEB.key)) + len(admin.services())
            assert done in (*range(0, 3001, 100), 3001)
    finally:
        signal.signal(signal.SIGALRM, before)
    admin.apply(changes)
    assert len(admin.dests(WEB.key)) == 3000
    assert plan(admin.dump(), [(replace(WEB, scheduler="mh"), dests(3000))]) == []


def test_the_capability_alone_is_enough() -> None:
    def write() -> None:
        become_nobody(CAP_NET_ADMIN)
        with Admin() as admin:
            admin.add_service(WEB)
            admin.apply([Change("add", WEB, MASQ)])

    in_child(write)
    assert saved() == f"-A {S} -s rr\n-a {S} -r 192.0.2.1:80 -m -w 1\n"


@pytest.mark.parametrize(
    "lose", [become_nobody, lambda: enter_user_namespace(and_network=False)], ids=["nobody", "root of a user namespace"]
)
def test_without_the_capability_nothing_is_written(lose: Callable[[], None]) -> None:
    configure(f"-A {S} -s rr\n")

    def write() -> None:
        lose()
        with Admin() as admin:
            for action in (admin.flush, admin.zero, lambda: admin.delete_service(WEB), lambda: admin.add_service(MARK)):
                with pytest.raises(PermissionDeniedError):
                    action()
            with pytest.raises(ApplyError) as caught:
                admin.apply([Change("delete", WEB)])
            assert isinstance(caught.value.failed[0][1], PermissionDeniedError)

    in_child(write)
    assert saved() == f"-A {S} -s rr\n"


def test_a_module_that_was_removed_is_not_available(disposable_kernel: None) -> None:
    with Admin() as admin:
        admin.add_service(WEB)
        admin.flush()

        def removed() -> bool:
            for name in Path("/proc/modules").read_text().split("\n"):
                if name.startswith("ip_vs"):
                    subprocess.run(["modprobe", "--remove", name.split()[0]], stderr=subprocess.DEVNULL)
            return "\nip_vs" not in "\n" + Path("/proc/modules").read_text()

        eventually(removed)
        try:
            for action in (
                lambda: admin.delete_dest(WEB, MASQ),
                lambda: admin.add_service(WEB),
                lambda: admin.apply([Change("delete", WEB, MASQ)]),
            ):
                with pytest.raises(NotAvailableError):
                    action()
        finally:
            run("modprobe", "ip_vs")
        admin.add_service(WEB)  # it goes on once the module is back
        assert saved() == f"-A {S} -s rr\n"


def test_draining_keeps_connections_until_they_close(admin: Admin) -> None:
    set_up_addresses()
    run("ip", "address", "add", "10.99.1.2/24", "dev", "lo")
    servers = {address: socket.create_server((address, 80)) for address in (REAL, "10.99.1.2")}
    service = ServiceConfig("tcp", VIP, 80, scheduler="rr")
    pool = [DestinationConfig(address, 80, forwarding="masquerade") for address in servers]
    desired = [(service, pool)]
    admin.apply(plan([], desired))

    def connect() -> tuple[socket.socket, socket.socket, str]:
        client = socket.create_connection((VIP, 80), timeout=10)
        for address, listener in servers.items():
            listener.settimeout(0.2)
            with contextlib.suppress(TimeoutError, socket.timeout):
                return client, listener.accept()[0], address
        raise AssertionError("no real server has the connection")

    talks = [connect() for _ in range(4)]
    now = [0.0]
    drain = Drain(admin, 100, clock=lambda: now[0])
    left = [(service, pool[:1])]
    (change,) = drain.step(left)  # 10.99.1.2 leaves
    assert str(change) == f"-e -t {VIP}:80 -r 10.99.1.2:80 -m -w 0"
    assert drain.step(left) == []
    for client, server, _ in talks:  # old connections answer
        client.sendall(b"x")
        assert server.recv(1) == b"x"
    fresh = [connect() for _ in range(3)]
    assert {address for _, _, address in fresh} == {REAL}
    # Cancelled: one edit, and connections and counters go on.
    counted = {dest.address: dest.stats.connections for dest in admin.dests(service.key)}
    (edit,) = plan(admin.dump(), desired)
    assert str(edit) == f"-e -t {VIP}:80 -r 10.99.1.2:80 -m -w 1"
    admin.apply([edit])
    assert drain.step(desired) == []
    found = {dest.address: dest for dest in admin.dests(service.key)}
    assert found["10.99.1.2"].active_connections == 2
    assert found["10.99.1.2"].stats.connections >= counted["10.99.1.2"]
    # Drained again by another process, past its deadline.
    again = Drain(admin, 100, clock=lambda: now[0])
    again.step(left)
    now[0] = 99.0
    assert again.step(left) == []
    now[0] = 101.0
    assert [str(change) for change in again.step(left)] == [f"-d -t {VIP}:80 -r 10.99.1.2:80"]
    for client, server, _ in [*talks, *fresh]:
        client.close()
        server.close()


def test_a_drained_real_server_without_connections_goes_at_the_next_step(admin: Admin) -> None:
    admin.apply(plan([], [(WEB, [MASQ, GUE])]))
    drain = Drain(admin, 1000)
    assert [str(change)[:2] for change in drain.step([(WEB, [MASQ])])] == ["-e"]
    assert [str(change)[:2] for change in drain.step([(WEB, [MASQ])])] == ["-d"]
    assert saved() == f"-A {S} -s rr\n-a {S} -r 192.0.2.1:80 -m -w 1\n"


def test_the_example_controller(tmp_path: Path) -> None:
    rules_file = tmp_path / "rules"
    rules_file.write_text(f"-A {S} -s rr\n-a {S} -r 192.0.2.1:80 -m -w 1\n")
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "examples" / "controller.py"), "--once", str(rules_file)]
    settings: dict[str, Any] = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": str(root)}}
    done = subprocess.run([*command, "--dry-run"], **settings)
    assert (done.returncode, done.stdout, done.stderr) == (0, rules_file.read_text(), "")
    assert saved() == ""
    done = subprocess.run(command, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    assert saved() == rules_file.read_text()
    rules_file.write_text(f"-A {S} -s wrr\n")
    for _ in range(2):  # it is drained, and then deleted
        assert subprocess.run(command, **settings).returncode == 0
    assert saved() == f"-A {S} -s wrr\n"
    rules_file.write_text(f"-A {S} -s wrr\n-a {S} -r web:80 -m\n")
    done = subprocess.run(command, **settings)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "line 2" in done.stderr
    assert saved() == f"-A {S} -s wrr\n"
