"""One line per attribute: the schema, the model, the loops of _decode, the JSON document and the docs agree.

The oracle is tests/netlink.py, which has the kernel's numbers and packs messages on its own.
"""

import dataclasses
import inspect
import json
import re
from typing import Any

import netlink
import pytest
from conftest import ROOT

from ipvsnl import Daemon, Destination, Info, Service, Stats, Timeouts, _decode, _schema
from ipvsnl.cli import main

STATS_FIELDS = [field.name for field in dataclasses.fields(Stats)]
TABLES = {
    "SERVICE": (_schema.SERVICE, netlink.SVC, Service),
    "DEST": (_schema.DEST, netlink.DEST, Destination),
}
MODELS = {
    **{Service: _schema.SERVICE, Destination: _schema.DEST, Stats: _schema.STATS},
    **{Daemon: _schema.DAEMON, Info: _schema.INFO, Timeouts: _schema.TIMEOUTS},
}
every_table = pytest.mark.parametrize("name", TABLES)
every_model = pytest.mark.parametrize("model", MODELS)

# What the kernel compares: __ip_vs_service_find() and __ip_vs_svc_fwm_find(), ip_vs_lookup_dest().
SERVICE_IDENTITY = {"AF", "PROTOCOL", "ADDR", "PORT", "FWMARK"}
DEST_IDENTITY = {"ADDR", "PORT", "ADDR_FAMILY"}

# A value of each attribute that differs from that of tests/netlink.py.
OTHER: "dict[str, dict[str, Any]]" = {
    "SERVICE": {
        "AF": netlink.u16(10),
        "PROTOCOL": netlink.u16(17),
        "ADDR": netlink.address("10.0.0.2"),
        "PORT": netlink.be16(81),
        "FWMARK": netlink.u32(7),
        "SCHED_NAME": netlink.text("wlc"),
        "PE_NAME": netlink.text("sip"),
        "FLAGS": netlink.u32(3) + netlink.u32(0),
        "TIMEOUT": netlink.u32(60),
        "NETMASK": b"\xff\xff\xff\0",
    },
    "DEST": {
        "ADDR": netlink.address("192.0.2.2"),
        "PORT": netlink.be16(81),
        "FWD_METHOD": netlink.u32(2),
        "WEIGHT": netlink.s32(9),
        "TUN_TYPE": netlink.u8(1),
        "TUN_PORT": netlink.be16(6080),
        "TUN_FLAGS": netlink.u16(1),
        "U_THRESH": netlink.u32(9),
        "L_THRESH": netlink.u32(9),
        "ACTIVE_CONNS": netlink.u32(9),
        "INACT_CONNS": netlink.u32(9),
        "PERSIST_CONNS": netlink.u32(9),
        "ADDR_FAMILY": netlink.u16(10),
    },
}


def tree(name: str, **changes: Any) -> netlink.Tree:
    return netlink.service(**changes) if name == "SERVICE" else netlink.destination(**changes)


def identity(name: str, **changes: Any) -> Any:
    entries = _decode.SERVICE_ROWS if name == "SERVICE" else _decode.DEST_ROWS
    row = entries.row(netlink.pack(tree(name, **changes)))
    return entries.identity(row)


@every_table
def test_each_attribute_has_the_number_of_the_kernel(name: str) -> None:
    table, numbers, _ = TABLES[name]
    assert {each.name: each.number for each in table.attributes} == numbers


def test_the_counters_have_the_numbers_of_the_kernel() -> None:
    names = ["CONNS", "INPKTS", "OUTPKTS", "INBYTES", "OUTBYTES", "CPS", "INPPS", "OUTPPS", "INBPS", "OUTBPS"]
    for table in (_schema.STATS, _schema.STATS64):
        assert [(each.number, each.name) for each in table.attributes] == list(enumerate(names, 1))
        assert [each.field for each in table.attributes] == STATS_FIELDS


@every_model
def test_each_attribute_has_a_field_and_each_field_an_attribute(model: Any) -> None:
    assert {each.field for each in MODELS[model].attributes} == {field.name for field in dataclasses.fields(model)}


@every_table
def test_a_change_of_an_identity_attribute_makes_another_entry(name: str) -> None:
    expected = SERVICE_IDENTITY if name == "SERVICE" else DEST_IDENTITY
    changing = {each for each, value in OTHER[name].items() if identity(name, **{each: value}) != identity(name)}
    assert changing == expected


@every_table
def test_each_attribute_changes_its_own_field_alone(name: str) -> None:
    """An index that is off by one, or two columns exchanged, changes another field."""
    table, _, _ = TABLES[name]
    before = decoded(name)
    for attribute in table.attributes:
        if attribute.field != "stats" and attribute.name not in ("AF", "FWMARK", "ADDR_FAMILY"):
            after = decoded(name, **{attribute.name: OTHER[name][attribute.name]})
            changed = {field for field in before if before[field] != after[field]}
            assert changed == {attribute.field}, attribute.name


def decoded(name: str, **changes: Any) -> "dict[str, Any]":
    attributes = netlink.pack(tree(name, **changes))
    entry = _decode.decode_service(attributes) if name == "SERVICE" else _decode.decode_destination(attributes, "inet")
    return {field.name: getattr(entry, field.name) for field in dataclasses.fields(entry)}


def test_no_two_counters_are_exchanged() -> None:
    stats = decoded("DEST", STATS64=netlink.stats(range(1, 11), wide=True))["stats"]
    assert dataclasses.astuple(stats) == tuple(range(1, 11))


@every_table
def test_the_columns_of_a_row_are_those_of_the_loop(name: str) -> None:
    """A new attribute without a line in the loop, or before another one, cannot be unpacked."""
    entries = _decode.SERVICE_ROWS if name == "SERVICE" else _decode.DEST_ROWS
    row = entries.row(netlink.pack(tree(name)))
    arguments = () if name == "SERVICE" else ("inet",)
    assert len(entries.make([row], *arguments)) == 1
    for wrong in (row[:-1], (*row, 0)):
        with pytest.raises(ValueError, match="unpack"):
            entries.make([wrong], *arguments)


def test_the_json_document_has_each_field(capsys: pytest.CaptureFixture[str]) -> None:
    main(["-f", "json", "--replay", str(ROOT / "tests/fixtures/linux-6.1/stats.pcap")])
    services = json.loads(capsys.readouterr().out)["services"]
    destination = next(service["destinations"][0] for service in services if service["destinations"])
    for entry, model in ((services[0], Service), (destination, Destination), (destination["stats"], Stats)):
        fields = {field.name for field in dataclasses.fields(model)}
        assert fields <= set(entry)


@every_model
def test_the_docstring_names_the_attribute_of_each_field(model: Any) -> None:
    text = inspect.getdoc(model) or ""
    for attribute in MODELS[model].attributes:
        described = re.search(rf"^{attribute.field} .*(\n  .*)*", text, re.MULTILINE)
        assert described and re.search(rf"\b{attribute.name}\b", described[0]), attribute.name
