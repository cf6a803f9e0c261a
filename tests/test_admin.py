"""Admin, on testing.Kernel: writes, their errors, and what apply() tells of changes that failed."""

from __future__ import annotations

import copy
import errno
import io
import pickle
import re
from dataclasses import replace
from typing import Any

import pytest
import writes
from conftest import ROOT, run_python
from writes import ABSENT, GONE, MASQ, WEB

from ipvsnl import (
    AlreadyExistsError,
    Client,
    Daemon,
    IPVSError,
    NetlinkError,
    NotAvailableError,
    NotFoundError,
    PermissionDeniedError,
    ServiceFlags,
    Timeouts,
    genl,
    testing,
)
from ipvsnl.admin import Admin, ApplyError, Change, DestinationConfig, ServiceConfig, parse_rules, plan
from ipvsnl.capture import Recorder, Replay
from ipvsnl.formats import Report, rules


def text(client: Client) -> str:
    return "".join(rules.render(Report(client.dump(), 0)))


def test_the_scenario_of_real_kernels() -> None:
    admin = Admin(transport=testing.Kernel())
    for name, step in writes.STEPS.items():
        before = list(admin.dump())
        if not step.errno:
            step.action(admin)
            continue
        with pytest.raises(NetlinkError) as caught:
            step.action(admin)
        assert (name, caught.value.errno, getattr(caught.value, "what", None)) == (name, step.errno, step.what)
        assert list(admin.dump()) == before, name
    assert text(admin) == writes.RULES
    assert admin.timeouts() == Timeouts(900, 60, 30)


def test_errors_are_those_of_python_as_well() -> None:
    admin = Admin(transport=testing.Kernel())
    admin.add_service(WEB)
    with pytest.raises(FileExistsError, match=r"-A -t 10.0.0.1:80 -s rr: .*EEXIST.*edit_service"):
        admin.add_service(WEB)
    with pytest.raises(LookupError, match=r"-D -t 10.0.0.99:80: .*ESRCH.*services\(\)"):
        admin.delete_service(ABSENT)
    with pytest.raises(NotFoundError, match="ip_vs_nosuch"):
        admin.add_service(ServiceConfig("tcp", "10.0.0.2", 80, scheduler="nosuch"))


def test_of_scheduler_and_engine_the_one_that_is_strange_is_named() -> None:
    admin = Admin(transport=testing.Kernel())
    for scheduler, engine, what in (("nosuch", "sip", "scheduler"), ("rr", "nosuch", "persistence engine")):
        with pytest.raises(NotFoundError, match=r"ip_vs.*nosuch") as caught:
            admin.add_service(service(scheduler=scheduler, persistence_engine=engine))
        assert caught.value.what == what


def test_an_error_of_all_services_names_none() -> None:
    """ENOENT of a flush is no scheduler that is missing."""
    kernel = testing.Kernel()
    admin = Admin(transport=kernel)
    kernel.refusing = errno.ENOENT
    for call in (admin.flush, admin.zero):
        with pytest.raises(NetlinkError, match=r"all .*ENOENT"):
            call()


def test_the_error_of_zero_names_the_service_shortly() -> None:
    with pytest.raises(NotFoundError, match=r"^zeroing tcp 10.0.0.1:80: "):
        Admin(transport=testing.Kernel()).zero(WEB)


def test_without_ipv6_the_error_names_the_next_step() -> None:
    kernel = testing.Kernel()
    admin = Admin(transport=kernel)
    kernel.refusing = errno.EAFNOSUPPORT
    for call in (lambda: admin.add_service(WEB), lambda: admin.add_dest(WEB, MASQ)):
        with pytest.raises(NetlinkError, match=r"EAFNOSUPPORT.*ipv6\.disable"):
            call()


def test_zero_leaves_connections() -> None:
    kernel = testing.Kernel(
        [(testing.service(stats=testing.stats(cps=1)), [testing.destination(active_connections=3)])]
    )
    admin = Admin(transport=kernel)
    admin.zero(admin.services()[0])
    ((service, (dest,)),) = admin.dump()
    assert (service.stats, dest.active_connections) == (testing.stats(), 3)


