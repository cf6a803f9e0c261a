"""The dataclasses of the model: real ones, to the standard library and to callers, though they start faster."""

import copy
import dataclasses
import inspect
import pickle
import re

import netlink
import pytest
from conftest import run_python

import ipvsnl
from ipvsnl import Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags

STATS = Stats(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
SERVICE = Service("inet", "tcp", "10.0.0.1", 80, None, "rr", ServiceFlags(0x43), 300, 24, "sip", STATS)
DESTINATION = Destination(
    "inet6", "2001:db8::1", 80, "tunnel", -1, 9, 8, 7, 6, 5, "gue", 6080, TunnelFlags.CSUM | TunnelFlags.REMCSUM, STATS
)
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


def test_equal_values_of_different_classes_are_unequal() -> None:
    assert Info(1, 2) != Timeouts(1, 2, 3)  # type: ignore[arg-type]
    assert STATS != (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)


@every_example
def test_it_is_mutable_and_so_not_hashable(example: object) -> None:
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


def test_importing_the_package_loads_nothing_but_what_every_such_program_has() -> None:
    base = set(run_python(LOADED.format("dataclasses, socket, struct")).split())
    loaded = set(run_python(LOADED.format("ipvsnl")).split())
    assert {name for name in loaded - base if not name.startswith("ipvsnl")} == set()


def test_importing_the_package_does_not_load_the_command_line_or_captures() -> None:
    loaded = set(run_python(LOADED.format("ipvsnl")).split())
    assert not loaded & {"ipvsnl.cli", "ipvsnl.capture", "ipvsnl.pcap", "ipvsnl.formats", "argparse", "json"}


def test_stats_in_the_kernels_order_are_the_fields_in_order() -> None:
    """Decoders and these tests rely on it: IPVS_STATS_ATTR_CONNS is 1, IPVS_STATS_ATTR_OUTBPS is 10."""
    assert [number for number, _ in netlink.stats(dataclasses.astuple(STATS))] == list(dataclasses.astuple(STATS))
