"""How many series a real VictoriaMetrics makes of the line protocol: the formulas of the documentation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from configurations import OPTIONS, configuration
from servers import ask, eventually, free_port, running

from ipvsnl.formats import Report, line_protocol

Tool = Callable[[str], str]


@pytest.fixture
def victoria(tool: Tool, tmp_path: Path) -> Iterator[int]:
    """The port of a VictoriaMetrics without data."""
    port = free_port()
    with running(
        tool("victoria-metrics"),
        f"-httpListenAddr=127.0.0.1:{port}",
        f"-storageDataPath={tmp_path}",
        "-retentionPeriod=100y",
        "-memory.allowedBytes=64MiB",
    ):
        eventually(lambda: ask(port, "/health"))
        yield port


# Series of a service and of a real server, one for each field; by all_fields and aggregate.
FORMULAS = {(False, False): (8, 10), (True, False): (10, 16), (False, True): (13, 0), (True, True): (15, 0)}


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_victoriametrics_counts_a_series_for_each_field(options: dict[str, bool], victoria: int) -> None:
    entries = configuration(7)
    text = "".join(line_protocol.render(Report(entries, time.time_ns(), **options)))
    ask(victoria, "/write?db=telegraf", text)
    ask(victoria, "/internal/force_flush")
    match = quote('{__name__=~"ipvs_.*"}')
    answer = json.loads(ask(victoria, f"/api/v1/series?match[]={match}"))
    of_service, of_destination = FORMULAS[options["all_fields"], options["aggregate"]]
    services, destinations = len(entries), sum(len(pool) for _, pool in entries)
    assert destinations > services > 10
    assert len(answer["data"]) == of_service * services + of_destination * destinations