def test_an_edit_keeps_counters_and_connections() -> None:
    kernel = testing.Kernel(
        [(testing.service(stats=testing.stats(cps=1)), [testing.destination(active_connections=3)])]
    )
    admin = Admin(transport=kernel)
    admin.edit_service(ServiceConfig("tcp", "10.0.0.1", 80, scheduler="wrr"))
    admin.edit_dest(WEB, DestinationConfig("192.0.2.1", 80, forwarding="direct", weight=5))
    ((service, (dest,)),) = admin.dump()
    assert (service.scheduler, service.stats.cps) == ("wrr", 1)
    assert (dest.forwarding, dest.weight, dest.active_connections) == ("direct", 5, 3)


def test_daemons() -> None:
    admin = Admin(transport=testing.Kernel())
    admin.start_daemon(Daemon("backup", "lo", 9, 1000, "ff05::1", 9000, 5))
    admin.start_daemon(Daemon("master", "lo", 7, None, None, None, None))
    master = Daemon("master", "lo", 7, 1472, "224.0.0.81", 8848, 1)
    assert admin.daemons() == [master, Daemon("backup", "lo", 9, 1000, "ff05::1", 9000, 5)]
    with pytest.raises(AlreadyExistsError, match="stop_daemon"):
        admin.start_daemon(master)
    admin.stop_daemon("master")
    with pytest.raises(NotFoundError) as caught:
        admin.stop_daemon("master")
    assert (caught.value.errno, caught.value.what) == (errno.ESRCH, "daemon")
    with pytest.raises(NetlinkError, match="nosuch0"):
        admin.start_daemon(Daemon("master", "nosuch0", 7, None, None, None, None))


def test_flush() -> None:
    admin = Admin(transport=testing.Kernel([(testing.service(), [testing.destination()])]))
    admin.flush()
    assert list(admin.dump()) == []


def service(**changes: Any) -> ServiceConfig:
    return ServiceConfig(**{"protocol": "tcp", "address": "10.0.0.1", "port": 80, **changes})


def dest(**changes: Any) -> DestinationConfig:
    return DestinationConfig(**{"address": "192.0.2.1", "port": 80, "forwarding": "masquerade", **changes})


MARKED = {"protocol": None, "address": None, "port": None}
NONSENSE = [
    (service, {**MARKED, "fwmark": 0}, "fwmark"),
    (service, {**MARKED, "fwmark": 2**32}, "fwmark"),
    (service, {"fwmark": 5}, "fwmark"),
    (service, MARKED, "protocol"),
    (service, {"protocol": "icmpv7"}, "protocol"),
    (service, {"address": "10.0.0"}, "address"),
    (service, {"address": "10.0.0.1", "address_family": "inet6"}, "address"),
    (service, {"address": b"\n\0\0\1"}, "address"),
    (service, {"address_family": "inet7"}, "family"),
    (service, {"port": "80"}, "port"),
    (service, {"port": 65536}, "port"),
    (service, {"scheduler": "s" * 16}, "scheduler"),
    (service, {"scheduler": ""}, "scheduler"),
    (service, {"scheduler": "../x"}, "scheduler"),
    (service, {"scheduler": "rr\n"}, "scheduler"),
    (service, {"persistence_engine": "e" * 17}, "persistence_engine"),
    (service, {"persistence_engine": ""}, "persistence_engine"),
    (service, {"persistence_engine": "s p"}, "persistence_engine"),
    (service, {"timeout": 4_294_968}, "timeout"),
    (service, {"timeout": -1}, "timeout"),
    (service, {"netmask": 33}, "netmask"),
    (service, {"netmask": -1}, "netmask"),
    (service, {"address": "2001:db8::1", "netmask": 0}, "netmask"),
    (service, {"address": "2001:db8::1", "netmask": 129}, "netmask"),
    (service, {"flags": 2**32}, "flags"),
    (dest, {"address": "10.0.0"}, "address"),
    (dest, {"address": "0.0.0.0"}, "address"),
    (dest, {"address": "224.0.0.1"}, "address"),
    (dest, {"address": "255.255.255.255"}, "address"),
    (dest, {"address": "127.255.255.255"}, "address"),
    (dest, {"address": "::"}, "address"),
    (dest, {"address": "ff02::1"}, "address"),
    (dest, {"address": "::ffff:192.0.2.1"}, "address"),
    (dest, {"port": -1}, "port"),
    (dest, {"forwarding": "nat"}, "forwarding"),
    (dest, {"forwarding": "8"}, "forwarding"),
    (dest, {"forwarding": None}, "forwarding"),
    (dest, {"weight": -1}, "weight"),
    (dest, {"weight": 2**31}, "weight"),
    (dest, {"weight": 1.5}, "weight"),
    (dest, {"upper_threshold": 2**31}, "upper_threshold"),
    (dest, {"lower_threshold": 5}, "lower_threshold"),
    (dest, {"upper_threshold": 4, "lower_threshold": 5}, "lower_threshold"),
    (dest, {"tunnel_type": "vxlan"}, "tunnel_type"),
    (dest, {"tunnel_type": "gue"}, "tunnel_port of gue is a number from 1 to"),
    (dest, {"tunnel_type": "1"}, "tunnel_port of gue"),
    (dest, {"tunnel_port": 65536}, "0 to 65535"),
    (dest, {"tunnel_flags": 65536}, "tunnel_flags"),
]


