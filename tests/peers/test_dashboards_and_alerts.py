"""The dashboards and alert rules in examples/, tried on what the program prints."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import ROOT, capture_path
from servers import ask

from ipvsnl import Client, Daemon, Destination, Info, Service, Timeouts
from ipvsnl.capture import Replay
from ipvsnl.formats import Report, line_protocol, prometheus

Tool = Callable[[str], str]
EXAMPLES = ROOT / "examples"
ALERTS = EXAMPLES / "prometheus-alerts.yml"
DAEMONS = [Daemon(state, "eth0", 7, None, None, None, None) for state in ("master", "backup")]


def entries() -> list[tuple[Service, list[Destination]]]:
    with capture_path("linux-6.1").open("rb") as file, Client(transport=Replay(file)) as client:
        return list(client.dump())


def exposition(**options: Any) -> str:
    """What a director with daemons prints."""
    rest = {"info": Info("1.2.1", 4096), "timeouts": Timeouts(900, 120, 300), "daemons": DAEMONS}
    return "".join(prometheus.render(Report(**{"entries": entries(), **rest, **options})))


# The dashboards.


def queries(dashboard: str, key: str) -> list[str]:
    panels = json.loads((EXAMPLES / dashboard).read_text())["panels"]
    return [target[key] for panel in panels for target in panel["targets"]]


@pytest.mark.parametrize("dashboard", ["grafana-prometheus.json", "grafana-influxql.json"])
def test_panels_of_a_dashboard_have_numbers_and_places_of_their_own(dashboard: str) -> None:
    document = json.loads((EXAMPLES / dashboard).read_text())
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])
    places = [panel["gridPos"] for panel in document["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24
    assert document["templating"]["list"][0]["name"] == "datasource"


def metrics(text: str) -> set[str]:
    return set(re.findall(r"\bipvs_\w+", text))


PRINTED = {
    line.split(" ")[2]
    for options in ({}, {"aggregate": True})
    for line in exposition(**options).splitlines()
    if line.startswith("# TYPE")
}


def test_the_prometheus_dashboard_shows_every_metric_and_no_other() -> None:
    assert {name for query in queries("grafana-prometheus.json", "expr") for name in metrics(query)} == PRINTED


def test_alert_rules_name_only_metrics_that_are_printed() -> None:
    rules = ALERTS.read_text()
    assert metrics(re.sub(r"(?m)^ *#.*$", "", rules)) <= PRINTED


def test_labels_in_alert_rules_and_legends_are_printed() -> None:
    labels = {"instance", "job", "state", *re.findall(r'(\w+)="', exposition(netns="blue"))}
    legends = (EXAMPLES / "grafana-prometheus.json").read_text()
    named = [*re.findall(r"\$labels\.(\w+)", ALERTS.read_text()), *re.findall(r"{{(\w+)}}", legends)]
    assert named and set(named) <= labels


@pytest.mark.parametrize("expression", sorted(set(queries("grafana-prometheus.json", "expr"))))
def test_prometheus_understands_a_query_of_the_dashboard(expression: str, tool: Tool, tmp_path: Path) -> None:
    expression = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
    rules = {"groups": [{"name": "dashboard", "rules": [{"record": "panel", "expr": expression}]}]}
    (tmp_path / "rules.yml").write_text(json.dumps(rules))
    subprocess.run([tool("promtool"), "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)


@pytest.fixture
def telegraf_database(influxdb: int) -> int:
    """Two minutes of all kinds of lines, from two directors."""
    now = time.time_ns()
    for host in ("one", "two"):
        for aggregate in (False, True):
            for ago in (120, 60, 0):
                report = Report(entries(), now - ago * 10**9, all_fields=True, aggregate=aggregate)
                lines = "".join(line_protocol.render(report))
                assert ask(influxdb, "/write?db=telegraf", re.sub(r"(?m)^(\w+),", rf"\1,host={host},", lines)) == ""
    return influxdb


def test_each_query_of_the_influxql_dashboard_finds_its_series(telegraf_database: int) -> None:
    """One for each service or real server of both directors, and a value in every column."""
    services = len(entries())
    destinations = sum(len(pool) for _, pool in entries())
    for query in queries("grafana-influxql.json", "query"):
        query = query.replace("$timeFilter", "time > now() - 1h").replace("$__interval", "1m").replace("$host", ".*")
        (result,) = json.loads(ask(telegraf_database, f"/query?db=telegraf&q={quote(query)}"))["results"]
        assert len(result["series"]) == 2 * (services if '"ipvs_virtual_server"' in query else destinations), query
        for series in result["series"]:
            assert any(None not in row for row in series["values"]), query


# The alert rules.


def series(text: str, values: str) -> Iterator[dict[str, str]]:
    """The samples as promtool's series, which go on from their value with this."""
    for line in text.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:{(.*)})? (-?\d+)", line).groups()  # type: ignore[union-attr]
            own = f"{labels}," if labels else ""
            yield {"series": f'{name}{{{own}instance="one",job="node"}}', "values": value + values}


