"""What ipvsadm prints, read back: the oracle of these tests.

ipvsadm (1.31) decodes the same netlink messages with a library of its own, libnl, so what it prints is what ipvsnl must
say. Each function here takes the text of one ipvsadm command; services and real servers come out as plain dicts that
have the names of ipvsnl's JSON document, and only those fields which that command prints. `merge()` puts the dicts of
several commands together.

The formats are those of print_service_entry() and print_title() in ipvsadm.c. Always run it with -n.
"""

import re
import socket
from typing import Any

Entry = dict[str, Any]  # a service, with "destinations", or a real server

PROTOCOLS = {"TCP": "tcp", "UDP": "udp", "SCTP": "sctp"}  # "?" is all that ipvsadm has for others
SERVICE_OPTIONS = {"-t": "tcp", "-u": "udp", "--sctp-service": "sctp", "-f": None}
FORWARDING = {"Masq": "masquerade", "Local": "local", "Tunnel": "tunnel", "Route": "direct"}
# -S writes -g for real servers on the director itself, too.
FORWARDING_OPTIONS = {"-m": "masquerade", "-i": "tunnel", "-g": "direct"}
SCHEDULER_FLAGS = {  # what the three flags are called depends on the scheduler
    name: flag
    for flag, names in {
        "sched1": ("flag-1", "sh-fallback", "mh-fallback"),
        "sched2": ("flag-2", "sh-port", "mh-port"),
        "sched3": ("flag-3",),
    }.items()
    for name in names
}
COUNTERS = ("connections", "pkts_in", "pkts_out", "bytes_in", "bytes_out")  # --stats
RATES = ("cps", "pps_in", "pps_out", "bps_in", "bps_out")  # --rate
TUNNEL_FLAGS: dict[str, list[str]] = {"nocsum": [], "csum": ["csum"], "remcsum": ["remcsum"]}
TUNNEL_INFO = {"-c": "nocsum", "+c": "csum", "r+c": "remcsum"}

# The columns of a real server after its address, by a word of the title.
COLUMNS = {
    "Conns": COUNTERS,
    "CPS": RATES,
    "Uthreshold": ("upper_threshold", "lower_threshold", "active_connections", "inactive_connections"),
    "PersistConn": ("weight", "persistent_connections", "active_connections", "inactive_connections"),
    "TunnelInfo": ("forwarding", "tunnel", "weight", "active_connections", "inactive_connections"),
    "Forward": ("forwarding", "weight", "active_connections", "inactive_connections"),
}


def services(text: str) -> list[Entry]:
    """The services in what `ipvsadm -Ln` prints, alone or with one of --stats --exact, --rate --exact, --thresholds,
    --persistent-conn and --tun-info, in the order of the text."""
    found: list[Entry] = []
    columns: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if not words or line.startswith("IP Virtual Server"):
            continue
        titles = [title for title in COLUMNS if title in words]
        if titles:
            columns = COLUMNS[titles[0]]
        elif words[0] == "->" and words[1] != "RemoteAddress:Port":
            found[-1]["destinations"].append(_destination(words[1:], columns))
        elif words[0] not in ("Prot", "->"):
            found.append(_service(words, columns))
    return found


def rules(text: str) -> list[Entry]:
    """The services in what `ipvsadm -Sn` prints: ipvsadm's own options, one command a line."""
    found: dict[tuple[Any, ...], Entry] = {}
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        key = _rule_key(words)
        options = _options(words)
        if words[0] == "-A":
            flags = ["persistent"] * ("-p" in options) + ["onepacket"] * ("-o" in options)
            found[service_key(key)] = {
                **key,
                **_service_settings(
                    key["address_family"],
                    options["-s"],
                    flags + _scheduler_flags(options.get("-b", "")),
                    int(options.get("-p", 0)),
                    options.get("-M"),
                    options.get("--pe"),
                ),
                "destinations": [],
            }
        else:
            found[service_key(key)]["destinations"].append(_rule_destination(options))
    return list(found.values())


def timeouts(text: str) -> dict[str, int]:
    """What `ipvsadm -Ln --timeout` prints."""
    match = re.search(r"Timeout \(tcp tcpfin udp\): (\d+) (\d+) (\d+)", text)
    assert match, text
    return dict(zip(("tcp", "tcp_fin", "udp"), map(int, match.groups())))


