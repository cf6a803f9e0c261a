"""The parser of ipvsadm's text, for what ipvsadm can print and no capture here has. Texts are as ipvsadm 1.31 prints
them (print_service_entry() in ipvsadm.c)."""

import ipvsadm
import pytest
from conftest import KERNELS, listing, printed

LISTING = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
"""


def service(line: str) -> ipvsadm.Entry:
    (entry,) = ipvsadm.services(LISTING + line + "\n")
    return entry


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        ("TCP  10.0.0.1:80 rr", []),
        ("TCP  10.0.0.1:80 mh (mh-fallback)", ["sched1"]),
        ("TCP  10.0.0.1:80 mh (mh-fallback,mh-port)", ["sched1", "sched2"]),
        ("TCP  10.0.0.1:80 lblc (flag-1,flag-2,flag-3)", ["sched1", "sched2", "sched3"]),
        ("UDP  10.0.0.1:80 sh (sh-port) persistent 60 pe sip ops", ["persistent", "onepacket", "sched2"]),
    ],
)
def test_flags_are_names_of_bits(line: str, flags: list[str]) -> None:
    assert service(line)["flags"] == flags


def test_a_large_fwmark_that_ipvsadm_prints_as_negative() -> None:
    assert service("FWM  -1 IPv6 rr")["fwmark"] == 0xFFFFFFFF


def test_a_protocol_without_a_name() -> None:
    assert service("?    10.0.0.1:80 rr")["protocol"] == "?"


def test_a_real_server_on_the_director_itself() -> None:
    pool = service("TCP  10.0.0.1:80 rr\n  -> 10.0.0.1:80                  Local   1      2          3         ")
    assert pool["destinations"][0]["forwarding"] == "local"


TUNNELS = """\
TCP  10.0.0.1:80 rr
  -> 192.0.2.1:80                 Tunnel  ipip          1      0          0
  -> 192.0.2.2:80                 Tunnel  gue:6080:r+c  1      0          0
  -> 192.0.2.3:80                 Tunnel  gre:-c        1      0          0
  -> 192.0.2.4:80                 Masq    n/a           1      0          0
"""


def test_tunnel_information() -> None:
    title = LISTING.replace("Forward Weight", "Forward TunnelInfo    Weight")
    (entry,) = ipvsadm.services(title + TUNNELS)
    tunnels = [(d.get("tunnel_type"), d.get("tunnel_port"), d.get("tunnel_flags")) for d in entry["destinations"]]
    assert tunnels == [("ipip", 0, []), ("gue", 6080, ["remcsum"]), ("gre", 0, []), (None, None, None)]


def test_a_rule_with_thresholds_as_ipvsadm_reads_them() -> None:
    rules = "-A -u 10.0.0.1:53 -s wlc\n-a -u 10.0.0.1:53 -r 192.0.2.1:53 -m -w 1 -x 1000 -y 500\n"
    (entry,) = ipvsadm.rules(rules)
    assert entry["destinations"][0]["upper_threshold"] == 1000
    assert entry["destinations"][0]["lower_threshold"] == 500


def test_daemons() -> None:
    text = "master sync daemon (mcast=eth0, syncid=1, maxlen=1472, group=224.0.0.81, port=8848, ttl=1)\n"
    master, backup = ipvsadm.daemons(text + "backup sync daemon (mcast=lo, syncid=2)\n")
    assert (master["mcast_ifn"], master["mcast_group"], master["mcast_ttl"]) == ("eth0", "224.0.0.81", 1)
    assert (backup["state"], backup["sync_id"], backup["mcast_group"]) == ("backup", 2, None)


def test_listings_of_different_services_do_not_merge() -> None:
    with pytest.raises(AssertionError):
        ipvsadm.merge([service("TCP  10.0.0.1:80 rr")], [service("TCP  10.0.0.1:81 rr")])


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_saved_is_what_is_listed(kernel: str) -> None:
    listed, saved = listing(kernel), ipvsadm.rules(printed(kernel, "save.txt"))
    for service, rule in zip(listed, saved):
        names = set(service) & set(rule) - {"destinations"}
        assert {name: service[name] for name in names} == {name: rule[name] for name in names}
    assert len(listed) == len(saved)


@pytest.mark.parametrize("kernel", KERNELS)
def test_ipvsadm_sorts_by_the_key(kernel: str) -> None:
    services = listing(kernel)
    assert services == sorted(services, key=ipvsadm.service_key)
    assert all(s["destinations"] == sorted(s["destinations"], key=ipvsadm.destination_key) for s in services)