@pytest.mark.parametrize("make, values, field", NONSENSE)
def test_nonsense_is_a_value_error_that_names_the_field(make: Any, values: Any, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        make(**values)


def test_values_in_other_forms_are_taken() -> None:
    import ipaddress

    config = ServiceConfig(6, ipaddress.ip_address("10.0.0.1"), 80, address_family=None, flags=ServiceFlags.HASHED)
    assert config == ServiceConfig("tcp", "10.0.0.1", 80)
    assert config.flags == 0
    assert ServiceConfig("tcp", "2001:DB8:0::1", 80).address == "2001:db8::1"
    assert ServiceConfig("47", "10.0.0.1", 0).protocol == "47"
    assert (ServiceConfig("tcp", "10.0.0.1", 80).netmask, ServiceConfig("tcp", "::1", 80).netmask) == (32, 128)


@pytest.mark.parametrize("number", [3, "3", "03", "003"])
def test_a_forwarding_by_number_is_read_as_its_name(number: Any) -> None:
    assert dest(forwarding=number).forwarding == "direct"


def test_numbers_without_a_name_stay_numbers() -> None:
    assert (dest(forwarding="05").forwarding, dest(tunnel_type="007").tunnel_type) == ("5", "7")
    assert dest(tunnel_type=2).tunnel_type == "gre"


def test_only_what_identifies_has_a_position() -> None:
    with pytest.raises(TypeError):
        ServiceConfig(None, None, None, 7)  # type: ignore[misc]
    with pytest.raises(TypeError):
        DestinationConfig("192.0.2.1", 80, "masquerade")  # type: ignore[misc]


def test_configs_are_copied_replaced_and_pickled() -> None:
    for config in (service(netmask=24), dest(weight=7)):
        assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == replace(config) == config
    assert replace(dest(), weight=7) == dest(weight=7)


def test_configs_are_frozen_and_hashable() -> None:
    config = service()
    with pytest.raises(AttributeError):
        config.port = 81  # type: ignore[misc]
    assert {config: 1}[service()] == 1
    assert {dest(): 1}[dest()] == 1


@pytest.mark.parametrize(
    "call, field",
    [
        (
            lambda admin: admin.add_dest(WEB, DestinationConfig("2001:db8::5", 80, forwarding="masquerade")),
            "only tunnels",
        ),
        (lambda admin: admin.add_service("10.0.0.1:80"), "service"),
        (lambda admin: admin.add_dest(WEB, "192.0.2.1:80"), "dest"),
        (lambda admin: admin.add_dest(ABSENT, None), "dest"),
        (lambda admin: admin.edit_dest(WEB, None), "dest"),
        (lambda admin: admin.delete_dest(WEB, None), "dest"),
        (lambda admin: admin.edit_dest(WEB, testing.destination(weight=-1)), "weight"),
        (lambda admin: admin.edit_service(testing.service(scheduler="a b")), "scheduler"),
        (lambda admin: admin.zero("10.0.0.1:80"), "service"),
        (lambda admin: admin.delete_service(testing.service(port=-1)), "port"),
        (lambda admin: admin.delete_dest(WEB, testing.destination(address="web")), "address"),
        (lambda admin: admin.add_dest(testing.service(address="web"), MASQ), "address"),
        (lambda admin: admin.set_timeouts(udp=0), "udp"),
        (lambda admin: admin.set_timeouts(tcp=4_294_968), "tcp"),
        (lambda admin: admin.stop_daemon("slave"), "state"),
        (lambda admin: admin.start_daemon(Daemon("master", "", 7, None, None, None, None)), "mcast_ifn"),
        (lambda admin: admin.start_daemon(Daemon("master", "e" * 16, 7, None, None, None, None)), "mcast_ifn"),
        (lambda admin: admin.start_daemon(Daemon("master", "lo", 256, None, None, None, None)), "sync_id"),
        (lambda admin: admin.start_daemon(Daemon("master", "lo", 7, 0, None, None, None)), "sync_maxlen"),
        (lambda admin: admin.start_daemon(Daemon("master", "lo", 7, None, "224.0.0", None, None)), "mcast_group"),
        (lambda admin: admin.start_daemon(Daemon("master", "lo", 7, None, None, 0, None)), "mcast_port"),
        (lambda admin: admin.start_daemon(Daemon("master", "lo", 7, None, None, None, 0)), "mcast_ttl"),
        (lambda admin: admin.start_daemon(Daemon("master", "l\0", 7, None, None, None, None)), "mcast_ifn"),
        (lambda admin: admin.start_daemon(None), "daemon is a Daemon"),
        (lambda admin: admin.apply([Change("replace", WEB)]), "action"),
        (lambda admin: admin.apply([Change("edit", WEB), "-E -t 10.0.0.1:80"]), "apply.. takes changes"),
    ],
)
def test_nothing_is_sent_with_a_value_that_makes_no_sense(call: Any, field: str) -> None:
    kernel = testing.Kernel([(testing.service(), [testing.destination()])])
    admin = Admin(transport=kernel)
    kernel.send = None  # type: ignore[assignment,method-assign]
    with pytest.raises(ValueError, match=field):
        call(admin)


def dests(count: int) -> list[DestinationConfig]:
    return [
        DestinationConfig(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 80, forwarding="masquerade")
        for number in range(1, count + 1)
    ]


class Counting(testing.Kernel):
    """Counts the datagrams that write."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.sizes: list[int] = []

    def send(self, request: bytes) -> None:
        from ipvsnl import genl

        self.sizes.append(len(list(genl.messages(request))))
        super().send(request)


def test_apply_sends_a_hundred_changes_a_datagram() -> None:
    kernel = Counting()
    admin = Admin(transport=kernel)
    kernel.sizes.clear()
    admin.apply(plan([], [(WEB, dests(250))]))
    assert kernel.sizes == [100, 100, 51]
    assert len(admin.dests(WEB.key)) == 250


def test_apply_of_nothing_sends_nothing() -> None:
    kernel = Counting()
    admin = Admin(transport=kernel)
    kernel.sizes.clear()
    admin.apply([])
    assert kernel.sizes == []


@pytest.mark.parametrize("bad", [[0], [99], [100], [149], [0, 50, 99, 100, 149], range(150)])
def test_apply_reports_exactly_the_changes_that_failed(bad: Any) -> None:
    admin = Admin(transport=testing.Kernel([(testing.service(), [])]))
    changes = [Change("add", ABSENT if number in bad else WEB, dest) for number, dest in enumerate(dests(150))]
    with pytest.raises(ApplyError) as caught:
        admin.apply(changes)
    assert [change for change, _ in caught.value.failed] == [changes[number] for number in bad]
    assert {error.errno for _, error in caught.value.failed} == {errno.ESRCH}  # type: ignore[attr-defined]
    assert caught.value.done == [change for number, change in enumerate(changes) if number not in bad]
    assert caught.value.unknown == []
    assert len(admin.dests(WEB.key)) == 150 - len(bad)


def test_the_text_of_an_apply_error_names_the_first_failure() -> None:
    admin = Admin(transport=testing.Kernel())
    first = "-e -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 1"
    with pytest.raises(ApplyError, match=rf"^1 changes failed.*: {first}: .*ESRCH") as caught:
        admin.apply([Change("edit", WEB, MASQ), Change("add", WEB)])
    assert isinstance(caught.value, IPVSError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.done) == (str(caught.value), caught.value.done)


def test_applying_the_same_changes_again_is_fine() -> None:
    before = [(testing.service(port=81), [testing.destination()]), (testing.service(port=82), [])]
    admin = Admin(transport=testing.Kernel(before))
    mh = ServiceConfig("tcp", "10.0.0.1", 84, scheduler="mh")
    desired = [(WEB, dests(3)), (mh, dests(2)), (ServiceConfig("tcp", "10.0.0.1", 81, scheduler="rr"), dests(1))]
    changes = plan(admin.dump(), desired, prune=True)
    admin.apply(changes)
    state = text(admin)
    admin.apply(changes)
    assert text(admin) == state
    assert plan(admin.dump(), desired, prune=True) == []


def test_an_addition_of_what_exists_with_other_values_fails() -> None:
    kernel = testing.Kernel([(testing.service(scheduler="wlc"), [testing.destination(weight=5)])])
    with pytest.raises(ApplyError) as caught:
        Admin(transport=kernel).apply([Change("add", WEB), Change("add", WEB, MASQ)])
    assert [type(error) for _, error in caught.value.failed] == [AlreadyExistsError, AlreadyExistsError]


def test_an_edit_of_what_is_gone_fails() -> None:
    with pytest.raises(ApplyError) as caught:
        Admin(transport=testing.Kernel([(testing.service(), [])])).apply([Change("edit", WEB, GONE)])
    ((_, error),) = caught.value.failed
    assert isinstance(error, NotFoundError)
    assert error.what == "dest"


class Losing(testing.Kernel):
    """Loses the answers to one datagram of writes."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lose = 0  # an errno

    def recv_into(self, buffer: bytearray) -> int:
        size = super().recv_into(buffer)
        if self.lose and buffer[4:6] == b"\2\0" and not self._queue:  # the last answer, an NLMSG_ERROR
            number, self.lose = self.lose, 0
            raise OSError(number, "lost")
        return size


def test_changes_whose_answers_were_lost_are_unknown_not_done() -> None:
    kernel = Losing([(testing.service(), [])])
    admin = Admin(transport=kernel)
    kernel.lose = errno.ENOBUFS
    changes = [Change("edit", WEB, GONE), *(Change("add", WEB, dest) for dest in dests(149))]
    with pytest.raises(ApplyError, match="unknown") as caught:
        admin.apply(changes)
    assert [change for change, _ in caught.value.failed] == changes[:1]
    assert caught.value.unknown == changes[1:100]
    assert caught.value.done == changes[100:]


def test_after_a_timeout_nothing_more_is_sent() -> None:
    kernel = Losing([(testing.service(), [])])
    admin = Admin(transport=kernel)
    kernel.lose = errno.ETIMEDOUT
    changes = [Change("add", WEB, dest) for dest in dests(150)]
    with pytest.raises(ApplyError) as caught:
        admin.apply(changes)
    assert (caught.value.unknown, caught.value.done) == (changes[:100], [])
    assert [change for change, _ in caught.value.failed] == changes[100:]
    assert len(admin.dests(WEB.key)) == 100


class Refusing(testing.Kernel):
    """Refuses a datagram when it is sent, or replies to no dump of services."""

    refused = -1  # the number of the datagram
    silent = False

    def send(self, request: bytes) -> None:
        self.refused -= 1
        if self.refused == 0:
            raise OSError(errno.ENOMEM, "no memory")
        super().send(request)
        if self.silent and request[16] == 4:  # IPVS_CMD_GET_SERVICE
            self._queue = []


def test_a_change_that_was_never_sent_is_not_done() -> None:
    """Also if another failure makes apply() look what was done before."""
    kernel = Refusing([(testing.service(), [])])
    admin = Admin(transport=kernel)
    kernel.refused = 2
    changes = [Change("edit", WEB, GONE), *(Change("add", WEB, dest) for dest in dests(99)), Change("delete", ABSENT)]
    with pytest.raises(ApplyError) as caught:
        admin.apply(changes)
    assert [change for change, _ in caught.value.failed] == [changes[0], changes[-1]]
    assert caught.value.done == changes[1:-1]


def test_a_failing_dump_does_not_hide_the_failures() -> None:
    kernel = Refusing([(testing.service(), [])])
    admin = Admin(transport=kernel)
    kernel.silent = True
    with pytest.raises(ApplyError) as caught:
        admin.apply([Change("edit", WEB, GONE), Change("add", WEB, MASQ)])
    assert [str(change) for change, _ in caught.value.failed] == [str(Change("edit", WEB, GONE))]


class Reloaded(testing.Kernel):
    """Its module may be loaded again, under another family id."""

    family = testing.FAMILY
    errno_of_old_id = errno.ENOENT

    def _answer(self, message: Any) -> Any:
        if message.type not in (genl.GENL_ID_CTRL, self.family):
            is_write = message.command() != 15
            return self.errno_of_old_id if is_write else errno.EINVAL, 0, []
        number, command, replies = super()._answer(message)
        if message.type == genl.GENL_ID_CTRL:
            name = {"FAMILY_ID": self.family, "FAMILY_NAME": "IPVS", "VERSION": 1}
            replies = [genl.CTRL_ATTRS.encode(name)]
        return number, command, replies


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EOPNOTSUPP], ids=["unused", "of another family"])
def test_changes_are_sent_again_after_the_module_was_loaded_again(number: int) -> None:
    """Its old id may be unused, or belong to another family, which knows other commands."""
    kernel = Reloaded()
    kernel.errno_of_old_id = number
    admin = Admin(transport=kernel)
    kernel.family += 1
    admin.add_service(WEB)
    kernel.family += 1
    admin.apply(plan(admin.dump(), [(WEB, dests(150))]))
    kernel.family += 1
    admin.apply(plan([], [(WEB, dests(150))]))
    assert len(admin.dests(WEB.key)) == 150