def info(text: str) -> dict[str, Any]:
    """The first line of every listing: the version of IPVS and the size of its connection table."""
    match = re.match(r"IP Virtual Server version (\S+) \(size=(\d+)\)", text)
    assert match, text
    return {"version": match[1], "connection_table_size": int(match[2])}


def daemons(text: str) -> list[Entry]:
    """What `ipvsadm -Ln --daemon` prints; what a daemon has not set is left out there, and None here."""
    found = []
    for state, values in re.findall(r"^(master|backup) sync daemon \((.*)\)$", text, re.MULTILINE):
        given = dict(value.split("=", 1) for value in values.split(", "))
        numbers = {name: int(given[name]) if name in given else None for name in ("syncid", "maxlen", "port", "ttl")}
        found.append(
            {
                "state": state,
                "mcast_ifn": given["mcast"],
                "sync_id": numbers["syncid"],
                "sync_maxlen": numbers["maxlen"],
                "mcast_group": given.get("group"),
                "mcast_port": numbers["port"],
                "mcast_ttl": numbers["ttl"],
            }
        )
    return found


def merge(*listings: list[Entry]) -> list[Entry]:
    """The services of the first listing, with the fields of all; where two have a field, the last one's counts.
    Listings that differ in the services or real servers that they have are an AssertionError."""
    merged: dict[tuple[Any, ...], Entry] = {}
    for listing in listings:
        assert not merged or [service_key(entry) for entry in listing] == list(merged)
        for entry in listing:
            old = merged.get(service_key(entry), {"destinations": entry["destinations"]})
            pairs = zip(old["destinations"], entry["destinations"])
            assert [destination_key(d) for d in old["destinations"]] == [
                destination_key(d) for d in entry["destinations"]
            ]
            merged[service_key(entry)] = {
                **_merge_entry(old, entry),
                "destinations": [_merge_entry(before, after) for before, after in pairs],
            }
    return list(merged.values())


def service_key(entry: Entry) -> tuple[Any, ...]:
    """What tells a service from all others, in the order by which ipvsadm sorts (ipvs_cmp_services() in libipvs.c)."""
    family = entry["address_family"]
    if entry["fwmark"] is not None:
        return entry["fwmark"], family, 0, b"", 0
    protocol = {"tcp": 6, "udp": 17, "sctp": 132}.get(entry["protocol"], 255)
    return 0, family, protocol, _packed(entry["address"]), entry["port"]


def destination_key(entry: Entry) -> tuple[Any, ...]:
    """What tells a real server from the others of its service, in ipvsadm's order (ipvs_cmp_dests())."""
    return entry["address_family"], _packed(entry["address"]), entry["port"]


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _merge_entry(old: Entry, new: Entry) -> Entry:
    stats = {**old.get("stats", {}), **new.get("stats", {})}
    return {**old, **new, **({"stats": stats} if stats else {})}


def _service(words: list[str], columns: tuple[str, ...]) -> Entry:
    if words[0] == "FWM":
        family = "inet6" if words[2:3] == ["IPv6"] else "inet"
        rest = words[3:] if family == "inet6" else words[2:]
        key = _key(family, fwmark=int(words[1]) & 0xFFFFFFFF)  # printed with %d
    else:
        family, address, port = endpoint(words[1])
        rest = words[2:]
        key = _key(family, protocol=PROTOCOLS.get(words[0], words[0]), address=address, port=port)
    if columns in (COUNTERS, RATES):
        return {**key, "stats": dict(zip(columns, map(int, rest))), "destinations": []}
    return {**key, **_listed_settings(family, rest), "destinations": []}


def _listed_settings(family: str, words: list[str]) -> Entry:
    scheduler, words = words[0], words[1:]
    flags, scheduler_flags, timeout, mask, engine = [], "", 0, None, None
    while words:
        word = words.pop(0)
        if word == "persistent":
            flags.append("persistent")
            timeout = int(words.pop(0))
        elif word == "mask":
            mask = words.pop(0)
        elif word == "pe":
            engine = words.pop(0)
        elif word == "ops":
            flags.append("onepacket")
        else:
            assert word.startswith("(") and word.endswith(")"), word
            scheduler_flags = word[1:-1]
    return _service_settings(family, scheduler, flags + _scheduler_flags(scheduler_flags), timeout, mask, engine)


