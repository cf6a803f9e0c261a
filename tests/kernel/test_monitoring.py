"""What monitoring needs from a real kernel: daemons, timeouts, sums, and one name for each series."""

from __future__ import annotations

import json

from director import configure, printed, set_up_void
from linux import run

BOTH_FAMILIES = """\
-A -f 7 -s rr
-A -f 7 -6 -s rr
-a -f 7 -r 192.0.2.10 -i -w 0
-a -f 7 -6 -r 192.0.2.10 -i -w 3
"""


def test_a_stopped_daemon_is_no_metric_any_more(namespace: None) -> None:
    set_up_void()
    run("ipvsadm", "--start-daemon", "backup", "--mcast-interface", "void", "--syncid", "7")
    metric = 'ipvs_sync_daemon{interface="void",state="backup",sync_id="7"} 1'
    assert metric in printed("-f", "prometheus").splitlines()
    (daemon,) = json.loads(printed("-f", "json"))["daemons"]
    assert (daemon["state"], daemon["mcast_ifn"], daemon["sync_id"]) == ("backup", "void", 7)
    run("ipvsadm", "--stop-daemon", "backup")
    assert "ipvs_sync_daemon" not in printed("-f", "prometheus")
    assert json.loads(printed("-f", "json"))["daemons"] == []


def test_timeouts_are_those_that_were_set(namespace: None) -> None:
    run("ipvsadm", "--set", "100", "20", "3")
    assert json.loads(printed("-f", "json"))["timeouts"] == {"tcp": 100, "tcp_fin": 20, "udp": 3}
    found = [line for line in printed("-f", "prometheus").splitlines() if line.startswith("ipvs_timeout_seconds")]
    assert [line.split()[1] for line in found] == ["100", "20", "3"]


def test_one_mark_in_both_families_gives_two_series(namespace: None) -> None:
    set_up_void()
    configure(BOTH_FAMILIES)
    names = [line.split(" ")[0] for line in printed().splitlines()]
    assert len(names) == len(set(names)) == 4
    names = [line.split(" ")[0] for line in printed("-f", "prometheus").splitlines() if not line.startswith("#")]
    assert len(names) == len(set(names))


def test_sums_are_of_the_real_servers_of_each_service(namespace: None) -> None:
    set_up_void()
    configure(BOTH_FAMILIES)
    services = json.loads(printed("-f", "json", "--aggregate"))["services"]
    available = {each["address_family"]: each["real_servers_available"] for each in services}
    assert available == {"inet": 0, "inet6": 1}
    assert [each["real_servers"] for each in services] == [1, 1]
    assert all("destinations" not in each for each in services)