FRESH = {"series": 'node_textfile_mtime_seconds{file="/x/ipvs.prom",instance="one",job="node"}', "values": "0+60x60"}
FOR_AN_HOUR = "+0x60"
FOR_TEN_MINUTES = "+0x10 stale"


def firing(promtool: str, folder: Path, given: list[dict[str, str]], expected: dict[str, int]) -> str:
    """What promtool complains of if not these alerts fire after half an hour, each so many times."""
    samples = [{"labels": f'{{alertname="{name}"}}', "value": number} for name, number in expected.items()]
    expression = 'count by (alertname) (ALERTS{alertstate="firing"})'
    test = {"interval": "1m", "input_series": given}
    test["promql_expr_test"] = [{"expr": expression, "eval_time": "30m", "exp_samples": samples}]
    file = folder / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def weighted(weight: int) -> list[tuple[Service, list[Destination]]]:
    return [(service, [replace(each, weight=weight) for each in pool]) for service, pool in entries() if pool]


DRAINED = {
    "IPVSRealServerDrained": sum(len(pool) for _, pool in weighted(0)),
    "IPVSNoRealServerAvailable": len(weighted(0)),
}
HEALTHY = list(series(exposition(entries=weighted(1)), FOR_AN_HOUR))
CASES: dict[str, tuple[list[dict[str, str]], dict[str, int]]] = {
    "all is well": ([*HEALTHY, FRESH], {}),
    "all is well with sums": ([*series(exposition(entries=weighted(1), aggregate=True), FOR_AN_HOUR), FRESH], {}),
    "as captured, one real server has weight 0": (
        [*series(exposition(), FOR_AN_HOUR), FRESH],
        {"IPVSRealServerDrained": 1},
    ),
    "as captured with sums, two services have no real server": (
        [*series(exposition(aggregate=True), FOR_AN_HOUR), FRESH],
        {"IPVSNoRealServerAvailable": 2},
    ),
    "all weights are 0": ([*series(exposition(entries=weighted(0)), FOR_AN_HOUR), FRESH], DRAINED),
    "all weights are 0, with sums": (
        [*series(exposition(entries=weighted(0), aggregate=True), FOR_AN_HOUR), FRESH],
        {"IPVSNoRealServerAvailable": len(weighted(0))},
    ),
    "the file is old": ([*HEALTHY, {**FRESH, "values": "0+0x60"}], {"IPVSDataStale": 1}),
    "another file is old": (
        [*HEALTHY, FRESH, {"series": FRESH["series"].replace("ipvs.", "apt."), "values": "0+0x60"}],
        {},
    ),
    "the metrics vanish": ([*series(exposition(entries=weighted(1)), FOR_TEN_MINUTES), FRESH], {"IPVSDataMissing": 1}),
    "both daemons stop": (
        [
            *(
                each if "sync_daemon" not in each["series"] else {**each, "values": "1" + FOR_TEN_MINUTES}
                for each in HEALTHY
            ),
            FRESH,
        ],
        {"IPVSSyncDaemonStopped": 2},
    ),
    "a daemon has another sync id now": (
        [
            *(
                each if "backup" not in each["series"] else {**each, "values": "1" + FOR_TEN_MINUTES}
                for each in HEALTHY
            ),
            *(
                {"series": each["series"].replace('"7"', '"8"'), "values": "_x10 1+0x50"}
                for each in HEALTHY
                if "backup" in each["series"]
            ),
            FRESH,
        ],
        {},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_alerts_fire_when_they_should_and_no_others(case: str, tool: Tool, tmp_path: Path) -> None:
    given, expected = CASES[case]
    assert firing(tool("promtool"), tmp_path, given, expected) == ""


def test_promtool_finds_no_fault_in_the_rules(tool: Tool) -> None:
    done = subprocess.run([tool("promtool"), "check", "rules", str(ALERTS)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
