"""parse_rules(): the words of ipvsadm, in all spellings that it allows, and what is wrong with a line."""

from typing import Any

import pytest
from conftest import KERNELS, printed
from hypothesis import given, settings
from hypothesis import strategies as st

from ipvsnl import TunnelFlags, testing
from ipvsnl.admin import Admin, DestinationConfig, ServiceConfig, parse_rules, plan
from ipvsnl.formats import Report, rules

WEB = ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr")
S = "-t 10.0.0.1:80"


def service(line: str) -> ServiceConfig:
    ((service, dests),) = parse_rules(line)
    assert dests == []
    return service


def dest(line: str, key: str = S) -> DestinationConfig:
    ((_, (dest,)),) = parse_rules(f"-A {key} -s rr\n{line}\n")
    return dest


def read(entries: Any) -> Any:
    return [
        (testing.service(**vars(service)), [testing.destination(**vars(dest)) for dest in dests])
        for service, dests in entries
    ]


def formatted(entries: Any) -> str:
    return "".join(rules.render(Report(entries, 0)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_ipvsadm_printed_comes_out_again(kernel: str) -> None:
    text = printed(kernel, "save.txt")
    assert sorted(formatted(read(parse_rules(text))).split("\n")) == sorted(text.split("\n"))


@pytest.mark.parametrize(
    "line, expected",
    [
        (f"-A {S} -s rr", WEB),
        (f"-A {S}", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="wlc")),
        ("--add-service --tcp-service=10.0.0.1:80 --scheduler rr", WEB),
        ("-At10.0.0.1:80 -srr", WEB),
        ("-s rr -A -u 10.0.0.1:53 -o", ServiceConfig("udp", "10.0.0.1", 53, scheduler="rr", flags=4)),
        ("-A --sctp-service [2001:db8::1]:80 -s rr", ServiceConfig("sctp", "2001:db8::1", 80, scheduler="rr")),
        ("-A -f 7 -s rr", ServiceConfig(fwmark=7, scheduler="rr")),
        ("-A -f 7 -6 -s rr", ServiceConfig(fwmark=7, address_family="inet6", scheduler="rr")),
        ("-A -f -2147483647 -s rr", ServiceConfig(fwmark=2**31 + 1, scheduler="rr")),
        (f"-A {S} -s rr -p", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr", flags=1, timeout=300)),
        (f"-A {S} -p -s rr", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr", flags=1, timeout=300)),
        (f"-A {S} -s sh -p 360 -M 255.255.255.0 -b sh-fallback,sh-port",
         ServiceConfig("tcp", "10.0.0.1", 80, scheduler="sh", flags=25, timeout=360, netmask=24)),
        (f"-A {S} -s mh -b mh-port", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="mh", flags=16)),
        (f"-A {S} -s rr -b flag-1,flag-2,flag-3", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr", flags=56)),
        (f"-A {S} -s rr --persistent=60 --netmask 0.0.0.0",
         ServiceConfig("tcp", "10.0.0.1", 80, scheduler="rr", flags=1, timeout=60, netmask=0)),
        ("-A -t [2001:db8::1]:80 -s rr -p 60 -M 64",
         ServiceConfig("tcp", "2001:db8::1", 80, scheduler="rr", flags=1, timeout=60, netmask=64)),
        (f"-A {S} -s sh -b ", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="sh", flags=32)),
        (f"-A {S} -b -s mh", ServiceConfig("tcp", "10.0.0.1", 80, scheduler="mh", flags=32)),
        (f"-A {S} '-s' \"rr\" # it's ours", WEB),
        ("-A -u 10.0.0.1:53 -s rr --pe sip",
         ServiceConfig("udp", "10.0.0.1", 53, scheduler="rr", persistence_engine="sip")),
    ],
)  # fmt: skip
def test_a_service(line: str, expected: ServiceConfig) -> None:
    assert service(line) == expected


@pytest.mark.parametrize(
    "line, expected",
    [
        ("-r 192.0.2.1:8080 -m -w 3", {"port": 8080, "forwarding": "masquerade", "weight": 3}),
        ("-r 192.0.2.1 --masquerading", {"forwarding": "masquerade"}),
        ("-r 192.0.2.1:80", {"forwarding": "direct"}),
        ("-gr 192.0.2.1:80 -w0", {"forwarding": "direct", "weight": 0}),
        ("--real-server=192.0.2.1:80 --ipip --weight=5", {"forwarding": "tunnel", "weight": 5}),
        ("-r 192.0.2.1:80 -m -x 9 -y 3", {"forwarding": "masquerade", "upper_threshold": 9, "lower_threshold": 3}),
        ("-r 192.0.2.1:80 -i --tun-type gre --tun-csum",
         {"forwarding": "tunnel", "tunnel_type": "gre", "tunnel_flags": TunnelFlags.CSUM}),
        ("-r 192.0.2.1:80 -i --tun-type gue --tun-port 6080 --tun-remcsum",
         {"forwarding": "tunnel", "tunnel_type": "gue", "tunnel_port": 6080, "tunnel_flags": TunnelFlags.REMCSUM}),
    ],
)  # fmt: skip
def test_a_real_server(line: str, expected: "dict[str, Any]") -> None:
    assert dest(f"-a {S} {line}") == DestinationConfig("192.0.2.1", **{"port": 80, **expected})


def test_an_ipv6_real_server_of_an_ipv4_service() -> None:
    assert dest(f"-a {S} -r [2001:db8::5]:80 -i").address == "2001:db8::5"


def test_comments_and_empty_lines_are_skipped() -> None:
    assert parse_rules(f"# our web\n\n-A {S} -s rr  # round robin\n") == [(WEB, [])]
    assert parse_rules("") == []


BAD = [
    ("-A -t www.example.org:80", "www.example.org:80", "names are not looked up"),
    ("-A -t 10.0.0.1:http", "10.0.0.1:http", "names are not looked up"),
    ("-A -t 10.0.0.1:65536", "65536", "port"),
    ("-A -t 10.0.0.300:80", "10.0.0.300", "address"),
    ("-A -t 2001:db8::1:80", "2001:db8::1:80", "ADDRESS"),
    ("-A -t", "-t", "argument"),
    ("-A", "-A", "give one of -t"),
    (S, "-t", "give one of -A"),
    ("-C", "-C", "not recognized"),
    (f"-D {S}", "-D", "not recognized"),
    (f"-A {S} --wait 3", "--wait", "not recognized"),
    (f"-A {S} extra", "extra", "no option"),
    (f"-A {S} -w 3", "-w", "does not belong to -A"),
    (f"-A {S} -u 10.0.0.1:53", "-u", "give one of"),
    (f"-A {S} -s rr -s wrr", "-s", "twice"),
    (f"-A {S} -s rr/../x", "rr/../x", "scheduler"),
    (f"-A {S} -s rr -b sh-port", "sh-port", "scheduler rr"),
    (f"-A {S} -s rr -b rr-port", "rr-port", "scheduler rr"),
    (f"-A {S} -p soon", "soon", "number"),
    (f"-A {S} -p 4294968", "4294968", "timeout"),
    (f"-A {S} -M 255.0.255.0", "255.0.255.0", "holes"),
    (f"-A {S} -M 255.255.255", "255.255.255", "netmask"),
    (f"-A {S} -M 24", "-M 24", "mask without holes"),
    ("-A -t [2001:db8::1]:80 -M 255.255.255.0", "255.255.255.0", "prefix length"),
    ("-A -f 1 -6 -M 129", "129", "prefix length"),
    (f"-A {S} -p -1", "-1", "timeout"),
    (f"-A {S} -s r#r", "r#r", "scheduler"),
    ("-A -f 0", "0", "fwmark"),
    ("-A -f 4294967296", "4294967296", "fwmark"),
    ("-A -f web", "web", "number"),
    (f"-A {S} --ops=yes", "--ops", "argument"),
    (f"-A {S} 'x", "'x", "quotation"),
    (f"-a {S}", "-a", "give one of -r"),
    ("-a -t 10.0.0.9:80 -r 192.0.2.1:80", "-t", "no line before"),
    (f"-a {S} -r 192.0.2.1:80 -m -g", "-m -g", "give one of"),
    (f"-a {S} -r 192.0.2.1:80 -s rr", "-s", "does not belong to -a"),
    (f"-a {S} -r 192.0.2.1:80 (null) -w 1", "(null)", "no option"),
    (f"-a {S} -r 192.0.2.1:80 -w -1", "-1", "weight|number"),
    (f"-a {S} -r 192.0.2.1:80 -x 1 -y 2", "2", "lower_threshold"),
    (f"-a {S} -r 192.0.2.1:80 -i --tun-type gue", "tunnel_port", "gue"),
    (f"-a {S} -r 192.0.2.1:80 -i --tun-type vxlan", "vxlan", "tunnel_type"),
    (f"-a {S} -r 192.0.2.1:80 -i --tun-csum --tun-nocsum", "--tun-nocsum", "give one of"),
    (f"-a {S} -r [2001:db8::5]:80 -m", "2001:db8::5", "only tunnels"),
    (f"-a {S} -r 192.0.2.7:80 -m", "192.0.2.7", "before"),
    (f"-A {S}", "-t", "before"),
]


@pytest.mark.parametrize("line, word, reason", BAD)
def test_a_bad_line_is_named_with_its_word(line: str, word: str, reason: str) -> None:
    text = f"-A {S} -s rr\n-a {S} -r 192.0.2.7:80 -m\n{line}\n-A -u 10.0.0.1:53 -s rr\n"
    with pytest.raises(ValueError, match=rf"^line 3: (?s:.*)({reason})") as caught:
        parse_rules(text)
    assert word in str(caught.value)


@pytest.mark.parametrize("text", [b"-A", None])
def test_what_is_no_text_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="rules are a str"):
        parse_rules(text)


ADDRESSES = st.one_of(st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="2001:db8::/32")).map(
    str
)
PORTS = st.integers(0, 65535)
THRESHOLDS = st.lists(st.integers(0, 2**31 - 1), min_size=2, max_size=2).map(sorted)


