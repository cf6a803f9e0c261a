#!/usr/bin/env python3
"""Count what one dump gives to a time series database: lines or samples, and bytes, with large counters.

bench/fleet.py [SERVICES DESTS]    by default 200 services of 20 real servers each
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import arguments

from ipvsnl import testing
from ipvsnl.formats import Report, line_protocol, prometheus


def main() -> None:
    parser = arguments.Parser(__doc__)
    parser.add_argument("services", metavar="SERVICES", nargs="?", type=arguments.count, default=200)
    parser.add_argument("dests", metavar="DESTS", nargs="?", type=arguments.count, default=20)
    options = parser.parse_args()
    services, dests = options.services, options.dests
    if max(services, dests) > 0x10000:
        parser.error("at most 65536 services of 65536 real servers")
    large = {"pkts_in": 98765432, "pkts_out": 87654321, "bytes_in": 12345678901, "bytes_out": 987654321098}
    busy = testing.stats(connections=12345678, cps=123, pps_in=1234, pps_out=1234, **large)
    pool = [
        testing.destination(address=f"10.20.{100 + (n >> 8)}.{n & 255}", port=8080, active_connections=1234, stats=busy)
        for n in range(dests)
    ]
    virtual = [
        testing.service(address=f"198.51.{100 + (n >> 8)}.{n & 255}", port=443, scheduler="wrr", stats=busy)
        for n in range(services)
    ]
    print(f"{services} services of {dests} real servers{'lines or samples':>30}{'bytes':>12}")
    for name, render in (("line protocol", line_protocol.render), ("prometheus", prometheus.render)):
        for remark, each in (("", pool), (", --services-only", None)):
            lines = "".join(render(Report([(service, each) for service in virtual], 1795422105213415000))).splitlines(
                True
            )
            samples = sum(not line.startswith("#") for line in lines)
            print(f"{name + remark:36}{samples:28,}{sum(map(len, lines)):12,}")


if __name__ == "__main__":
    main()
