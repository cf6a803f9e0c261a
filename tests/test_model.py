"""The dataclasses of the model: real ones, to the standard library and to callers, though they start faster."""

import copy
import dataclasses
import inspect
import pickle
import random
import re
import typing
from pathlib import Path
from typing import Optional

import netlink
import pytest
from conftest import PYTHONS, run_python

import ipvsnl
from ipvsnl import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags, testing
from ipvsnl._dataclass import dataclass

STATS = Stats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
SERVICE = Service("inet", "tcp", "10.0.0.1", 80, None, "rr", ServiceFlags(0x43), 300, 24, "sip", STATS)
DESTINATION = Destination(
    "inet6", "2001:db8::1", 80, "tunnel", -1, 9, 8, 7, 6, 5, "gue", 6080, TunnelFlags.CSUM | TunnelFlags.REMCSUM, STATS
)
V6 = bytes.fromhex("20010db8000000000000000000000001")
EXAMPLES = [
    STATS,
    SERVICE,
    DESTINATION,
    Info("1.2.1", 4096),
    Timeouts(900, 120, 300),
    Daemon("master", "eth0", 7, 1472, "224.0.0.81", 8848, 1),
]

every_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)


@every_example
def test_it_is_a_dataclass(example: object) -> None:
    assert dataclasses.is_dataclass(example) and dataclasses.is_dataclass(type(example))


@every_example
def test_it_has_the_fields_of_its_annotations_in_order(example: object) -> None:
    assert [field.name for field in dataclasses.fields(example)] == list(type(example).__annotations__)  # type: ignore[arg-type]


@every_example
def test_it_is_made_by_position_or_by_name(example: object) -> None:
    values = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}  # type: ignore[arg-type]
    assert type(example)(**values) == type(example)(*values.values()) == example


@every_example
def test_it_needs_every_field_and_takes_no_other(example: object) -> None:
    with pytest.raises(TypeError):
        type(example)()
    with pytest.raises(TypeError):
        type(example)(*[0] * (len(dataclasses.fields(example)) + 1))  # type: ignore[arg-type]


@every_example
@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda example: pickle.loads(pickle.dumps(example)), dataclasses.replace],
    ids=["copy", "deepcopy", "pickle", "replace"],
)
def test_a_twin_is_another_object_of_equal_value(example: object, again) -> None:  # type: ignore[no-untyped-def]
    twin = again(example)
    assert twin == example and twin is not example and type(twin) is type(example)


@every_example
def test_a_change_in_any_field_makes_it_unequal(example: object) -> None:
    for field in dataclasses.fields(example):  # type: ignore[arg-type]
        assert dataclasses.replace(example, **{field.name: "something else"}) != example  # type: ignore[type-var]


def test_the_last_fields_may_have_defaults() -> None:
    @dataclass
    class Point:
        x: int
        y: int = 2

    assert (Point(1), Point(1, 3).y) == (Point(1, 2), 3)
    with pytest.raises(TypeError):
        Point()  # type: ignore[call-arg]


