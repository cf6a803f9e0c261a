#!/usr/bin/env python3
"""Measure a whole dump from a real kernel, as a ratio to the floor.

    .venv/bin/python bench/dump.py [SERVICES [DESTS [KERNEL]]]    by default 200 services of 20 real servers, Linux 6.1

The floor is the same system calls made from C, with nothing decoded (floor.c). pyroute2 takes part if it is installed.

The benchmark boots the kernel in a virtual machine, as the kernel tests do. Its clock counts instructions, one a
nanosecond, so the figures repeat to a percent on any computer. As root, where ip_vs is loaded, the benchmark measures
the running kernel instead: in real time, and in a new network namespace.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/kernel")]

IN_GUEST = "IPVSNL_GUEST" in os.environ
import arguments  # noqa: E402

INSTRUCTIONS = ["-icount", "shift=0,sleep=off"]
ROUNDS = 3  # of which the best counts: the first one meets cold caches

# Programs, with the Debian packages that have them.
PROGRAMS = {"cc": "gcc libc6-dev", "ipvsadm": "ipvsadm", "ip": "iproute2", "modprobe": "kmod"}
GUEST_PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "busybox": "busybox-static", "file": "file"}


def main() -> int:
    options = arguments_of_main(__doc__, 200)
    services, dests = options.services, options.dests
    here = IN_GUEST or (os.geteuid() == 0 and Path("/proc/net/ip_vs").exists())
    missing = missing_packages(here)
    if missing:
        return fail(missing)
    return measure(services, dests) if here else in_guest(options)


def missing_packages(here: bool) -> str:
    """Say which programs are missing, to measure here or in a virtual machine."""
    os.environ["PATH"] = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # not every user's PATH has ipvsadm
    needed = PROGRAMS if here else {**PROGRAMS, **GUEST_PROGRAMS}
    missing = " ".join([package for program, package in needed.items() if shutil.which(program) is None])
    return missing and f"this needs Debian's {missing}: run apt-get install {missing} as root"


def in_guest(options: argparse.Namespace) -> int:
    """Run this script again in a virtual machine whose clock counts instructions."""
    if not Path(sys.executable).with_name("vng").exists():
        return fail(f"this needs virtme-ng: run ./run-tests once, then .venv/bin/python bench/{Path(sys.argv[0]).name}")
    import kernels
    from guest import Guest

    try:
        image = kernels.kernel(options.kernel)
    except (kernels.Unavailable, ValueError) as error:
        return fail(str(error))
    command = ["env", "IPVSNL_GUEST=1", "TMPDIR=/run", f"PATH={os.environ['PATH']}", sys.executable, "-B", sys.argv[0]]
    numbers = [str(options.services), str(options.dests)]
    guest = Guest(image, [*command, *numbers], ROOT, time_limit=3600, qemu=INSTRUCTIONS)
    try:
        while not guest.poll():
            time.sleep(0.2)
        print(guest.read(), guest.problem, sep="", end="")
        return guest.status
    finally:
        guest.close()


def arguments_of_main(description: "str | None", services: int) -> argparse.Namespace:
    parser = arguments.Parser(description)
    parser.add_argument("services", metavar="SERVICES", nargs="?", type=arguments.count, default=services)
    parser.add_argument("dests", metavar="DESTS", nargs="?", type=arguments.count, default=20)
    parser.add_argument("kernel", metavar="KERNEL", nargs="?", default="6.1")
    options = parser.parse_args()
    if options.services > 60000 or options.dests > 255:
        parser.error("at most 60000 services of 255 real servers")
    return options


def fail(message: str) -> int:
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    return 1


def measure(services: int, dests: int) -> int:
    if IN_GUEST:
        subprocess.run(["modprobe", "-a", "ip_vs", "ip_vs_rr"], check=True)
    print(f"Linux {os.uname().release}, Python {sys.version.split()[0]}, {services} services of {dests} real servers")
    with tempfile.TemporaryDirectory() as folder:
        floor = f"{folder}/floor"
        subprocess.run(["cc", "-O2", "-o", floor, str(ROOT / "bench/floor.c")], check=True)
        script = Path(folder, "script")
        again = shlex.join([sys.executable, "-B", __file__, "--subjects", floor, str(services * dests)])
        # Without lo the namespace has no routing table, and IPVS then takes no address for a unicast one.
        script.write_text(f"ip link set lo up && ipvsadm -R <<END && exec {again}\n")
        with script.open("a") as file:
            file.writelines(rules(services, dests))
            file.write("END\n")
        return subprocess.run(["unshare", "--net", "sh", str(script)]).returncode


def rules(services: int, dests: int) -> "list[str]":
    lines = []
    for service in range(services):
        address = f"10.{service >> 8}.{service & 255}.1:80"
        lines.append(f"-A -t {address} -s rr\n")
        lines += [
            f"-a -t {address} -r 172.{16 + (service >> 8)}.{service & 255}.{dest}:80 -m\n" for dest in range(dests)
        ]
    return lines


def to_dataclasses() -> None:
    import ipvsnl

    with ipvsnl.Client() as client:
        best(lambda: list(client.dump()))


def to_line_protocol() -> None:
    from ipvsnl import cli

    best(lambda: cli.main([]))


def services_only() -> None:
    from ipvsnl import cli

    best(lambda: cli.main(["--services-only"]))


def to_json() -> None:
    from ipvsnl import cli

    best(lambda: cli.main(["-f", "json"]))


def aggregate() -> None:
    from ipvsnl import cli

    best(lambda: cli.main(["--aggregate"]))


def listing() -> None:
    from ipvsnl import cli

    best(lambda: cli.main(["-f", "list"]))


def pyroute2() -> None:
    from pyroute2 import IPVS, IPVSDest, IPVSService

    def dump() -> None:
        with IPVS() as ipvs:
            for message in ipvs.service("dump"):
                service = IPVSService.from_message(message)
                for dest in ipvs.dest("dump", service=service):
                    IPVSDest.from_message(dest)

    best(dump)


def nothing() -> None:
    best(lambda: None)


SUBJECTS: "dict[str, Callable[[], None]]" = {
    "to dataclasses": to_dataclasses,
    "to line protocol": to_line_protocol,
    "with --services-only": services_only,
    "with --aggregate": aggregate,
    "to json": to_json,
    "to a list": listing,
    "pyroute2, to its objects": pyroute2,
}


def best(action: "Callable[[], object]") -> None:
    """Prints the seconds of the best round; stdout is not where the dump goes."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    print(min(times), file=sys.stderr)