@st.composite
def services(draw: Any) -> ServiceConfig:
    """Services of which rules tell all: no timeout and no netmask without persistence."""
    scheduler = draw(st.sampled_from(["rr", "sh", "mh", "wlc"]))
    flags = draw(st.sampled_from([0, 4, 8, 16, 24] + [32, 56] * (scheduler in ("rr", "wlc"))))
    key = draw(
        st.one_of(
            st.tuples(st.sampled_from(["tcp", "udp", "sctp"]), ADDRESSES, PORTS).map(
                lambda key: dict(zip(("protocol", "address", "port"), key))
            ),
            st.tuples(st.integers(1, 2**32 - 1), st.sampled_from(["inet", "inet6"])).map(
                lambda key: dict(zip(("fwmark", "address_family"), key))
            ),
        )
    )
    family = ServiceConfig(**key).address_family
    persistent = draw(st.booleans()) and {
        "timeout": draw(st.integers(0, 4294967)),
        "netmask": draw(st.integers(1, 32 if family == "inet" else 128)),
    }
    return ServiceConfig(
        **key,
        scheduler=scheduler,
        flags=flags + bool(persistent),
        persistence_engine=draw(st.sampled_from([None, "sip"])),
        **(persistent or {}),
    )


@st.composite
def dests(draw: Any, family: str) -> DestinationConfig:
    """Real servers of which rules tell all: tunnel settings with tunnels alone, a port with GUE alone."""
    forwarding = draw(st.sampled_from(["masquerade", "direct", "tunnel"]))
    tunnel: dict[str, Any] = {}
    if forwarding == "tunnel":
        tunnel["tunnel_type"] = draw(st.sampled_from(["ipip", "gue", "gre"]))
        if tunnel["tunnel_type"] != "ipip":
            tunnel["tunnel_flags"] = draw(st.sampled_from([0, 1, 2]))
        if tunnel["tunnel_type"] == "gue":
            tunnel["tunnel_port"] = draw(st.integers(1, 65535))
    is_ours = lambda text: forwarding == "tunnel" or (":" in text) == (family == "inet6")  # noqa: E731
    lower, upper = draw(THRESHOLDS)
    return DestinationConfig(
        draw(ADDRESSES.filter(lambda text: is_ours(text) and text != "10.0.0.0")),
        draw(PORTS),
        forwarding=forwarding,
        weight=draw(st.integers(0, 2**31 - 1)),
        upper_threshold=upper,
        lower_threshold=lower,
        **tunnel,
    )


def name(entry: Any) -> Any:
    return tuple(getattr(entry, field, None) for field in ("address_family", "fwmark", "protocol", "address", "port"))


ENTRIES = st.lists(
    services().flatmap(
        lambda service: st.tuples(st.just(service), st.lists(dests(service.address_family), max_size=3, unique_by=name))
    ),
    max_size=3,
    unique_by=lambda entry: name(entry[0]),
)


@given(ENTRIES)
@settings(max_examples=200, deadline=None)
def test_rules_of_random_configurations_come_out_again(entries: Any) -> None:
    desired = parse_rules(formatted(read(entries)))
    assert {name(service): (service, {name(dest): dest for dest in dests}) for service, dests in desired} == {
        name(service): (service, {name(dest): dest for dest in dests}) for service, dests in entries
    }


@given(ENTRIES)
@settings(max_examples=200, deadline=None)
def test_rules_are_applied_and_formatted_again(entries: Any) -> None:
    text = formatted(read(entries))
    admin = Admin(transport=testing.Kernel())
    admin.apply(plan(admin.dump(), parse_rules(text)))
    assert formatted(admin.dump()) == text
