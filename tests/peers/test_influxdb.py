"""What a real InfluxDB understands of the line protocol, and the configuration by which telegraf takes it there."""

import json
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from configurations import OPTIONS, configuration
from conftest import KERNELS, ROOT, capture_path, run
from servers import ask

from ipvsnl import testing
from ipvsnl.formats import Report, line_protocol

Tool = Callable[[str], str]
Point = tuple[str, dict[str, str], dict[str, int], int]  # measurement, tags, fields, time


def points(port: int) -> list[Point]:
    """All that the database has."""
    answer = ask(port, f"/query?db=telegraf&epoch=ns&q={quote('SELECT * FROM /.*/ GROUP BY *')}")
    found = []
    for series in json.loads(answer)["results"][0]["series"]:
        # Tags and fields that only other series of the answer have are empty.
        tags = {name: text for name, text in series["tags"].items() if text}
        for values in series["values"]:
            fields = {name: value for name, value in zip(series["columns"], values) if value is not None}
            found.append((series["name"], tags, fields, fields.pop("time")))
    return found


def document_points(document: dict[str, Any], time: int) -> Iterator[Point]:
    """The points that the JSON document of the same dump calls for."""
    for service in document["services"]:
        key = {tag: str(service[tag]) for tag in ("protocol", "address", "port", "fwmark") if service[tag] is not None}
        tags = {"address_family": service["address_family"], "netmask": str(service["netmask"])}
        yield "ipvs_virtual_server", {**key, **tags, "sched": service["scheduler"]}, counters(service), time
        for destination in service["destinations"]:
            tags = {tag: str(destination[tag]) for tag in ("address", "address_family", "port")}
            fields = {name: destination[name] for name in ("active_connections", "inactive_connections")}
            virtual = {f"virtual_{tag}": text for tag, text in key.items()}
            if "fwmark" in key and service["address_family"] == "inet6":
                virtual["virtual_address_family"] = "inet6"
            yield "ipvs_real_server", {**tags, **virtual}, {**fields, **counters(destination)}, time


def counters(entry: dict[str, Any]) -> dict[str, int]:
    return {name: value for name, value in entry["stats"].items() if not name.startswith("bps")}


def in_order(found: "list[Point]") -> list[str]:
    return sorted(
        f"{name} {sorted(tags.items())} {sorted(fields.items())} {time}" for name, tags, fields, time in found
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_tag_field_and_time_is_read_back(kernel: str, influxdb: int) -> None:
    lines = run("--replay", capture_path(kernel)).stdout
    document = json.loads(run("-f", "json", "--replay", capture_path(kernel)).stdout)
    (time,) = {int(line.split()[-1]) for line in lines.splitlines()}
    assert ask(influxdb, "/write?db=telegraf", lines) == ""
    assert in_order(points(influxdb)) == in_order(list(document_points(document, time)))


NAMES = {  # of schedulers, and what the tag is read back as
    "": None,
    "\\": None,
    "a\\": "a",
    'a"b': 'a"b',
    "a\tb": r"a\tb",
    "a\r": r"a\r",
    "a\nb": r"a\nb",
    "\va\f": r"\va\f",
    "é": "é",
    "a\\ b": "a\\ b",
    "=": "=",
    ", ": ", ",
    "#": "#",
}


def test_a_service_is_one_point_whatever_the_name_of_its_scheduler(influxdb: int) -> None:
    """A module chooses it, and a capture may hold anything."""
    for number, name in enumerate(NAMES, 1):
        (line,) = line_protocol.render(Report([(testing.service(scheduler=name), [])], number))
        assert ask(influxdb, "/write?db=telegraf", line) == "", name
    found = points(influxdb)
    assert {time: tags.get("sched") for _, tags, _, time in found} == dict(enumerate(NAMES.values(), 1))
    for measurement, tags, fields, _ in found:
        assert (measurement, tags["protocol"], tags["port"], len(fields)) == ("ipvs_virtual_server", "tcp", "80", 8)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_influxdb_counts_as_many_series_as_were_sent(options: dict[str, bool], influxdb: int) -> None:
    sent = 0
    for seed, netns in ((0, None), (7, "a"), (7, "b c"), (9, "d\\e")):
        text = "".join(line_protocol.render(Report(configuration(seed), time.time_ns(), netns=netns, **options)))
        assert ask(influxdb, "/write?db=telegraf", text) == ""
        sent += text.count("\n")
    answer = json.loads(ask(influxdb, f"/query?db=telegraf&q={quote('SHOW SERIES EXACT CARDINALITY')}"))
    counted = [series["values"][0][0] for series in answer["results"][0]["series"]]
    assert sum(counted) == sent > 50


# telegraf itself is in no Debian. What its configuration calls is tried as it would call it.

EXAMPLE = (ROOT / "examples" / "telegraf.conf").read_text()


def commands() -> list[list[str]]:
    """Of inputs.execd a list of words, of inputs.exec a list of lines; those that are comments, too."""
    (execd,) = re.findall(r"^command = (\[.*\])$", EXAMPLE.replace("  ", ""), re.MULTILINE)
    lines = [line for found in re.findall(r"commands = (\[.*\])", EXAMPLE) for line in json.loads(found)]
    return [json.loads(execd), *map(shlex.split, lines)]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_of_the_example_are_understood(words: list[str]) -> None:
    arguments = words[[Path(word).name for word in words].index("ipvsnl") + 1 :]
    done = run(*arguments, "--replay", capture_path("linux-6.1"), input="\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run("--replay", capture_path("linux-6.1")).stdout


def test_the_example_is_toml() -> None:
    tomllib = pytest.importorskip("tomllib", reason="since Python 3.11")
    assert list(tomllib.loads(EXAMPLE)["inputs"]) == ["execd"]
    uncommented = re.sub(r"^# (?=\[\[|  )(?!    )", "", EXAMPLE, flags=re.MULTILINE)
    inputs = tomllib.loads(uncommented)["inputs"]
    assert {name: len(entries) for name, entries in inputs.items()} == {"execd": 1, "exec": 2}
    assert {entry["data_format"] for entries in inputs.values() for entry in entries} == {"influx"}


def test_what_execd_writes_is_stored_dump_by_dump(influxdb: int) -> None:
    command = [sys.executable, "-m", "ipvsnl", "--execd", "--replay", str(capture_path("linux-6.1"))]
    done = subprocess.run(command, cwd=ROOT, input="\n\n", capture_output=True, text=True, timeout=60)
    assert ask(influxdb, "/write?db=telegraf", done.stdout) == ""
    assert len(points(influxdb)) * 2 == done.stdout.count("\n")  # the same time twice is the same point
