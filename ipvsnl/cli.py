"""The command line: arguments in, text out. Nothing here knows a byte of netlink.

Options are read by getopt, not argparse: a dump is a short program that runs every few seconds, argparse alone would
be a fifth of it, and minimal Pythons lack the gettext that argparse imports.
"""

import os
import sys
import time
from contextlib import contextmanager, suppress
from getopt import GetoptError, gnu_getopt
from importlib import import_module
from io import BytesIO

from . import __version__
from ._stdio import OutputError, ReaderGone, newlines, write
from .client import Client
from .errors import DecodeError, IPVSError, NotAvailableError
from .formats import Report
from .transport import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, BinaryIO, Callable

    from .capture import Recorder
    from .formats import Entries

    Render = Callable[[Report], Iterator[str]]
    Source = tuple[Client, int | None]  # and the time of its dumps, None for now

DONE, FAILED, WRONG_ARGUMENTS, NOT_AVAILABLE = range(4)  # exit statuses
INTERRUPTED = 130  # as shells have it: 128 and SIGINT

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
  --services-only      leave the real servers out, and do not ask for them
  --aggregate          print sums over the real servers of each virtual server
                       in their place; with line, json and prometheus
  --all-fields         line: print the fields that telegraf's plugin lacks, for
                       example weights and bytes per second
  --netns NAME|PATH    read another network namespace: a name of ip netns, or a
                       path such as /proc/PID/ns/net; line, json and prometheus
                       then name it
  --load-module        let the kernel load the module ip_vs if it is not there
  --record FILE        write the conversation with the kernel to a capture, too
  --replay FILE        read a capture of any IPVS client instead of the kernel
  --execd              stay, and print at each newline on stdin until its end:
                       for telegraf's inputs.execd with signal = "STDIN"
  --version            print the version
  -h, --help           print this

If a dump fails, line may have printed whole lines, and every other format
nothing. With --execd no format prints anything of a dump that fails.

Reading the kernel needs CAP_NET_ADMIN, and with --netns CAP_SYS_ADMIN. Exit
status: 0 done; 1 the kernel refused, or bytes could not be read or written;
2 wrong arguments; 3 no IPVS here now; 130 interrupted.
"""

REST = ("info", "timeouts", "daemons")
FORMATS = {  # the module, imported when asked for, its function, and the methods of Client that it needs besides dump()
    "line": ("line_protocol", "render", ()),
    "json": ("json_document", "render", REST),
    "prometheus": ("prometheus", "render", REST),
    "list": ("listing", "render_list", REST[:1]),
    "stats": ("listing", "render_stats", REST[:1]),
    "rate": ("listing", "render_rate", REST[:1]),
    "rules": ("rules", "render", ()),
}
STREAMED = {"line"}  # each of its lines stands alone; half of another document is worth nothing
FORMATS_OF = {"--aggregate": ("line", "json", "prometheus"), "--all-fields": ("line",)}  # others have no place for it
EXCLUSIVE = [
    ("--record", "--replay"),
    ("--netns", "--replay"),
    ("--record", "--execd"),
    ("--services-only", "--aggregate"),
]


class WrongArguments(Exception):
    """The command line makes no sense; the text says why."""


class Options:
    """What the command line says."""

    def __init__(self, argv: list[str]) -> None:
        long = ["format=", "services-only", "aggregate", "all-fields", "netns=", "load-module", "record=", "replay="]
        try:
            options, rest = gnu_getopt(argv, "f:h", [*long, "execd", "version", "help"])
        except GetoptError as error:
            raise WrongArguments(error.msg.replace("requires argument", "requires an argument")) from None
        if rest:
            raise WrongArguments(f"unexpected argument {rest[0]}: to read a capture, use --replay {rest[0]}")
        given = {"--format" if name == "-f" else name: value for name, value in options}
        self.format: str = given.get("--format", "line")
        if self.format not in FORMATS:
            raise WrongArguments(f"there is no format {self.format}: choose {' or '.join(FORMATS)}")
        self.services_only = "--services-only" in given
        self.aggregate = "--aggregate" in given
        self.all_fields = "--all-fields" in given
        self.netns: str | None = given.get("--netns")
        self.load_module = "--load-module" in given
        self.record: str | None = given.get("--record")
        self.replay: str | None = given.get("--replay")
        self.execd = "--execd" in given
        for one, other in EXCLUSIVE:
            if one in given and other in given:
                raise WrongArguments(f"{one} and {other} exclude each other")
        for option, formats in FORMATS_OF.items():
            if option in given and self.format not in formats:
                raise WrongArguments(f"{option} is for --format {' or '.join(formats)}, not for {self.format}")
        if [name for name, _ in options].count("--netns") > 1:  # of another option the last one counts
            raise WrongArguments("--netns may be given once: run ipvsnl for each namespace")
        self.version = "--version" in given
        self.help = "--help" in given or "-h" in given


def main(argv: "list[str] | None" = None) -> int:
    """Run the command line with these arguments, by default the program's own, and return its exit status."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted")


