#!/usr/bin/env python3
"""Measure what it costs to fill an empty IPVS, and to compare a full one with what is desired.

    .venv/bin/python bench/apply.py [SERVICES [DESTS [KERNEL]]]    by default 500 services of 20 real servers, Linux 6.1

apply() is measured beside `ipvsadm -R` and pyroute2, which takes part if it is installed; plan() beside a dump. The
benchmark boots the kernel as bench/dump.py does, with a clock that counts instructions, one a nanosecond. It counts the
processor's time of each subject: the elapsed time of `ipvsadm -R` differs from run to run. Each subject has a network
namespace of its own, because deleted real servers make later additions slower for two minutes.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from os import uname
from pathlib import Path

from dump import IN_GUEST, arguments_of_main, fail, in_guest, missing_packages, rules

UNCHANGED = 200, 20  # services, and real servers of each, that plan() compares


def main() -> int:
    options = arguments_of_main(__doc__, 500)
    missing = missing_packages(IN_GUEST)
    if missing:
        return fail(missing)
    return measure(options.services, options.dests) if IN_GUEST else in_guest(options)


def measure(services: int, dests: int) -> int:
    subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr"], check=True)
    Path("/run/rules").write_text("".join(rules(services, dests)))
    Path("/run/unchanged").write_text("".join(rules(*UNCHANGED)))
    print(f"Linux {uname().release}, Python {sys.version.split()[0]}, {services} services of {dests} real servers")
    print(f"{'':26}{'ns a real server':>18}{'system calls':>14}")
    for name, subject in SUBJECTS.items():
        # Without lo the namespace has no routing table, and IPVS then takes no address for a unicast one.
        again = ["sh", "-c", f"ip link set lo up && exec {sys.executable} -B {__file__} --subject '{name}'"]
        done = subprocess.run(["unshare", "--net", *again], capture_output=True, text=True)
        if done.returncode == 0:
            total = UNCHANGED[0] * UNCHANGED[1] if subject in (dump, plan) else services * dests
            seconds, *calls = done.stdout.split()
            print(f"{name:26}{float(seconds) / total * 1e9:18.0f}{calls[0] if calls else '':>14}", flush=True)
        else:
            print(f"{name:26}{done.stderr.strip().splitlines()[-1]:>18}", flush=True)
    return 0


def apply() -> None:
    from ipvsnl.admin import Admin, parse_rules
    from ipvsnl.admin import plan as planned
    from ipvsnl.transport import NetlinkSocket

    class Counting(NetlinkSocket):
        calls = 0

        def send(self, request: bytes) -> None:
            self.calls += 1
            super().send(request)

        def recv_into(self, buffer: bytearray) -> int:
            self.calls += 1
            return super().recv_into(buffer)

    transport = Counting()
    with Admin(transport=transport) as admin:
        changes = planned(admin.dump(), parse_rules(Path("/run/rules").read_text()))
        transport.calls = 0
        started = time.process_time()
        admin.apply(changes)
        print(time.process_time() - started, transport.calls)


def ipvsadm() -> None:
    with open("/run/rules") as file:
        subprocess.run(["ipvsadm", "-R"], stdin=file, check=True)
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(usage.ru_utime + usage.ru_stime)


def pyroute2() -> None:
    from pyroute2 import IPVS, IPVSDest, IPVSService

    lines = [line.split() for line in Path("/run/rules").read_text().splitlines()]
    started = time.process_time()
    with IPVS() as ipvs:
        for option, _, key, *rest in lines:
            address, port = key.split(":")
            if option == "-A":
                service = IPVSService(addr=address, port=int(port), protocol=6, sched_name="rr")
                ipvs.service("add", service=service)
            else:
                real, real_port = rest[1].split(":")
                ipvs.dest("add", service=service, dest=IPVSDest(addr=real, port=int(real_port), fwd_method=0))
    print(time.process_time() - started)


def dump() -> None:
    from ipvsnl import Client

    subprocess.run(["ipvsadm", "-R"], input=Path("/run/unchanged").read_bytes(), check=True)
    with Client() as client:
        print(min(seconds(lambda: list(client.dump())) for _ in range(3)))


def plan() -> None:
    from ipvsnl.admin import Admin, parse_rules
    from ipvsnl.admin import plan as planned

    text = Path("/run/unchanged").read_text()
    subprocess.run(["ipvsadm", "-R"], input=text, text=True, check=True)
    with Admin() as admin:
        current, desired = list(admin.dump()), parse_rules(text)
        assert planned(current, desired) == []
        print(min(seconds(lambda: planned(current, desired)) for _ in range(3)))


def seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


SUBJECTS = {
    "apply()": apply,
    "ipvsadm -R": ipvsadm,
    "pyroute2, one by one": pyroute2,
    "a dump of 4,000": dump,
    "plan() of these, unchanged": plan,
}

if __name__ == "__main__":
    if sys.argv[1:2] == ["--subject"]:
        sys.exit(SUBJECTS[sys.argv[2]]())  # type: ignore[func-returns-value]
    sys.exit(main())