def subjects(floor: str, total: int) -> int:
    lines = subprocess.run([floor, str(ROUNDS)], check=True, capture_output=True, text=True).stdout.splitlines()
    lowest = min(float(line.split()[-2]) for line in lines)
    print(f"{'':26}{'ratio':>7}{'ns a real server':>18}{'peak memory above a bare Python':>33}")
    print(f"{'floor (C)':26}{1:7.2f}{lowest / total * 1e9:18.0f}")
    bare = run("nothing", nothing)[1]
    for name, subject in SUBJECTS.items():
        seconds, memory = run(name, subject)
        if seconds is not None:
            print(
                f"{name:26}{seconds / lowest:7.2f}{seconds / total * 1e9:18.0f}{(memory - bare) / 1024:29.1f} MiB",
                flush=True,
            )
    return 0


def run(name: str, subject: "Callable[[], None]") -> "tuple[float | None, int]":
    """Run a subject in a process of its own. Return its best seconds, or None, and its peak memory in KiB."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(write, 2)
        os.execv(sys.executable, [sys.executable, "-B", __file__, "--subject", name])
    os.close(write)
    with os.fdopen(read) as file:
        said = file.read()
    _, status, usage = os.wait4(child, 0)
    return (float(said) if status == 0 else None), usage.ru_maxrss


if __name__ == "__main__":
    if sys.argv[1:2] == ["--subjects"]:
        sys.exit(subjects(sys.argv[2], int(sys.argv[3])))
    if sys.argv[1:2] == ["--subject"]:
        sys.exit({**SUBJECTS, "nothing": nothing}[sys.argv[2]]())  # type: ignore[func-returns-value]
    sys.exit(main())
