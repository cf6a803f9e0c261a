"""Read rules: the words that `ipvsadm -S` and `-f rules` print, in the other spellings of ipvsadm(8) as well."""

import re
import shlex
from getopt import GetoptError, gnu_getopt
from ipaddress import IPv4Network
from typing import Any

from .._key import family_of
from ..model import ServiceFlags, TunnelFlags
from .changes import Change
from .config import DestinationConfig, ServiceConfig
from .plan import dest_key, service_key

# The long options, with "=" if a value follows, and the name that each has here: the short one if there is one.
OPTIONS = {
    "add-service": "-A", "add-server": "-a", "tcp-service=": "-t", "udp-service=": "-u", "fwmark-service=": "-f",
    "sctp-service=": "--sctp-service", "ipv6": "-6", "scheduler=": "-s", "persistent=": "-p", "netmask=": "-M",
    "pe=": "--pe", "ops": "-o", "sched-flags=": "-b", "real-server=": "-r", "masquerading": "-m", "ipip": "-i",
    "gatewaying": "-g", "weight=": "-w", "u-threshold=": "-x", "l-threshold=": "-y", "tun-type=": "--tun-type",
    "tun-port=": "--tun-port", "tun-nocsum": "--tun-nocsum", "tun-csum": "--tun-csum", "tun-remcsum": "--tun-remcsum",
}  # fmt: skip
SHORT = "".join([name[1] + ":" * long.endswith("=") for long, name in OPTIONS.items() if len(name) == 2])
NAMES = {f"--{long.rstrip('=')}": name for long, name in OPTIONS.items()}
SERVICES = {"-t": "tcp", "-u": "udp", "--sctp-service": "sctp", "-f": None}
FORWARDING = {"-m": "masquerade", "-i": "tunnel", "-g": "direct"}
CHECKSUMS = {"--tun-nocsum": TunnelFlags(0), "--tun-csum": TunnelFlags.CSUM, "--tun-remcsum": TunnelFlags.REMCSUM}
OF_SERVICES = ["-s", "-p", "-M", "--pe", "-o", "-b"]
OF_DESTS = ["-r", *FORWARDING, "-w", "-x", "-y", "--tun-type", "--tun-port", *CHECKSUMS]
NETMASKS = {
    "inet": {str(IPv4Network((0, bits)).netmask): bits for bits in range(33)},
    "inet6": {str(bits): bits for bits in range(1, 129)},
}  # by family, of each spelling
FLAGS = {"flag-1": 0x08, "flag-2": 0x10, "flag-3": 0x20}  # ServiceFlags.SCHED1 to SCHED3
FLAGS_OF = {name: {f"{name}-fallback": 0x08, f"{name}-port": 0x10} for name in ("sh", "mh")}
ALONE = {"-p": "-p300", "--persistent": "-p300", "-b": "-bflag-3"}  # what an option means without its value


