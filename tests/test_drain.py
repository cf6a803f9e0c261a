"""Drain: when real servers get weight 0, when they are deleted, and what cancels that."""

from __future__ import annotations

import errno
import runpy
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from ipvsnl import Destination, DumpInterruptedError, testing
from ipvsnl.admin import Admin, ApplyError, DestinationConfig, Drain, ServiceConfig

WEB = ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr")
STAYS = DestinationConfig("192.0.2.1", 80, forwarding="masquerade")


class World:
    """A kernel with one service of two real servers, of which 192.0.2.2 is to leave, and a clock."""

    def __init__(self, protocol: str = "tcp", **changes: Any) -> None:
        self.leaving = testing.destination(address="192.0.2.2", **{"active_connections": 1, **changes})
        self.service = testing.service(protocol=protocol)
        self.kernel = testing.Kernel([(self.service, [testing.destination(), self.leaving])])
        self.desired: Any = [(self.service, [STAYS])]
        self.now = 1000.0
        self.drain = self.new_drain()

    def new_drain(self) -> Drain:
        return Drain(Admin(transport=self.kernel), 100, udp_deadline=5, clock=lambda: self.now)

    def step(self, after: float = 0, **options: Any) -> list[str]:
        self.now += after
        return [str(change) for change in self.drain.step(self.desired, **options)]

    def pool(self) -> dict[str, Destination]:
        return {dest.address: dest for dest in self.kernel.entries[0][1]}

    def close_connections(self) -> None:
        for name in ("active_connections", "inactive_connections", "persistent_connections"):
            setattr(self.pool()["192.0.2.2"], name, 0)


EDIT = "-e -t 10.0.0.1:80 -r 192.0.2.2:80 -m -w 0"
DELETE = "-d -t 10.0.0.1:80 -r 192.0.2.2:80"


def test_it_sets_weight_0_at_once_and_only_once() -> None:
    world = World()
    assert (world.step(), world.step(1), world.step(98)) == ([EDIT], [], [])


@pytest.mark.parametrize("kind", ["active_connections", "inactive_connections", "persistent_connections"])
def test_connections_of_each_kind_keep_it(kind: str) -> None:
    world = World(**{"active_connections": 0, kind: 1})
    assert (world.step(), world.step(1)) == ([EDIT], [])
    world.close_connections()
    assert world.step(1) == [DELETE]


def test_the_deadline_ends_it() -> None:
    world = World()
    assert (world.step(), world.step(99.9), world.step(0.1)) == ([EDIT], [], [DELETE])


def test_udp_has_its_own_deadline() -> None:
    world = World("udp")
    assert [len(world.step(after)) for after in (0, 4, 1)] == [1, 0, 1]


def test_the_edit_resets_nothing() -> None:
    world = World(forwarding="tunnel", tunnel_type="gue", tunnel_port=6080, upper_threshold=9, lower_threshold=3)
    world.step()
    left = world.pool()["192.0.2.2"]
    assert (left.weight, left.forwarding, left.tunnel_port, left.upper_threshold) == (0, "tunnel", 6080, 9)
    assert left.active_connections == 1


def test_a_place_in_what_is_desired_cancels_it() -> None:
    world = World()
    world.step()
    world.desired[0][1].append(DestinationConfig("192.0.2.2", 80, forwarding="masquerade"))
    assert world.step(1000) == []  # plan() sets its weight back


def test_an_edit_to_another_weight_starts_it_anew() -> None:
    world = World()
    world.step()
    world.pool()["192.0.2.2"].weight = 5
    assert (world.step(99), world.step(99), world.step(1)) == ([EDIT], [], [DELETE])


def test_one_that_was_cancelled_and_leaves_again_has_its_whole_time() -> None:
    world = World()
    world.step()
    world.desired[0][1].append(DestinationConfig("192.0.2.2", 80, forwarding="masquerade", weight=0))
    world.step(50)
    world.desired[0][1].pop()
    assert (world.step(1), world.step(99), world.step(1)) == ([], [], [DELETE])


