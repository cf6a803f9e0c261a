"""The format of Prometheus: what its own promtool, node_exporter and server make of it, and samples put together here
from ipvsadm's text.
"""

import io
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import ipvsadm
import netlink
import pytest
from conftest import KERNELS, capture, capture_path, listing, printed, run
from servers import ask, eventually, free_port, running

from ipvsnl import Client, Daemon, Destination, Info, Service, ServiceFlags, Stats, Timeouts, TunnelFlags
from ipvsnl.capture import Recorder, Replay
from ipvsnl.cli import main
from ipvsnl.formats import Report
from ipvsnl.formats.prometheus import render

Tool = Callable[[str], str]
Sample = tuple[str, dict[str, str], int]  # name, labels and value

NO_STATS = Stats(*netlink.NO_STATS)
SERVICE = Service("inet", "tcp", "10.0.0.1", 80, None, "rr", ServiceFlags.HASHED, 0, 32, None, NO_STATS)
MARK = replace(SERVICE, protocol=None, address=None, port=None, fwmark=47)
MARK6 = replace(MARK, address_family="inet6", netmask=128)
DEST = Destination("inet", "192.0.2.1", 80, "tunnel", 1, 0, 0, 0, 0, 0, "ipip", 0, TunnelFlags(0), NO_STATS)


def text(*entries: "tuple[Service, list[Destination] | None]", **options: Any) -> str:
    return "".join(render(Report(entries, **options)))


