"""The command line: arguments in, text out. Nothing here knows a byte of netlink.

Options are read by getopt, not argparse: a dump is a short program that runs every few seconds, argparse alone would
be a fifth of it, and minimal Pythons lack the gettext that argparse imports.
"""

import os
import sys
import time
from contextlib import ExitStack, suppress
from errno import EPIPE
from getopt import GetoptError, gnu_getopt
from importlib import import_module
from io import BytesIO

from . import __version__
from .client import Client
from .errors import DecodeError, IPVSError, NotAvailableError
from .transport import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO, Callable

    from .model import Destination, Info, Service
    from .transport import Transport

    Entries = Iterable[tuple[Service, list[Destination] | None]]
    Render = Callable[[Entries, int, Info | None], Iterator[str]]

DONE, FAILED, WRONG_ARGUMENTS, NOT_AVAILABLE = range(4)  # exit statuses
INTERRUPTED = 130  # as shells have it: 128 and SIGINT

USAGE = """\
usage: ipvsnl [-f line|json|prometheus] [--services-only] [--netns NAME|PATH]
              [--load-module] [--record FILE | --replay FILE] [--execd]
              [--version] [--help]

Print the virtual servers and real servers of IPVS, once.

  -f, --format FORMAT  line (InfluxDB line protocol, the default), json, or
                       prometheus (its text exposition format)
  --services-only      leave the real servers out, and do not ask for them
  --netns NAME|PATH    read another network namespace: a name of ip netns, or a
                       path such as /proc/PID/ns/net
  --load-module        let the kernel load the module ip_vs if it is not there
  --record FILE        write the conversation with the kernel to a capture, too
  --replay FILE        read a capture of any IPVS client instead of the kernel
  --execd              stay, and print at each newline on stdin until its end:
                       for telegraf's inputs.execd with signal = "STDIN"
  --version            print the version
  -h, --help           print this

Reading the kernel needs CAP_NET_ADMIN, and with --netns CAP_SYS_ADMIN. Exit
status: 0 done; 1 the kernel refused, or bytes could not be read; 2 wrong
arguments; 3 no IPVS here now.
"""

FORMATS = {"line": "line_protocol", "json": "json_document", "prometheus": "prometheus"}  # imported when asked for
EXCLUSIVE = [("--record", "--replay"), ("--netns", "--replay"), ("--record", "--execd")]


class WrongArguments(Exception):
    """The command line makes no sense; the text says why."""


class Options:
    """What the command line says."""

    def __init__(self, argv: list[str]) -> None:
        long = ["format=", "services-only", "netns=", "load-module", "record=", "replay=", "execd", "version", "help"]
        try:
            options, rest = gnu_getopt(argv, "f:h", long)
        except GetoptError as error:
            raise WrongArguments(error.msg) from None
        if rest:
            raise WrongArguments(f"unexpected argument {rest[0]}")
        given = {"--format" if name == "-f" else name: value for name, value in options}  # the last one counts
        self.format: str = given.get("--format", "line")
        if self.format not in FORMATS:
            raise WrongArguments(f"there is no format {self.format}: choose {' or '.join(FORMATS)}")
        self.services_only = "--services-only" in given
        self.netns: str | None = given.get("--netns")
        self.load_module = "--load-module" in given
        self.record: str | None = given.get("--record")
        self.replay: str | None = given.get("--replay")
        self.execd = "--execd" in given
        for one, other in EXCLUSIVE:
            if one in given and other in given:
                raise WrongArguments(f"{one} and {other} exclude each other")
        self.version = "--version" in given
        self.help = "--help" in given or "-h" in given


def main(argv: "list[str] | None" = None) -> int:
    """Run the command line with these arguments, by default the program's own, and return its exit status."""
    if sys.stdout is None:  # how Python says that file descriptor 1 was closed
        return _fail(FAILED, "there is no standard output to write to")
    try:
        options = Options(sys.argv[1:] if argv is None else argv)
        if options.help:
            print(USAGE, end="")
        elif options.version:
            print(f"ipvsnl {__version__}")
        else:
            _print_dumps(options)
        sys.stdout.flush()
        return DONE
    except WrongArguments as error:
        return _fail(WRONG_ARGUMENTS, f"{error} (see --help)")
    except NotAvailableError as error:
        return _fail(NOT_AVAILABLE, str(error))
    except IPVSError as error:
        return _fail(FAILED, str(error))
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, "interrupted")
    except UnicodeEncodeError as error:
        return _fail(FAILED, f"writing the output: {error.reason}: set PYTHONUTF8=1 in the environment")
    except OSError as error:
        if error.errno == EPIPE and error.filename is None:
            # Whoever read stdout has enough. Python would flush it once more at its end, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return DONE
        subject = "writing the output" if error.filename is None else error.filename or "a file without a name"
        return _fail(FAILED, f"{subject}: {error.strerror}")


