"""The command line: arguments in, text out. Nothing here knows a byte of netlink.

getopt reads the options, because argparse would take a fifth of a small dump's time. Minimal Pythons also lack gettext,
which argparse imports.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from getopt import GetoptError, gnu_getopt
from importlib import import_module
from io import BytesIO
from itertools import chain

from . import __version__
from ._stdio import OutputError, ReaderGone, newlines, write
from ._typing import typing
from .client import Client
from .errors import DecodeError, IPVSError, NotAvailableError
from .formats import Report
from .transport import NetlinkSocket, Transport

DONE, FAILED, WRONG_ARGUMENTS, NOT_AVAILABLE = range(4)  # exit statuses
INTERRUPTED = 130  # 128 + SIGINT, as in shells

USAGE = """\
usage: ipvsnl [-f FORMAT] [--services-only | --aggregate] [--all-fields]
              [--netns NAME|PATH] [--load-module]
              [--record FILE | --replay FILE] [--execd] [--version] [--help]

Print the virtual servers and real servers of IPVS, once.

  -f, --format FORMAT  line (InfluxDB line protocol, the default), json,
                       prometheus (its text exposition format), list, stats,
                       rate (as ipvsadm -Ln, -Ln --stats and -Ln --rate), or
                       rules (as ipvsadm -Sn, with thresholds: ipvsadm -R reads
                       them)
  --services-only      leave out the real servers, and do not request them
  --aggregate          replace the real servers of each virtual server by sums
                       over them; with line, json and prometheus
  --all-fields         line: print the fields that telegraf's plugin lacks, for
                       example weights and bytes per second
  --netns NAME|PATH    read another network namespace: a name of ip netns, or a
                       path such as /proc/PID/ns/net; line, json and prometheus
                       then name it
  --load-module        let the kernel load the module ip_vs if it is missing
  --record FILE        also write all requests and replies to a capture file
  --replay FILE        read a capture of any IPVS client instead of the kernel
  --execd              print at each newline on stdin until its end: for
                       telegraf's inputs.execd with signal = "STDIN"
  --version            print the version
  -h, --help           print this

If a dump fails, line may have printed whole lines, and every other format
nothing. With --execd no format prints anything of a dump that fails.

Reading the kernel needs CAP_NET_ADMIN, and with --netns also CAP_SYS_ADMIN.
Exit status: 0 done; 1 the kernel refused, or bytes could not be read or
written; 2 wrong arguments; 3 the kernel has no IPVS now; 130 interrupted.
"""

LONG_OPTIONS = [
    *("format=", "services-only", "aggregate", "all-fields", "netns=", "load-module"),
    *("record=", "replay=", "execd", "version", "help"),
]
SHORT_OPTIONS = {"-f": "--format", "-h": "--help"}
EXCLUSIVE = [
    ("--record", "--replay"),
    ("--netns", "--replay"),
    ("--record", "--execd"),
    ("--services-only", "--aggregate"),
]

REST = ("info", "timeouts", "daemons")
FORMATS = {  # the module, imported when it is needed, its function, and the methods of Client beside dump()
    "line": ("line_protocol", "render", ()),
    "json": ("json_document", "render", REST),
    "prometheus": ("prometheus", "render", REST),
    "list": ("listing", "render_list", REST[:1]),
    "stats": ("listing", "render_stats", REST[:1]),
    "rate": ("listing", "render_rate", REST[:1]),
    "rules": ("rules", "render", ()),
}
FORMATS_OF = {"--aggregate": ("line", "json", "prometheus"), "--all-fields": ("line",)}

Options = dict[str, str]  # by their long names; the value of an option without one is empty
Render = Callable[[Report], Iterator[str]]


class WrongArguments(Exception):
    """The command line makes no sense; the text says why."""


def main(argv: "typing.Optional[list[str]]" = None) -> int:
    """Run the command line with these arguments, by default those of the process, and return the exit status."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted")


def _run(argv: list[str]) -> int:
    options: Options = {}
    try:
        options = _parse(argv)
        if "--help" in options:
            write(sys.stdout, [USAGE])
        elif "--version" in options:
            write(sys.stdout, [f"ipvsnl {__version__}\n"])
        else:
            _print_dumps(options)
    except ReaderGone:
        pass
    except WrongArguments as error:
        return _fail(WRONG_ARGUMENTS, f"{error} (see --help)")
    except NotAvailableError as error:
        return _fail(NOT_AVAILABLE, str(error))
    except OutputError as error:
        return _fail(FAILED, f"writing the output: {error}")
    except IPVSError as error:
        return _fail(FAILED, str(error))
    except OSError as error:  # opening a file names it, and reading or writing the capture does not
        path = error.filename or options.get("--replay") or options.get("--record") or "a file without a name"
        return _fail(FAILED, f"{path}: {error.strerror}")
    return DONE