def test_a_new_process_adopts_what_it_finds() -> None:
    world = World()
    world.step()
    world.drain = world.new_drain()
    assert (world.step(500), world.step(99), world.step(1)) == ([], [], [DELETE])


def test_weight_0_that_is_desired_stays() -> None:
    world = World()
    world.desired[0][1].append(DestinationConfig("192.0.2.2", 80, forwarding="masquerade", weight=0))
    world.pool()["192.0.2.2"].weight = 0
    world.close_connections()
    assert world.step(1000) == []


def test_services_of_others_are_left_alone() -> None:
    world = World(weight=0, active_connections=0)
    world.desired = []
    assert world.step(1000) == []


def test_a_pruned_service_goes_after_its_real_servers() -> None:
    world = World()
    world.desired = []
    assert sorted(world.step(prune=True)) == ["-e -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 0", EDIT]
    assert world.step(1, prune=lambda service: service.port == 80) == ["-d -t 10.0.0.1:80 -r 192.0.2.1:80"]
    world.close_connections()
    assert (world.step(1, prune=True), world.step(1, prune=True)) == ([DELETE], ["-D -t 10.0.0.1:80"])
    assert world.kernel.entries == []


def test_without_a_desired_state_weight_0_tells() -> None:
    world = World(weight=0)
    world.desired = None
    assert world.step() == []
    world.close_connections()
    assert world.step(1) == [DELETE]
    assert world.step(1) == []


def test_what_fails_is_an_apply_error_and_is_tried_again() -> None:
    world = World()
    find, world.kernel.entries = list(world.kernel.entries), world.kernel.entries

    class Refusing(Admin):
        def dump(self) -> Any:
            yield from list(super().dump())
            world.kernel.entries = []

    world.drain = Drain(Refusing(transport=world.kernel), 100, clock=lambda: world.now)
    with pytest.raises(ApplyError):
        world.step()
    world.kernel.entries = find
    world.drain = world.new_drain()
    assert world.step() == [EDIT]


def test_a_real_server_is_known_within_its_service() -> None:
    """The same real server in two services is two."""
    world = World()
    other = testing.service(port=81)
    world.kernel.entries.append((other, [testing.destination(address="192.0.2.2", active_connections=1)]))
    world.step()
    world.desired.append((other, []))
    assert world.step(99) == ["-e -t 10.0.0.1:81 -r 192.0.2.2:80 -m -w 0"]
    assert world.step(1) == [DELETE]


def test_a_dump_that_fails_resets_no_clock() -> None:
    world = World()

    class Breaking(Admin):
        broken = False

        def dump(self) -> Any:
            if self.broken:
                raise DumpInterruptedError([])
            yield from super().dump()

    admin = Breaking(transport=world.kernel)
    world.drain = Drain(admin, 100, clock=lambda: world.now)
    world.step()
    admin.broken = True
    with pytest.raises(DumpInterruptedError):
        world.step(50)
    admin.broken = False
    assert world.step(50) == [DELETE]


one_round = runpy.run_path(str(ROOT / "examples" / "controller.py"))["one_round"]


def test_the_controller_drains_though_a_change_always_fails(tmp_path: Path, capfd: Any) -> None:
    rules = tmp_path / "rules"
    rules.write_text("-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.1:81 -s nosuch\n")
    kernel = testing.Kernel([(testing.service(), [testing.destination()])])
    admin = Admin(transport=kernel)
    drain = Drain(admin, deadline=0)
    assert not one_round(admin, drain, rules, False)
    assert [len(pool) for _, pool in kernel.entries] == [0]
    assert "ip_vs_nosuch" in capfd.readouterr().err


def test_the_controller_goes_on_after_a_dump_that_failed(tmp_path: Path, capfd: Any) -> None:
    rules = tmp_path / "rules"
    rules.write_text("-A -t 10.0.0.1:80 -s rr\n")
    kernel = testing.Kernel()
    admin = Admin(transport=kernel)
    kernel.refusing = errno.ENOMEM
    assert not one_round(admin, Drain(admin), rules, False)
    assert "ENOMEM" in capfd.readouterr().err