def _fail(status: int, message: str) -> int:
    if sys.stderr is not None:  # closed; print() would take stdout instead
        with suppress(OSError):  # full, or a closed pipe: the status says it, too
            print("ipvsnl:", *message.splitlines(), file=sys.stderr)
    return status


def _print_dumps(options: Options) -> None:
    render = _renderer(options.format)
    with ExitStack() as stack:
        if options.execd:
            _print_dump_at_each_newline(options, render, stack)
        else:
            for text in _dump(options, render, *_open(options, stack)):
                sys.stdout.write(text)


def _print_dump_at_each_newline(options: Options, render: "Render", stack: ExitStack) -> None:
    """One client does all dumps. After one that failed, which costs a line on stderr, there is a new one at the next
    newline: by then the kernel may have IPVS, or have it again."""
    opened = None
    while _is_asked():
        try:
            opened = opened or _open(options, stack)
            text = "".join(_dump(options, render, *opened))  # all of it or nothing
        except IPVSError as error:
            _fail(FAILED, str(error))
            stack.close()
            opened = None
        else:
            sys.stdout.write(text)
            sys.stdout.flush()


def _is_asked() -> bool:
    """Waits for a newline on stdin. False at its end."""
    try:
        return sys.stdin is not None and sys.stdin.buffer.readline().endswith(b"\n")
    except OSError as error:
        raise OSError(error.errno, error.strerror, "stdin") from None


def _renderer(format: str) -> "Render":
    try:
        render: Render = import_module(f".formats.{FORMATS[format]}", __package__).render
    except ModuleNotFoundError as error:  # minimal Pythons have no json
        raise WrongArguments(f"--format {format} needs the module {error.name}, which this Python lacks") from None
    return render


def _open(options: Options, stack: ExitStack) -> "tuple[Client, int | None]":
    """A client, and the time of its dumps, None for when each is made. What is to be closed goes to `stack`."""
    transport: Transport | None = None
    time_of_dump = None
    if options.replay is not None:
        from .capture import Replay

        with open(options.replay, "rb") as capture:
            try:
                transport = replay = Replay(capture)
            except OSError as error:
                raise OSError(error.errno, error.strerror, options.replay) from None
        time_of_dump = replay.time
    elif options.record is not None:
        from .capture import Recorder

        socket = NetlinkSocket(netns=options.netns)  # first: where it is refused an older recording stays
        stack.callback(socket.close)
        # Opened before anything is asked, and written when all is over: a dump that failed is worth keeping, too, but
        # one that was killed leaves nothing that looks like a recording.
        file = open(options.record, "wb")  # noqa: SIM115
        conversation = BytesIO()
        stack.callback(_save, conversation, file)
        transport = Recorder(socket, conversation)
    client = Client(netns=options.netns, load_module=options.load_module, transport=transport)
    return stack.enter_context(client), time_of_dump


def _save(conversation: BytesIO, file: "BinaryIO") -> None:
    """Writes all of it, or leaves an empty file."""
    try:
        with file:
            file.write(conversation.getvalue())
    except OSError as error:
        if os.path.isfile(file.name):  # not a device
            os.truncate(file.name, 0)
        raise OSError(error.errno, error.strerror, file.name) from None


def _dump(options: Options, render: "Render", client: Client, time_of_dump: "int | None") -> "Iterable[str]":
    timestamp = time.time_ns() if time_of_dump is None else time_of_dump
    return render(_entries(client, options.services_only), timestamp, _info(client, options))


def _info(client: Client, options: Options) -> "Info | None":
    if options.format != "prometheus":  # nobody else would print it
        return None
    try:
        return client.info()
    except DecodeError:
        if options.replay is None:
            raise
        return None  # few clients ask for it, so that few captures have it


def _entries(client: Client, services_only: bool) -> "Entries":
    if services_only:
        return [(service, None) for service in client.services()]
    return client.dump()