def test_without_privilege_every_change_fails() -> None:
    kernel = testing.Kernel([(testing.service(), [])])
    admin = Admin(transport=kernel)
    kernel.refusing = errno.EPERM
    with pytest.raises(PermissionDeniedError):
        admin.add_dest(WEB, MASQ)
    with pytest.raises(ApplyError) as caught:
        admin.apply([Change("add", WEB, MASQ), Change("delete", WEB, GONE)])
    assert [type(error) for _, error in caught.value.failed] == [PermissionDeniedError] * 2


def test_a_module_that_is_gone_is_no_missing_real_server() -> None:
    kernel = testing.Kernel([(testing.service(), [testing.destination()])])
    admin = Admin(transport=kernel)
    kernel.loaded = False
    for call in (lambda: admin.delete_dest(WEB, MASQ), lambda: admin.apply([Change("delete", WEB, MASQ)]), admin.flush):
        with pytest.raises(NotAvailableError):
            call()


def test_a_client_has_no_method_that_writes() -> None:
    names = {name for name in vars(Admin) if not name.startswith("_")}
    assert {"add_service", "flush", "apply"} <= names
    assert names.isdisjoint(dir(Client))


def test_nothing_but_the_caller_loads_the_package() -> None:
    code = "import sys, ipvsnl, ipvsnl.cli, ipvsnl.testing, ipvsnl.capture\n"
    code += "import ipvsnl.formats.rules, ipvsnl.formats.listing, ipvsnl.formats.json_document\n"
    code += "ipvsnl.cli.main(['-f', 'rules', '--replay', 'tests/fixtures/linux-6.1/stats.pcap'])\n"
    code += "print(*sys.modules)"
    assert not [name for name in run_python(code).split() if "ipvsnl.admin" in name]


