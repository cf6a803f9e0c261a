"""plan(): what it changes, in which order, and what it leaves alone."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvsnl import ServiceFlags, TunnelFlags, testing
from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig, plan

Table = dict[Any, tuple[ServiceConfig, dict[Any, DestinationConfig]]]

WEB = ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr")
DNS = ServiceConfig("udp", "10.0.0.1", 53, scheduler="rr")


def real(last: int, **changes: Any) -> DestinationConfig:
    return DestinationConfig(f"192.0.2.{last}", 80, **{"forwarding": "masquerade", **changes})


def name(entry: Any) -> Any:
    """What the kernel tells entries apart by."""
    return tuple(getattr(entry, field, None) for field in ("address_family", "fwmark", "protocol", "address", "port"))


def table(entries: Any) -> Table:
    return {name(service): (service, {name(dest): dest for dest in dests}) for service, dests in entries}


def read(entries: Any) -> Any:
    """What a client reads of a kernel with these entries."""
    return [
        (
            testing.service(**{**vars(service), "flags": service.flags | ServiceFlags.HASHED}),
            [testing.destination(**vars(dest), active_connections=5) for dest in dests],
        )
        for service, dests in entries
    ]


def apply(rows: Table, change: Any) -> None:
    """Do what the kernel does, and fail where it fails."""
    key = name(change.service)
    if change.dest is None:
        assert (key in rows) == (change.action != "add"), change
        if change.action == "delete":
            del rows[key]
        else:
            rows[key] = change.service, rows[key][1] if key in rows else {}
        return
    pool = rows[key][1]
    assert (name(change.dest) in pool) == (change.action != "add"), change
    if change.action == "delete":
        del pool[name(change.dest)]
    else:
        pool[name(change.dest)] = change.dest


HOSTS = st.sampled_from([f"192.0.2.{number}" for number in range(1, 6)])
DESTS = st.builds(
    DestinationConfig,
    HOSTS,
    st.sampled_from([80, 8080]),
    forwarding=st.sampled_from(["masquerade", "direct", "tunnel"]),
    weight=st.integers(0, 2),
    upper_threshold=st.sampled_from([100, 200]),
    lower_threshold=st.sampled_from([0, 50]),
    tunnel_type=st.sampled_from(["ipip", "gre"]),
    tunnel_flags=st.sampled_from([TunnelFlags(0), TunnelFlags.CSUM]),
)
SERVICES = st.builds(
    lambda key, **settings: ServiceConfig(*key[:3], **key[3], **settings),
    st.sampled_from(
        [
            ("tcp", "10.0.0.1", 80, {}),
            ("udp", "10.0.0.1", 80, {}),
            ("tcp", "10.0.0.2", 80, {}),
            (None, None, None, {"fwmark": 1}),
            (None, None, None, {"fwmark": 1, "address_family": "inet6"}),
        ]
    ),
    scheduler=st.sampled_from(["rr", "mh", "wlc"]),
    flags=st.sampled_from([ServiceFlags(0), ServiceFlags.PERSISTENT, ServiceFlags.SCHED1]),
    timeout=st.sampled_from([0, 300]),
    persistence_engine=st.sampled_from([None, "sip"]),
)


def is_possible(entry: Any) -> bool:
    return all(dest.forwarding == "tunnel" or dest.address_family == entry[0].address_family for dest in entry[1])


ENTRIES = st.lists(
    st.tuples(SERVICES, st.lists(DESTS, max_size=5, unique_by=name)).filter(is_possible),
    max_size=4,
    unique_by=lambda entry: name(entry[0]),
)
MANY = settings(max_examples=250, deadline=None)


@given(ENTRIES, ENTRIES)
@MANY
def test_applying_a_plan_gives_what_is_desired(before: Any, after: Any) -> None:
    rows = table(before)
    for change in plan(read(before), after, prune=True):
        apply(rows, change)
    assert rows == table(after)


@given(ENTRIES)
@MANY
def test_what_is_as_desired_needs_no_change(entries: Any) -> None:
    assert plan(read(entries), entries, prune=True) == []
    assert plan(read(entries), entries, prune=True, drain=True) == []


@given(ENTRIES, ENTRIES)
@MANY
def test_no_pool_is_emptied_on_the_way(before: Any, after: Any) -> None:
    """Nor is one without a real server of weight above 0 in between."""
    rows, goal = table(before), table(after)
    staying = [key for key in rows if key in goal]
    counts = (len, lambda pool: sum(dest.weight > 0 for dest in pool.values()))
    filled = [(key, count) for key in staying for count in counts if count(rows[key][1]) and count(goal[key][1])]
    for change in plan(read(before), after, prune=True):
        apply(rows, change)
        assert all(count(rows[key][1]) for key, count in filled), change


@given(ENTRIES, ENTRIES)
@MANY
def test_without_prune_services_that_are_not_named_stay(before: Any, after: Any) -> None:
    rows, named = table(before), table(after)
    for change in plan(read(before), after):
        apply(rows, change)
    assert rows == {**table(before), **named}


@given(ENTRIES, ENTRIES)
@MANY
def test_a_plan_is_minimal(before: Any, after: Any) -> None:
    """Each entry changes once, but for a new service with mh; what is equal does not change at all."""
    rows, goal = table(before), table(after)
    changed = [(name(each.service), each.dest and name(each.dest)) for each in plan(read(before), after, prune=True)]
    twice = {each for each in changed if changed.count(each) > 1}
    assert twice <= {(key, None) for key, (service, _) in goal.items() if key not in rows and service.scheduler == "mh"}
    for key, dest in changed:
        if key in rows and key in goal:
            pools = rows[key][1], goal[key][1]
            assert rows[key][0] != goal[key][0] if dest is None else pools[0].get(dest) != pools[1].get(dest)


@given(ENTRIES, ENTRIES)
@MANY
def test_with_drain_no_real_server_is_deleted(before: Any, after: Any) -> None:
    rows = table(before)
    for change in plan(read(before), after, prune=True, drain=True):
        apply(rows, change)
    wanted = table(after)
    for key, (_, pool) in table(before).items():
        for dest in pool:
            left = {**pool[dest].__dict__, "weight": 0}
            expected = wanted[key][1].get(dest) if key in wanted else None
            assert rows[key][1][dest] == (expected or DestinationConfig(**left))
    entries = [(service, list(pool.values())) for service, pool in rows.values()]
    assert plan(read(entries), after, prune=True, drain=True) == []


@given(ENTRIES, ENTRIES)
@MANY
def test_kept_fields_do_not_change(before: Any, after: Any) -> None:
    rows, old = table(before), table(before)
    for change in plan(read(before), after, keep=["weight", "scheduler"]):
        apply(rows, change)
    for key, (service, pool) in table(after).items():
        if key in old:
            assert rows[key][0] == replace(service, scheduler=old[key][0].scheduler)
            for dest, target in pool.items():
                weight = old[key][1][dest].weight if dest in old[key][1] else target.weight
                assert rows[key][1][dest] == replace(target, weight=weight)


def kernel(entries: Any) -> testing.Kernel:
    """A kernel with these entries, as it shows them."""
    return testing.Kernel(read(entries))


@given(ENTRIES, ENTRIES)
@MANY
def test_a_kernel_is_made_what_is_desired(before: Any, after: Any) -> None:
    admin = Admin(transport=kernel(before))
    admin.apply(plan(admin.dump(), after, prune=True))
    assert table(admin.dump()).keys() == table(after).keys()
    assert plan(admin.dump(), after, prune=True) == []


@given(ENTRIES, ENTRIES)
@MANY
def test_a_kernel_is_made_so_by_the_same_changes_again(before: Any, after: Any) -> None:
    """As after an interrupt: some of them have been made."""
    admin = Admin(transport=kernel(before))
    changes = plan(admin.dump(), after, prune=True)
    admin.apply(changes[: len(changes) // 2])
    admin.apply(changes)
    assert plan(admin.dump(), after, prune=True) == []


def words(changes: Any) -> list[str]:
    return [str(change) for change in changes]


def test_additions_come_first_then_edits_then_deletions() -> None:
    before = [(WEB, [real(1), real(2, weight=2)])]
    after = [(WEB, [real(2), real(3)]), (DNS, [real(1)])]
    assert words(plan(read(before), after)) == [
        "-a -t 10.0.0.1:80 -r 192.0.2.3:80 -m -w 1",
        "-A -u 10.0.0.1:53 -s rr",
        "-a -u 10.0.0.1:53 -r 192.0.2.1:80 -m -w 1",
        "-e -t 10.0.0.1:80 -r 192.0.2.2:80 -m -w 1",
        "-d -t 10.0.0.1:80 -r 192.0.2.1:80",
    ]


def test_drain_sets_weight_0_last_and_resets_nothing() -> None:
    before = [(WEB, [real(1, upper_threshold=9, lower_threshold=3), real(2, weight=2)])]
    assert words(plan(read(before), [(WEB, [real(2)])], drain=True)) == [
        "-e -t 10.0.0.1:80 -r 192.0.2.2:80 -m -w 1",
        "-e -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 0 -x 9 -y 3",
    ]


def test_an_edit_to_weight_0_comes_after_the_other_edits() -> None:
    before = [(WEB, [real(1), real(2, weight=0)])]
    assert words(plan(read(before), [(WEB, [real(1, weight=0), real(2)])])) == [
        "-e -t 10.0.0.1:80 -r 192.0.2.2:80 -m -w 1",
        "-e -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 0",
    ]


def test_a_new_service_with_mh_is_filled_before_it_gets_its_scheduler() -> None:
    service = replace(WEB, scheduler="mh", flags=ServiceFlags.SCHED2)
    assert words(plan([], [(service, [real(1)])])) == [
        "-A -t 10.0.0.1:80 -s none -b flag-2",
        "-a -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 1",
        "-E -t 10.0.0.1:80 -s mh -b mh-port",
    ]
    assert words(plan([], [(service, [])])) == ["-A -t 10.0.0.1:80 -s mh -b mh-port"]


def test_prune_may_be_a_function() -> None:
    before = [(WEB, [real(1)]), (DNS, [real(1)])]
    assert words(plan(read(before), [], prune=lambda service: service.protocol == "udp")) == ["-D -u 10.0.0.1:53"]


def test_a_pruned_service_is_drained_before_it_is_deleted() -> None:
    assert words(plan(read([(WEB, [real(1)])]), [], prune=True, drain=True)) == [
        "-e -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 0"
    ]
    assert words(plan(read([(WEB, [])]), [], prune=True, drain=True)) == ["-D -t 10.0.0.1:80"]


def test_entries_as_they_were_read_may_be_desired() -> None:
    entries = read([(WEB, [real(1)])])
    assert plan(entries, entries) == []
    assert words(plan([], entries)) == ["-A -t 10.0.0.1:80 -s rr", "-a -t 10.0.0.1:80 -r 192.0.2.1:80 -m -w 1"]


@pytest.mark.parametrize("keep", [["address"], "wieght", ["weight", "stats"]])
def test_only_settings_can_be_kept(keep: Any) -> None:
    with pytest.raises(ValueError, match="keep"):
        plan([], [], keep=keep)


def test_one_kept_field_needs_no_list() -> None:
    assert plan(read([(WEB, [real(1, weight=7)])]), [(WEB, [real(1)])], keep="weight") == []


def test_a_kept_value_that_does_not_fit_is_named_with_keep() -> None:
    before = read([(WEB, [real(1, upper_threshold=10)])])
    with pytest.raises(ValueError, match=r"^keep: .*upper_threshold of 192\.0\.2\.1:80.*lower_threshold"):
        plan(before, [(WEB, [real(1, upper_threshold=100, lower_threshold=50, weight=5)])], keep="upper_threshold")


def test_a_weight_cannot_be_kept_while_real_servers_are_drained() -> None:
    with pytest.raises(ValueError, match=r"keep.*drain"):
        plan([], [], keep="weight", drain=True)


def test_what_is_desired_twice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10.0.0.1:80 .*desired twice"):
        plan([], [(WEB, []), (replace(WEB, scheduler="wlc"), [])])
    with pytest.raises(ValueError, match=r"192.0.2.1:80 .*desired twice"):
        plan([], [(WEB, [real(1), real(1, weight=5)])])


def test_a_long_timeout_that_another_program_set_does_not_stop_a_plan() -> None:
    """The kernel of some machines takes more than a ServiceConfig does."""
    ((service, dests),) = read([(WEB, [real(1)])])
    strange = replace(service, timeout=17_000_000)
    assert plan([(strange, dests)], []) == []
    assert words(plan([(strange, dests)], [(WEB, [])])) == [
        "-E -t 10.0.0.1:80 -s rr",
        "-d -t 10.0.0.1:80 -r 192.0.2.1:80",
    ]
