#!/usr/bin/env python3
"""Time the codec for one real server, without a kernel: decoding by the careful path and the fast path, and formats.

    bench/codec.py [SECONDS]    for each row of the table, by default 1

It decodes a message from the capture of a real kernel.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import arguments  # noqa: E402

from ipvsnl import Destination, Service, ServiceFlags, Stats, _decode, _schema, genl, pcap  # noqa: E402
from ipvsnl._fastpath import Layouts  # noqa: E402
from ipvsnl.formats import Report, json_document, line_protocol  # noqa: E402

CAPTURE = ROOT / "tests/fixtures/linux-6.1/stats.pcap"
COUNT = 80  # in a datagram, nearly as many as the kernel puts into one


def main() -> None:
    parser = arguments.Parser(__doc__)
    parser.add_argument("seconds", metavar="SECONDS", nargs="?", type=arguments.seconds, default=1.0)
    seconds = parser.parse_args().seconds
    message = first_destination()
    datagram = COUNT * (genl.NLMSGHDR.pack(16 + len(message.payload), *header(message)) + message.payload)
    layouts = Layouts(_schema.COMMAND, _decode.DEST_ROWS.paths, bytearray(datagram))
    layouts.learn(message)
    stats = Stats(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    service = Service("inet", "tcp", "10.99.0.1", 80, None, "rr", ServiceFlags(2), 0, 32, None, stats)

    def one_by_one() -> "list[Destination]":
        return [_decode.decode_destination(each.attributes(), "inet") for each in genl.messages(datagram)]

    def many_at_once() -> "list[Destination]":
        return _decode.destinations(layouts.rows(0, len(datagram), message.seq, message.port)[1], "inet")

    destinations = one_by_one()
    assert destinations == many_at_once(), "the two ways differ, or the fast one is off"
    table: list[tuple[str, Callable[[], object]]] = [
        ("decode, one by one", one_by_one),
        ("decode, many at once", many_at_once),
        ("format as line protocol", lambda: list(line_protocol.render(Report([(service, destinations)])))),
        ("format as json", lambda: list(json_document.render(Report([(service, destinations)])))),
    ]
    print(f"Python {sys.version.split()[0]}, microseconds a real server, the best of all rounds of {COUNT}")
    for name, action in table:
        print(f"{name:25}{best(action, seconds) / COUNT * 1e6:8.2f}")


def first_destination() -> genl.Message:
    with open(CAPTURE, "rb") as file:
        for record in pcap.read(file):
            for message in genl.messages(record.datagram):
                if message.type > genl.GENL_ID_CTRL and message.command() == _schema.NEW_DEST:
                    return message
    raise SystemExit(f"{CAPTURE} has no real server")


def header(message: genl.Message) -> "tuple[int, int, int, int]":
    return message.type, message.flags, message.seq, message.port


def best(action: "Callable[[], object]", seconds: float) -> float:
    """Return the shortest time of one call in seconds, because noise only adds."""
    shortest, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        action()
        shortest = min(shortest, time.perf_counter() - started)
    return shortest


if __name__ == "__main__":
    main()