def test_the_package_runs_no_program_and_loads_no_module() -> None:
    """It imports nothing that could, and the client that it extends does not load one unless it is told to."""
    code = "import sys; before = set(sys.modules); import ipvsnl.admin; print(*set(sys.modules) - before)"
    assert {"subprocess", "ctypes", "multiprocessing", "pty"}.isdisjoint(run_python(code).split())
    for path in (ROOT / "ipvsnl" / "admin").glob("*.py"):
        assert not re.search(r"\b(os|importlib|_posixsubprocess|load_module)\b", path.read_text()), path


def test_a_recording_of_writes_replays_what_was_read() -> None:
    file = io.BytesIO()
    admin = Admin(transport=Recorder(testing.Kernel(), file))
    admin.apply(plan([], [(WEB, dests(3))]))
    entries = list(admin.dump())
    file.seek(0)
    assert list(Client(transport=Replay(file)).dump()) == entries


def test_a_replay_refuses_to_write() -> None:
    file = io.BytesIO()
    list(Client(transport=Recorder(testing.Kernel([(testing.service(), [])]), file)).dump())
    file.seek(0)
    admin = Admin(transport=Replay(file))
    with pytest.raises(IPVSError, match="capture"):
        admin.apply([Change("add", WEB, dest) for dest in dests(3)])
    with pytest.raises(IPVSError, match="capture"):
        admin.flush()


def test_rules_are_restored_and_saved_again() -> None:
    admin = Admin(transport=testing.Kernel())
    admin.apply(plan(admin.dump(), parse_rules(writes.RULES)))
    assert text(admin) == writes.RULES
