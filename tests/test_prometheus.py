"""The format of Prometheus: samples put together here from ipvsadm's text. What Prometheus makes of it is in peers/."""

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import ipvsadm
import netlink
import pytest
from conftest import KERNELS, capture, capture_path, listing, printed, run
from exposition import DEST, MARK, MARK6, NO_STATS, REST, SERVICE, Sample, in_order, samples, text

from ipvsnl import Client, Daemon, Info, Stats, Timeouts
from ipvsnl.capture import Recorder, Replay
from ipvsnl.cli import main

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


@pytest.mark.parametrize("aggregate", [False, True])
def test_every_sample_names_the_namespace(aggregate: bool) -> None:
    exposition = text((SERVICE, [DEST]), (MARK6, [DEST]), netns="blue", aggregate=aggregate, **REST)
    assert {labels["netns"] for _, labels, _ in samples(exposition)} == {"blue"}
    assert 'netns="a\\\\b"' in text((SERVICE, []), netns="a\\b")