def samples(exposition: str) -> list[Sample]:
    found = []
    for line in exposition.splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:{(.*)})? (-?\d+)", line).groups()  # type: ignore[union-attr]
            found.append((name, dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"(?:,|$)', labels or "")), int(value)))
    return found


# What it says.

FROM_STATS = {
    "connections_total": "connections",
    "incoming_packets_total": "pkts_in",
    "outgoing_packets_total": "pkts_out",
    "incoming_bytes_total": "bytes_in",
    "outgoing_bytes_total": "bytes_out",
}
GAUGES = ["active_connections", "inactive_connections", "persistent_connections", "weight"]


def expected(service: ipvsadm.Entry) -> Iterator[Sample]:
    """All samples of a service as ipvsadm lists it."""
    key = {name: str(service[name]) for name in ("address", "port", "protocol", "fwmark") if service[name] is not None}
    family = service["address_family"]
    labels = {**key, "address_family": family, "netmask": str(service["netmask"]), "sched": service["scheduler"]}
    virtual = {f"virtual_{name}": value for name, value in key.items()}
    if "fwmark" in key:
        virtual["virtual_address_family"] = family
    for metric, field in FROM_STATS.items():
        yield f"ipvs_virtual_server_{metric}", labels, service["stats"][field]
    for destination in service["destinations"]:
        own = {name: str(destination[name]) for name in ("address", "address_family", "port")}
        for metric, field in FROM_STATS.items():
            yield f"ipvs_real_server_{metric}", {**own, **virtual}, destination["stats"][field]
        for metric in GAUGES:
            yield f"ipvs_real_server_{metric}", {**own, **virtual}, destination[metric]


def in_order(found: "list[Sample]") -> "list[tuple[str, list[tuple[str, str]], int]]":
    return sorted((name, sorted(labels.items()), value) for name, labels, value in found)


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_sample_is_what_ipvsadm_printed(kernel: str) -> None:
    """But the inactive connections, some of which had ended before ipvsadm printed them."""
    info, size, *found = samples(run("-f", "prometheus", "--replay", capture_path(kernel)).stdout)
    wanted = [sample for service in listing(kernel) for sample in expected(service)]
    moved = "ipvs_real_server_inactive_connections"
    assert in_order([sample for sample in found if sample[0] != moved]) == in_order(
        [sample for sample in wanted if sample[0] != moved]
    )
    assert len(found) == len(wanted)
    said = ipvsadm.info(printed(kernel, "list.txt"))
    assert info == ("ipvs_info", {"version": said["version"]}, 1)
    assert size == ("ipvs_connection_table_size", {}, said["connection_table_size"])


def test_each_value_is_under_its_name() -> None:
    stats = Stats(*range(1, 11))
    gauges = {name: number for number, name in enumerate(GAUGES, 11)}
    found = samples(text((replace(SERVICE, stats=stats), [replace(DEST, stats=stats, **gauges)])))
    counters = {name: getattr(stats, field) for name, field in FROM_STATS.items()}
    assert {name: value for name, _, value in found} == {
        **{f"ipvs_virtual_server_{name}": value for name, value in counters.items()},
        **{f"ipvs_real_server_{name}": value for name, value in {**counters, **gauges}.items()},
    }


def test_each_metric_is_one_group_with_help_and_type() -> None:
    lines = run("-f", "prometheus", "--replay", capture_path("linux-6.1")).stdout.splitlines()
    order = [re.match(r"(?:# \w+ )?(\w+)", line)[1] for line in lines]  # type: ignore[index]
    groups = [name for number, name in enumerate(order) if order[number - 1] != name]
    assert len(groups) == len(set(groups)) == 2 + 5 + 9
    for name in groups:
        kind = "counter" if name.endswith("_total") else "gauge"
        help, type, *rest = (line for line, its in zip(lines, order) if its == name)
        assert help.startswith(f"# HELP {name} ") and type == f"# TYPE {name} {kind}" and rest


def test_counters_are_written_in_full() -> None:
    stats = replace(NO_STATS, bytes_in=2**64 - 1)
    assert "ipvs_virtual_server_incoming_bytes_total{" in text((replace(SERVICE, stats=stats), []))
    assert f" {2**64 - 1}\n" in text((replace(SERVICE, stats=stats), []))


def test_label_values_are_escaped() -> None:
    assert r'sched="a\\b\"c\nd"' in text((replace(SERVICE, scheduler='a\\b"c\nd'), []))


def test_services_only_has_no_metric_of_real_servers() -> None:
    assert "ipvs_real_server" not in text((SERVICE, None), (MARK, None))
    assert "ipvs_virtual_server" in text((SERVICE, None))


def test_an_ipvs_without_services_is_its_version_and_table(
    kernel_socket: Callable[[netlink.ScriptedKernel], None], capsys: pytest.CaptureFixture[str]
) -> None:
    kernel_socket(netlink.IPVSKernel())
    assert main(["-f", "prometheus"]) == 0
    found = [name for name, _, _ in samples(capsys.readouterr().out)]
    assert found == ["ipvs_info", "ipvs_connection_table_size", *["ipvs_timeout_seconds"] * 3]


def test_a_capture_without_them_is_printed_without_them(tmp_path: Path) -> None:
    """As ipvsnl records them if it prints line protocol."""
    recording = io.BytesIO()
    with Client(transport=Recorder(Replay(io.BytesIO(capture("linux-6.1"))), recording)) as client:
        list(client.dump())
    (tmp_path / "own.pcap").write_bytes(recording.getvalue())
    done = run("-f", "prometheus", "--replay", tmp_path / "own.pcap")
    assert done.returncode == 0
    assert done.stdout.startswith("# HELP ipvs_virtual_server_connections_total ")


def test_line_protocol_does_not_ask_the_kernel_for_them(
    kernel_socket: Callable[[netlink.ScriptedKernel], None],
) -> None:
    rest = {netlink.GET_INFO, netlink.GET_CONFIG, netlink.GET_DAEMON}
    asked = {}
    for format in ("line", "json", "prometheus"):
        kernel = netlink.IPVSKernel()
        kernel_socket(kernel)
        main(["-f", format])
        asked[format] = rest & {request.command for request in kernel.requests}
    assert asked == {"line": set(), "json": rest, "prometheus": rest}


def test_the_rest_of_ipvs_is_metrics() -> None:
    daemons = [Daemon("master", "eth0", 7, None, None, None, None), Daemon("backup", 'e"1', 9, 1472, None, 8848, 1)]
    found = samples(text(info=Info("1.2.1", 4096), timeouts=Timeouts(900, 120, 300), daemons=daemons))
    assert found == [
        ("ipvs_info", {"version": "1.2.1"}, 1),
        ("ipvs_connection_table_size", {}, 4096),
        ("ipvs_timeout_seconds", {"timeout": "tcp"}, 900),
        ("ipvs_timeout_seconds", {"timeout": "tcp_fin"}, 120),
        ("ipvs_timeout_seconds", {"timeout": "udp"}, 300),
        ("ipvs_sync_daemon", {"interface": "eth0", "state": "master", "sync_id": "7"}, 1),
        ("ipvs_sync_daemon", {"interface": 'e\\"1', "state": "backup", "sync_id": "9"}, 1),
    ]


def test_aggregate_is_metrics_of_the_virtual_server() -> None:
    pool = [replace(DEST, weight=weight, inactive_connections=5) for weight in (1, 0, 2)]
    exposition = text((SERVICE, pool), aggregate=True)
    assert "ipvs_real_server" not in exposition
    assert {name: value for name, _, value in samples(exposition) if not name.endswith("_total")} == {
        "ipvs_virtual_server_active_connections": 0,
        "ipvs_virtual_server_inactive_connections": 15,
        "ipvs_virtual_server_persistent_connections": 0,
        "ipvs_virtual_server_real_servers": 3,
        "ipvs_virtual_server_real_servers_available": 2,
    }


REST: "dict[str, Any]" = {
    "info": Info("1.2.1", 4096),
    "timeouts": Timeouts(900, 120, 300),
    "daemons": [Daemon("master", "eth0", 7, None, None, None, None)],
}


@pytest.mark.parametrize("aggregate", [False, True])
def test_every_sample_names_the_namespace(aggregate: bool) -> None:
    exposition = text((SERVICE, [DEST]), (MARK6, [DEST]), netns="blue", aggregate=aggregate, **REST)
    assert {labels["netns"] for _, labels, _ in samples(exposition)} == {"blue"}
    assert 'netns="a\\\\b"' in text((SERVICE, []), netns="a\\b")


# What Prometheus makes of it.


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