def _run(argv: "list[str]") -> int:
    try:
        options = Options(argv)
        if options.help:
            write(sys.stdout, [USAGE])
        elif options.version:
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
    except OSError as error:
        return _fail(FAILED, f"{error.filename or 'a file without a name'}: {error.strerror}")
    return DONE


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
    render = _renderer(options.format)
    if not options.execd:
        with _opened(options) as source:
            _print_dump(options, render, source)
        return
    # One client does all dumps. After a failure there is a new one at the next newline, since the kernel may have IPVS
    # by then, or have it again.
    asked = newlines(sys.stdin)
    for _ in asked:
        try:
            with _opened(options) as source:
                _print_dump(options, render, source)
                for _ in asked:
                    _print_dump(options, render, source)
        except IPVSError as error:
            _fail(FAILED, str(error))


def _print_dump(options: Options, render: "Render", source: "Source") -> None:
    client, time_of_dump = source
    rest: dict[str, Any] = {name: _asked(client, name, options.replay) for name in FORMATS[options.format][2]}
    report = Report(
        _entries(client, options.services_only),
        time.time_ns() if time_of_dump is None else time_of_dump,
        netns=None if options.netns is None else os.fsencode(options.netns).decode(errors="backslashreplace"),
        all_fields=options.all_fields,
        aggregate=options.aggregate,
        **rest,
    )
    write(sys.stdout, render(report), whole=options.execd or options.format not in STREAMED)


def _renderer(format: str) -> "Render":
    try:
        module, function, _ = FORMATS[format]
        render: Render = getattr(import_module(f".formats.{module}", __package__), function)
    except ModuleNotFoundError as error:  # minimal Pythons have no json
        raise WrongArguments(f"--format {format} needs the module {error.name}, which this Python lacks") from None
    return render


@contextmanager
def _opened(options: Options) -> "Iterator[Source]":
    if options.replay is not None:
        with _replay(options.replay) as source:
            yield source
    elif options.record is not None:
        with (
            _recorder(options.record, options.netns) as recorder,
            Client(load_module=options.load_module, transport=recorder) as client,
        ):
            yield client, None
    else:
        with Client(netns=options.netns, load_module=options.load_module) as client:
            yield client, None


@contextmanager
def _replay(path: str) -> "Iterator[Source]":
    """Open a capture. Every error about it names the file."""
    from .capture import Replay

    try:
        with open(path, "rb") as file:
            try:
                replay = Replay(file)
            except OSError as error:
                raise OSError(error.errno, error.strerror, path) from None
        with Client(transport=replay) as client:
            yield client, replay.time
    except DecodeError as error:
        raise DecodeError(f"{path}: {error.what}", error.todo) from None


@contextmanager
def _recorder(path: str, netns: "str | None") -> "Iterator[Recorder]":
    """Open a socket that keeps what it says, and write that to a file at the end.

    A dump that failed is worth keeping; one that was killed leaves nothing that looks like a recording.
    """
    from .capture import Recorder

    socket = NetlinkSocket(netns=netns)  # first: if it is refused, an older recording stays
    try:
        with open(path, "wb") as file:
            conversation = BytesIO()
            try:
                yield Recorder(socket, conversation)
            finally:
                _save(conversation, file)
    finally:
        socket.close()


def _save(conversation: BytesIO, file: "BinaryIO") -> None:
    """Write all of it, or leave an empty file."""
    try:
        with file:
            file.write(conversation.getvalue())
    except OSError as error:
        if os.path.isfile(file.name):  # not a device
            os.truncate(file.name, 0)
        raise OSError(error.errno, error.strerror, file.name) from None


def _asked(client: Client, name: str, replay: "str | None") -> object:
    """What this method of the client returns; None if a capture does not hold it."""
    try:
        return getattr(client, name)()
    except DecodeError:
        if replay is None:
            raise
        return None


def _entries(client: Client, services_only: bool) -> "Entries":
    if services_only:
        return [(service, None) for service in client.services()]
    return client.dump()