def _service_settings(
    family: str, scheduler: str, flags: list[str], timeout: int, mask: "str | None", engine: "str | None"
) -> Entry:
    if mask is None:  # not printed where it is the whole address, or the service is not persistent
        netmask = 32 if family == "inet" else 128
    else:
        netmask = bin(int.from_bytes(_packed(mask), "big")).count("1") if "." in mask else int(mask)
    return {
        "scheduler": scheduler,
        "flags": flags,
        "timeout": timeout,
        "netmask": netmask,
        "persistence_engine": engine,
    }


def _scheduler_flags(names: str) -> list[str]:
    return [SCHEDULER_FLAGS[name] for name in names.split(",") if name]


def _destination(words: list[str], columns: tuple[str, ...]) -> Entry:
    family, address, port = endpoint(words[0])
    entry: Entry = {"address_family": family, "address": address, "port": port}
    assert len(words) - 1 == len(columns), words
    cells = dict(zip(columns, words[1:]))
    if columns in (COUNTERS, RATES):
        return {**entry, "stats": {name: int(cell) for name, cell in cells.items()}}
    if "forwarding" in cells:
        entry["forwarding"] = FORWARDING[cells.pop("forwarding")]
    tunnel = cells.pop("tunnel", "n/a")
    if tunnel != "n/a":
        kind, *rest = tunnel.split(":")  # ipip, gre:CSUM or gue:PORT:CSUM
        entry["tunnel_type"] = kind
        entry["tunnel_port"] = int(rest[0]) if kind == "gue" else 0
        entry["tunnel_flags"] = TUNNEL_FLAGS[TUNNEL_INFO[rest[-1]]] if rest else []
    return {**entry, **{name: int(cell) for name, cell in cells.items()}}


def _rule_key(words: list[str]) -> Entry:
    for option, value in zip(words, words[1:]):
        if option in SERVICE_OPTIONS:
            if SERVICE_OPTIONS[option] is None:
                return _key("inet6" if "-6" in words else "inet", fwmark=int(value) & 0xFFFFFFFF)
            family, address, port = endpoint(value)
            return _key(family, protocol=SERVICE_OPTIONS[option], address=address, port=port)
    raise AssertionError(words)


def _key(
    family: str,
    *,
    protocol: "str | None" = None,
    address: "str | None" = None,
    port: "int | None" = None,
    fwmark: "int | None" = None,
) -> Entry:
    return {"address_family": family, "protocol": protocol, "address": address, "port": port, "fwmark": fwmark}


def _options(words: list[str]) -> dict[str, str]:
    """Each option with the word after it, "" where that is an option, too."""
    following = [*words[1:], "-"]
    return {
        word: "" if following[number].startswith("-") else following[number]
        for number, word in enumerate(words)
        if word.startswith("-")
    }


def _rule_destination(options: dict[str, str]) -> Entry:
    family, address, port = endpoint(options["-r"])
    entry: Entry = {
        "address_family": family,
        "address": address,
        "port": port,
        "forwarding": next(FORWARDING_OPTIONS[option] for option in FORWARDING_OPTIONS if option in options),
        "weight": int(options["-w"]),
    }
    for option, name in (("-x", "upper_threshold"), ("-y", "lower_threshold")):  # read by ipvsadm -R, not written by -S
        if option in options:
            entry[name] = int(options[option])
    if "--tun-type" in options:
        entry["tunnel_type"] = options["--tun-type"]
        entry["tunnel_port"] = int(options.get("--tun-port", 0))
        entry["tunnel_flags"] = [name for name in ("csum", "remcsum") if f"--tun-{name}" in options]
    return entry


def endpoint(text: str) -> tuple[str, str, int]:
    """Family, address and port of ADDRESS:PORT or [ADDRESS]:PORT."""
    address, _, port = text.rpartition(":")
    return ("inet6", address[1:-1], int(port)) if address.startswith("[") else ("inet", address, int(port))