def _parse(argv: list[str]) -> Options:
    """Return the options. If one is repeated, the last one counts."""
    try:
        found, rest = gnu_getopt(argv, "f:h", LONG_OPTIONS)
    except GetoptError as error:
        raise WrongArguments(error.msg.replace("requires argument", "requires an argument")) from None
    if rest:
        raise WrongArguments(f"unexpected argument {rest[0]}: to read a capture, use --replay {rest[0]}")
    options = {"--format": "line", **{SHORT_OPTIONS.get(name, name): value for name, value in found}}
    format = options["--format"]
    if format not in FORMATS:
        raise WrongArguments(f"there is no format {format}: choose one of {', '.join(FORMATS)}")
    for one, other in EXCLUSIVE:
        if one in options and other in options:
            raise WrongArguments(f"{one} and {other} exclude each other: leave one out")
    for option, formats in FORMATS_OF.items():
        if option in options and format not in formats:
            raise WrongArguments(f"{option} works with --format {' or '.join(formats)}, not with {format}")
    if [name for name, _ in found].count("--netns") > 1:
        raise WrongArguments("--netns may be given once: run ipvsnl for each namespace")
    return options


def _fail(status: int, message: str) -> int:
    """Write the message to stderr, and return the status. A full or closed stderr does not change it."""
    try:
        with suppress(OutputError, ReaderGone):
            write(sys.stderr, [" ".join(["ipvsnl:", *message.splitlines()]) + "\n"])
    except KeyboardInterrupt:  # stderr may block
        return INTERRUPTED
    return status


def _print_dumps(options: Options) -> None:
    write(sys.stdout, [])  # fails now if stdout is closed
    render = _renderer(options["--format"])
    execd = "--execd" in options
    # One client does all dumps. After a failure the next newline opens a new one, because the module may be loaded now.
    signals = newlines(sys.stdin) if execd else iter([None])
    for signal in signals:
        try:
            with _opened(options) as (client, clock):
                for _ in chain([signal], signals):
                    _print_dump(options, render, client, clock)
        except IPVSError as error:
            if not execd:
                raise
            _fail(FAILED, str(error))


def _print_dump(options: Options, render: Render, client: Client, clock: Callable[[], int]) -> None:
    format = options["--format"]
    rest: dict[str, typing.Any] = {}
    for name in FORMATS[format][2]:
        try:
            rest[name] = getattr(client, name)()
        except DecodeError:  # a capture may lack it
            if "--replay" not in options:
                raise
    report = Report(
        [(service, None) for service in client.services()] if "--services-only" in options else client.dump(),
        clock(),
        netns=os.fsencode(options["--netns"]).decode(errors="backslashreplace") if "--netns" in options else None,
        all_fields="--all-fields" in options,
        aggregate="--aggregate" in options,
        **rest,
    )
    whole = "--execd" in options or format != "line"  # each line is complete; half of another document is useless
    write(sys.stdout, render(report), whole)


def _renderer(format: str) -> Render:
    try:
        module, function, _ = FORMATS[format]
        render: Render = getattr(import_module(f".formats.{module}", __package__), function)
    except ModuleNotFoundError as error:  # minimal Pythons have no json
        raise WrongArguments(f"--format {format} needs the module {error.name}, which this Python lacks") from None
    return render


@contextmanager
def _opened(options: Options) -> Iterator[tuple[Client, Callable[[], int]]]:
    """Open a client. Yield it with a function that returns the time of its next dump."""
    transport: AbstractContextManager[Transport]
    if "--replay" in options:
        transport = _replay(options["--replay"])
    elif "--record" in options:
        transport = _recorder(options["--record"], options.get("--netns"))
    else:
        transport = closing(NetlinkSocket(netns=options.get("--netns")))
    with transport as opened, Client(load_module="--load-module" in options, transport=opened) as client:
        time_of_capture = getattr(opened, "time", None)
        yield client, time.time_ns if time_of_capture is None else lambda: time_of_capture


@contextmanager
def _replay(path: str) -> Iterator[Transport]:
    """Open a capture. Every error about its contents names the file."""
    from .capture import Replay

    try:
        with open(path, "rb") as file:
            replay = Replay(file)
        yield replay
    except DecodeError as error:
        raise DecodeError(f"{path}: {error.what}", error.todo) from None


@contextmanager
def _recorder(path: str, netns: "typing.Optional[str]") -> Iterator[Transport]:
    """Open a socket, and at the end write to a file what passed through it.

    The recording of a dump that failed is kept. If the disk is full, the file is left empty.
    """
    from .capture import Recorder

    # The socket comes first: if the kernel refuses it, an older recording stays.
    with closing(NetlinkSocket(netns=netns)) as socket, open(path, "wb") as file:
        recording = BytesIO()
        try:
            yield Recorder(socket, recording)
        finally:
            try:
                with file:
                    file.write(recording.getvalue())
            except OSError:
                if os.path.isfile(path):  # not a device
                    os.truncate(path, 0)
                raise
