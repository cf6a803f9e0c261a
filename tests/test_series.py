"""No format gives two series one name. What databases count is in peers/."""

from __future__ import annotations

from typing import Any

import pytest
from configurations import OPTIONS, configuration

from ipvsnl import Daemon, Info, Timeouts
from ipvsnl.formats import Report, line_protocol, prometheus

REST: dict[str, Any] = {
    "info": Info("1.2.1", 4096),
    "timeouts": Timeouts(900, 120, 300),
    "daemons": [Daemon(state, "eth0", 7, None, None, None, None) for state in ("master", "backup")],
}


def series_of_line(text: str) -> list[str]:
    """Measurement and tags of each line: what stands before the first space that is not escaped."""
    return [line.replace("\\ ", "_").split(" ")[0] for line in text.splitlines()]


def series_of_prometheus(text: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("seed", range(30))
def test_no_format_prints_two_series_with_one_name(seed: int) -> None:
    """Also of two namespaces in one database."""
    entries = configuration(seed)
    for options in OPTIONS:
        for render, series in ((line_protocol.render, series_of_line), (prometheus.render, series_of_prometheus)):
            found: list[str] = []
            for netns in (None, "a", "b"):
                found += series("".join(render(Report(entries, netns=netns, **REST, **options))))  # type: ignore[arg-type]
            assert len(found) == len(set(found))


def test_configurations_have_what_makes_names_alike() -> None:
    """So that the test above is about something."""
    marks, shared = 0, 0
    for seed in range(30):
        pools = {
            (service.fwmark, service.address_family): pool for service, pool in configuration(seed) if service.fwmark
        }
        for (mark, family), pool in pools.items():
            other = pools.get((mark, "inet6"), []) if family == "inet" else []
            marks += bool(other)
            shared += bool({(each.address, each.port) for each in pool} & {(each.address, each.port) for each in other})
    assert marks > 10 and shared > 10


@pytest.mark.parametrize("seed", range(5))
def test_prometheus_gets_the_documented_number_of_series(seed: int) -> None:
    """S services, D real servers: 5 S + 9 D, with --aggregate 10 S, and 5 and the daemons."""
    entries = configuration(seed)
    services, destinations = len(entries), sum(len(pool) for _, pool in entries)
    whole = series_of_prometheus("".join(prometheus.render(Report(entries, **REST))))
    assert len(whole) == 5 * services + 9 * destinations + 5 + len(REST["daemons"])
    sums = series_of_prometheus("".join(prometheus.render(Report(entries, aggregate=True, **REST))))
    assert len(sums) == 10 * services + 5 + len(REST["daemons"])