def test_equal_values_of_different_classes_are_unequal() -> None:
    assert Info(1, 2) != Timeouts(1, 2, 3)  # type: ignore[arg-type]
    assert STATS != (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


@pytest.mark.parametrize("example", [STATS, *EXAMPLES[3:]], ids=lambda example: type(example).__name__)
def test_what_has_no_key_is_mutable_and_so_not_hashable(example: object) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(example)


@every_example
def test_it_has_slots_and_takes_no_other_attribute(example: object) -> None:
    assert not hasattr(example, "__dict__")
    with pytest.raises(AttributeError):
        example.other = 1  # type: ignore[attr-defined]


@every_example
def test_its_repr_is_that_of_the_standard_library(example: object) -> None:
    kind = type(example)
    standard = dataclasses.make_dataclass(kind.__name__, [field.name for field in dataclasses.fields(example)])  # type: ignore[arg-type]
    assert repr(example) == repr(standard(*(getattr(example, name) for name in kind.__slots__)))  # type: ignore[attr-defined]


def test_asdict_goes_into_the_stats() -> None:
    assert dataclasses.asdict(SERVICE)["stats"] == dataclasses.asdict(STATS)
    assert dataclasses.asdict(STATS)["bps_out"] == 10


def test_astuple_has_the_values_in_order() -> None:
    assert dataclasses.astuple(STATS) == tuple(range(1, 11))


@every_example
def test_its_signature_names_the_fields(example: object) -> None:
    assert list(inspect.signature(type(example)).parameters) == [f.name for f in dataclasses.fields(example)]  # type: ignore[arg-type]


@every_example
def test_its_docstring_documents_every_field(example: object) -> None:
    for field in dataclasses.fields(example):  # type: ignore[arg-type]
        assert re.search(rf"^\s*{field.name}\s{{1,}}\S", inspect.getdoc(type(example)) or "", re.MULTILINE), field.name


@pytest.mark.parametrize(("flag", "bit"), [("PERSISTENT", 1), ("HASHED", 2), ("ONEPACKET", 4), ("SCHED1", 8)])
def test_service_flags_are_the_kernels_bits(flag: str, bit: int) -> None:
    assert ServiceFlags[flag] == bit and ServiceFlags[flag] in SERVICE.flags | bit


@pytest.mark.parametrize("flags", [ServiceFlags(0), ServiceFlags(0x80000043), TunnelFlags(0x8001)])
def test_flags_with_bits_that_have_no_name_survive_pickle(flags: object) -> None:
    again = pickle.loads(pickle.dumps(flags))
    assert again == flags and type(again) is type(flags)


def test_everything_public_has_a_docstring() -> None:
    assert [name for name in ipvsnl.__all__ if not inspect.getdoc(getattr(ipvsnl, name))] == []


LOADED = "import sys; before = set(sys.modules); import {}; print(*set(sys.modules) - before)"


def test_importing_the_package_loads_nothing_but_what_all_programs_have() -> None:
    base = set(run_python(LOADED.format("dataclasses, socket, struct")).split())
    loaded = set(run_python(LOADED.format("ipvsnl")).split())
    assert {name for name in loaded - base if not name.startswith("ipvsnl")} == set()


def test_importing_the_package_does_not_load_the_command_line_or_captures() -> None:
    loaded = set(run_python(LOADED.format("ipvsnl")).split())
    assert not loaded & {"ipvsnl.cli", "ipvsnl.capture", "ipvsnl.pcap", "ipvsnl.formats", "argparse", "json"}


def test_stats_in_the_kernels_order_are_the_fields_in_order() -> None:
    """Decoders and these tests rely on it: IPVS_STATS_ATTR_CONNS is 1, IPVS_STATS_ATTR_OUTBPS is 10."""
    assert [number for number, _ in netlink.stats(dataclasses.astuple(STATS))] == list(dataclasses.astuple(STATS))


# Keys.

WEB = testing.service(port=80)
MARK6 = testing.service(fwmark=7, address_family="inet6")


@pytest.mark.parametrize(
    ("service", "key"),
    [
        (WEB, (0, 2, 6, b"\x0a\0\0\1", 80)),
        (testing.service(protocol="udp", address="2001:db8::1", port=53), (0, 10, 17, V6, 53)),
        (testing.service(protocol="47", port=0), (0, 2, 47, b"\x0a\0\0\1", 0)),
        (testing.service(fwmark=7), (7, 2, 0, b"", 0)),
        (MARK6, (7, 10, 0, b"", 0)),
    ],
    ids=str,
)
def test_the_key_of_a_service(service: Service, key: object) -> None:
    assert service.key == key and hash(service) == hash(key)


def test_the_key_of_a_real_server() -> None:
    assert DESTINATION.key == (10, V6, 80) and hash(DESTINATION) == hash(DESTINATION.key)


def test_services_sort_as_ipvsadm_sorts_them() -> None:
    """By fwmark, family, protocol, address and port, each as a number."""
    ordered = [
        testing.service(address="9.0.0.1", port=443),
        testing.service(address="10.0.0.1", port=80),
        testing.service(address="10.0.0.1", port=443),
        testing.service(address="200.0.0.1", port=1),
        testing.service(protocol="udp", address="1.0.0.1", port=1),
        testing.service(protocol="sctp", address="1.0.0.1", port=1),
        testing.service(address="2001:db8::9", port=9),
        testing.service(address="2001:db8::10", port=1),
        testing.service(fwmark=9, address_family="inet6"),
        testing.service(fwmark=10),
        testing.service(fwmark=10, address_family="inet6"),
    ]
    shuffled = random.Random(1).sample(ordered, len(ordered))
    assert sorted(shuffled) == ordered and sorted(service.key for service in shuffled) == [s.key for s in ordered]


def test_real_servers_sort_by_number() -> None:
    ordered = [testing.destination(address=address, port=port) for address, port in [("9.0.0.1", 9), ("10.0.0.1", 8)]]
    assert sorted(reversed(ordered)) == ordered


def test_services_do_not_sort_with_other_things() -> None:
    with pytest.raises(TypeError):
        sorted([WEB, DESTINATION])  # type: ignore[type-var]


def test_a_dump_can_be_a_dict() -> None:
    pool = [testing.destination()]
    assert dict([(WEB, pool), (MARK6, [])])[testing.service(port=80)] is pool


def test_a_service_with_other_counters_is_another_key_of_a_dict() -> None:
    later = testing.service(port=80, stats=testing.stats(connections=1))
    assert later not in {WEB: 1} and later.key == WEB.key


@pytest.mark.parametrize(
    ("example", "text"),
    [
        (WEB, "tcp 10.0.0.1:80 rr"),
        (testing.service(address="2001:db8::1", port=80, scheduler="wlc"), "tcp [2001:db8::1]:80 wlc"),
        (testing.service(protocol="47", port=0), "47 10.0.0.1:0 rr"),
        (testing.service(fwmark=7), "fwmark 7 rr"),
        (MARK6, "fwmark 7 inet6 rr"),
        (testing.destination(), "192.0.2.1:80 masquerade weight 1"),
        (DESTINATION, "[2001:db8::1]:80 tunnel weight -1"),
    ],
)
def test_the_text_of_a_service_or_real_server_is_short(example: object, text: str) -> None:
    assert str(example) == text and repr(example).startswith(type(example).__name__)


def test_threads_that_first_ask_for_the_fields_at_once_all_get_them() -> None:
    """Each thread makes them: the first one is held up until the second has them."""
    code = """
import dataclasses, threading
from ipvsnl import Info
usual, both = dataclasses.make_dataclass, threading.Barrier(2)
def make(*arguments):
    both.wait(10)
    return usual(*arguments)
dataclasses.make_dataclass = make
got = []
def ask():
    got.append([field.name for field in dataclasses.fields(Info)])
threads = [threading.Thread(target=ask) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(got)
"""
    assert run_python(code) == "[['version', 'connection_table_size'], ['version', 'connection_table_size']]\n"


# Annotations.

MODULES = ["attrs", "capture", "cli", "client", "errors", "genl", "model", "netns", "pcap", "testing", "transport"]
MODULES += [
    "formats",
    *(f"formats.{name}" for name in ["json_document", "line_protocol", "listing", "prometheus", "rules"]),
]
EVALUATE = """
import importlib, inspect, sys, typing
import ipvsnl
from ipvsnl.transport import Transport
count = 0
names = %r
for name in names:
    module = importlib.import_module(name)
    for public, thing in vars(module).items():
        if public.startswith("_") or getattr(thing, "__module__", None) not in [name, *names]:
            continue
        things = [thing]
        if inspect.isclass(thing):
            own = {name: each for name, each in vars(thing).items() if name.startswith("__") or name[0] != "_"}
            things += [each.fget if isinstance(each, property) else each for each in own.values()]
        for each in things:
            if inspect.isfunction(each) or inspect.isclass(each):
                try:
                    typing.get_type_hints(each)
                except Exception as error:
                    sys.exit(f"{name} {each}: {error!r}")
                count += 1
print(count)
"""
PUBLIC = ["ipvsnl", *[f"ipvsnl.{name}" for name in MODULES]]


@pytest.mark.parametrize("python", PYTHONS, ids=lambda path: Path(path).name)
def test_every_public_annotation_can_be_evaluated(python: str) -> None:
    assert int(run_python(EVALUATE % PUBLIC, python=python)) > 50


def test_the_type_of_a_field_is_a_real_type() -> None:
    assert typing.get_type_hints(Service)["port"] == Optional[int]
    assert typing.get_type_hints(ipvsnl.Client.dests)["return"] == list[Destination]