def parse_rules(text: str) -> list[tuple[ServiceConfig, list[DestinationConfig]]]:
    """Return the services with their real servers, as `plan()` takes them.

    Each line adds one: -A a virtual service, -a a real server to one. Empty lines and comments after # are skipped. A
    line that cannot be read is a ValueError that names the line's number and the word.
    """
    if not isinstance(text, str):
        raise ValueError(f"rules are a str, not {text!r:.40}")
    rules: dict[Any, Any] = {}
    for number, line in enumerate(text.split("\n"), 1):
        try:
            line = re.sub(r"(^|\s)#.*", "", line).strip()
            if line:
                _add(rules, _options(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return [(service, list(pool.values())) for service, pool in rules.values()]


def _options(line: str) -> dict[str, str]:
    """Return each option with its value, "" if it has none."""
    try:
        words = shlex.split(line)
        for position, (word, value) in enumerate(zip(words, [*words[1:], "-"])):
            if word in ALONE and re.match("-(?![0-9])", value):
                words[position] = ALONE[word]
        found, rest = gnu_getopt(words, SHORT, list(OPTIONS))
    except (GetoptError, ValueError) as error:
        raise ValueError(f"{error}: {line}") from None
    names = [NAMES.get(name, name) for name, _ in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice or rest:
        raise ValueError(f"{twice[0]}: given twice" if twice else f"{rest[0]}: no option, and no value of one")
    return dict(zip(names, [value for _, value in found]))


def _add(rules: dict[Any, Any], options: dict[str, str]) -> None:
    """Add what a line asks for."""
    command, named = _one_of(options, "-A", "-a"), _one_of(options, *SERVICES)
    for name in options.keys() & (OF_DESTS if command == "-A" else OF_SERVICES):
        raise ValueError(f"{name}: does not belong to {command}")
    service = _service(options, named)
    known = rules.get(service_key(service))
    if bool(known) == (command == "-A"):
        raise ValueError(f"{named} {options[named]}: {'a' if known else 'no'} line before adds this service")
    if not known:
        rules[service_key(service)] = service, {}
        return
    dest = _dest(options, service.port or 0)
    Change("add", service, dest)  # refuses what does not fit together
    if known[1].setdefault(dest_key(dest), dest) is not dest:
        raise ValueError(f"-r {options['-r']}: a line before adds this real server")


def _one_of(options: dict[str, str], *choices: str, default: str = "") -> str:
    """Return the one of these options that is given."""
    given = [name for name in choices if name in options] or [default]
    if len(given) != 1 or not given[0]:
        raise ValueError(f"{' '.join(options)}: give one of {', '.join(choices)}")
    return given[0]


def _service(options: dict[str, str], named: str) -> ServiceConfig:
    given: dict[str, Any] = {"scheduler": options.get("-s", "wlc"), "persistence_engine": options.get("--pe")}
    if named == "-f":
        mark = _number("-f", options)
        mark += 2**32 if mark < 0 else 0  # ipvsadm prints a C int
        given.update(fwmark=mark, address_family="inet6" if "-6" in options else "inet")
    else:
        given.update(_endpoint(named, options[named], 0), protocol=SERVICES[named])
    if "-M" in options:
        family = given.get("address_family") or family_of(given["address"])
        given["netmask"] = NETMASKS[family].get(options["-M"])
        if given["netmask"] is None:
            kind = "mask without holes, such as 255.255.255.0" if family == "inet" else "prefix length from 1 to 128"
            raise ValueError(f"-M {options['-M']}: the netmask of {family} is a {kind}")
    flags = ("-p" in options) * ServiceFlags.PERSISTENT | ("-o" in options) * ServiceFlags.ONEPACKET
    names = {**FLAGS, **FLAGS_OF.get(given["scheduler"], {})}
    for name in filter(None, options.get("-b", "").split(",")):
        if name not in names:
            raise ValueError(f"-b {name}: the scheduler {given['scheduler']} has no such flag")
        flags |= names[name]
    return ServiceConfig(**given, flags=ServiceFlags(flags), timeout=_number("-p", options))


def _dest(options: dict[str, str], port: int) -> DestinationConfig:
    return DestinationConfig(
        **_endpoint("-r", options[_one_of(options, "-r")], port),
        forwarding=FORWARDING[_one_of(options, *FORWARDING, default="-g")],
        weight=_number("-w", options, "1"),
        upper_threshold=_number("-x", options),
        lower_threshold=_number("-y", options),
        tunnel_type=options.get("--tun-type", "ipip"),
        tunnel_port=_number("--tun-port", options),
        tunnel_flags=CHECKSUMS[_one_of(options, *CHECKSUMS, default="--tun-nocsum")],
    )


def _number(name: str, options: dict[str, str], default: str = "0") -> int:
    text = options.get(name, default)
    if not re.fullmatch("-?[0-9]{1,10}", text):
        raise ValueError(f"{name} {text}: not a number")
    return int(text)


def _endpoint(name: str, text: str, port: int) -> dict[str, Any]:
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::([0-9]{1,5}))?", text)
    if not match:
        raise ValueError(f"{name} {text}: not ADDRESS:PORT or [ADDRESS]:PORT in numbers; names are not looked up")
    return {"address": match[1] or match[2], "port": int(match[3] or port)}
