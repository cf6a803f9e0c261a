"""What promtool, node_exporter and a Prometheus make of the text."""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from conftest import KERNELS, capture_path, run
from exposition import DEST, MARK, MARK6, REST, SERVICE, in_order, samples, text
from servers import ask, eventually, free_port, running

from ipvsnl import Stats

Tool = Callable[[str], str]


def check(promtool: str, exposition: str) -> None:
    """promtool says nothing, neither that it cannot be read nor that it is unusual."""
    done = subprocess.run([promtool, "check", "metrics"], input=exposition, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kernel", KERNELS)
def test_promtool_finds_nothing_to_say(kernel: str, tool: Tool) -> None:
    check(tool("promtool"), run("-f", "prometheus", "--replay", capture_path(kernel)).stdout)


@pytest.mark.parametrize("netns", [None, "blue"])
def test_promtool_finds_nothing_to_say_about_sums_and_the_rest(netns: "str | None", tool: Tool) -> None:
    check(tool("promtool"), text((SERVICE, [DEST]), (MARK6, [DEST]), netns=netns, aggregate=True, **REST))


@contextmanager
def node_exporter(program: str, folder: Path, exposition: str) -> Iterator[int]:
    """The port at which node_exporter publishes what its textfile collector finds in the folder."""
    (folder / "ipvs.prom").write_text(exposition)
    port = free_port()
    with running(
        program,
        f"--web.listen-address=127.0.0.1:{port}",
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={folder}",
    ):
        yield port


SHARED = [(SERVICE, [DEST]), (replace(SERVICE, port=443), [DEST]), (replace(SERVICE, protocol="udp"), [DEST])]
MARKS = [(MARK, [DEST]), (replace(MARK, fwmark=48), [DEST]), (MARK6, [DEST])]


@pytest.mark.parametrize(
    "entries",
    [
        SHARED,
        MARKS,
        [(replace(SERVICE, scheduler='a\\b"c\nd'), [DEST])],
        [(replace(SERVICE, stats=Stats(*[2**53] * 10)), [replace(DEST, weight=-1)])],
    ],
    ids=["shared real servers", "marks that share one, in both families", "escapes", "large and negative"],
)
def test_node_exporter_takes(entries: "list[Any]", tool: Tool, tmp_path: Path) -> None:
    exposition = text(*entries)
    check(tool("promtool"), exposition)
    with node_exporter(tool("prometheus-node-exporter"), tmp_path, exposition) as port:
        published = eventually(lambda: ask(port, "/metrics"))
    assert "node_textfile_scrape_error 0\n" in published
    lines = [line for line in published.splitlines() if line.startswith("ipvs_")]
    assert sorted((line.split()[0], float(line.split()[-1])) for line in lines) == sorted(
        (line.split()[0], float(line.split()[-1])) for line in exposition.splitlines() if not line.startswith("#")
    )


def test_node_exporter_would_drop_a_series_that_comes_twice(tool: Tool, tmp_path: Path) -> None:
    """So that the test above is about something. promtool does not mind."""
    exposition = text((SERVICE, [DEST, DEST]))
    with node_exporter(tool("prometheus-node-exporter"), tmp_path, exposition) as port:
        published = eventually(lambda: ask(port, "/metrics"))
    assert (exposition.count("ipvs_real_server_weight{"), published.count("ipvs_real_server_weight{")) == (2, 1)


def test_prometheus_scrapes_it_from_node_exporter_and_answers_queries(tool: Tool, tmp_path: Path) -> None:
    exposition = run("-f", "prometheus", "--replay", capture_path("linux-6.1")).stdout
    port = free_port()

    def query(expression: str) -> "list[Any]":
        answer = json.loads(ask(port, f"/api/v1/query?query={quote(expression)}"))
        return [(series["metric"], series["value"][1]) for series in answer["data"]["result"]]

    with node_exporter(tool("prometheus-node-exporter"), tmp_path, exposition) as exporter:
        config = tmp_path / "prometheus.yml"
        config.write_text(
            "global: {scrape_interval: 1s}\n"
            "scrape_configs:\n"
            f"- {{job_name: node, static_configs: [{{targets: ['127.0.0.1:{exporter}']}}]}}\n"
        )
        with running(
            tool("prometheus"),
            f"--config.file={config}",
            f"--web.listen-address=127.0.0.1:{port}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
        ):
            eventually(lambda: query("ipvs_info"))
            found = []
            for metric, value in query('{__name__=~"ipvs_.*"}'):
                labels = {name: text for name, text in metric.items() if name not in ("__name__", "instance", "job")}
                found.append((metric["__name__"], labels, int(value)))
    assert in_order(found) == in_order(samples(exposition))
