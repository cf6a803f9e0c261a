"""The command line: arguments in, text out. Nothing here knows a byte of netlink.

Options are read by getopt, not argparse: a dump is a short program that runs every few seconds, argparse alone would
be a fifth of it, and minimal Pythons lack the gettext that argparse imports.
"""

import os
import sys
import time
from contextlib import ExitStack
from getopt import GetoptError, gnu_getopt
from importlib import import_module

from . import __version__
from .client import Client
from .errors import IPVSError, NotAvailableError
from .transport import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .model import Destination, Service
    from .transport import Transport

DONE, FAILED, WRONG_ARGUMENTS, NOT_AVAILABLE = range(4)  # exit statuses

USAGE = """\
usage: ipvsnl [-f line|json] [--services-only] [--load-module]
              [--record FILE | --replay FILE] [--version] [--help]

Print the virtual servers and real servers of IPVS, once.

  -f, --format FORMAT  line (InfluxDB line protocol, the default) or json
  --services-only      leave the real servers out, and do not ask for them
  --load-module        let the kernel load the module ip_vs if it is not there
  --record FILE        write the conversation with the kernel to a capture, too
  --replay FILE        read a capture of any IPVS client instead of the kernel
  --version            print the version
  -h, --help           print this

Reading the kernel needs CAP_NET_ADMIN. Exit status: 0 done; 1 the kernel
refused, or bytes could not be read; 2 wrong arguments; 3 no IPVS here now.
"""

FORMATS = {"line": "line_protocol", "json": "json_document"}  # imported only when asked for


class WrongArguments(Exception):
    """The command line makes no sense; the text says why."""


class Options:
    """What the command line says."""

    def __init__(self, argv: list[str]) -> None:
        long = ["format=", "services-only", "load-module", "record=", "replay=", "version", "help"]
        try:
            options, rest = gnu_getopt(argv, "f:h", long)
        except GetoptError as error:
            raise WrongArguments(error.msg) from None
        if rest:
            raise WrongArguments(f"unexpected argument {rest[0]}")
        given = dict(options)
        self.format: str = given.get("-f", given.get("--format", "line"))
        if self.format not in FORMATS:
            raise WrongArguments(f"there is no format {self.format}: choose {' or '.join(FORMATS)}")
        self.services_only = "--services-only" in given
        self.load_module = "--load-module" in given
        self.record: str | None = given.get("--record")
        self.replay: str | None = given.get("--replay")
        if self.record is not None and self.replay is not None:
            raise WrongArguments("--record and --replay exclude each other")
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
            _print_dump(options)
        sys.stdout.flush()
        return DONE
    except WrongArguments as error:
        return _fail(WRONG_ARGUMENTS, f"{error} (see --help)")
    except NotAvailableError as error:
        return _fail(NOT_AVAILABLE, str(error))
    except IPVSError as error:
        return _fail(FAILED, str(error))
    except BrokenPipeError:
        # Whoever read us has enough. Python would flush stdout once more at its end, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(FAILED, f"{error.filename or 'writing the output'}: {error.strerror}")


def _fail(status: int, message: str) -> int:
    print(f"ipvsnl: {message}", file=sys.stderr)
    return status


def _print_dump(options: Options) -> None:
    render = import_module(f".formats.{FORMATS[options.format]}", __package__).render
    with ExitStack() as stack:
        transport, timestamp = _source(options, stack)
        client = stack.enter_context(Client(load_module=options.load_module, transport=transport))
        for text in render(_entries(client, options.services_only), timestamp):
            sys.stdout.write(text)


def _source(options: Options, stack: ExitStack) -> "tuple[Transport | None, int]":
    """What answers the client, None for the kernel itself, and the time of the dump. Open files go to `stack`."""
    if options.replay is not None:
        from .capture import Replay

        with open(options.replay, "rb") as capture:
            replay = Replay(capture)
        return replay, replay.time
    if options.record is not None:
        from .capture import Recorder

        file = open(options.record, "wb")  # noqa: SIM115  # it must stay open for as long as the client
        stack.callback(file.close)
        return Recorder(NetlinkSocket(), file), time.time_ns()
    return None, time.time_ns()


def _entries(client: Client, services_only: bool) -> "Iterable[tuple[Service, list[Destination] | None]]":
    if services_only:
        return [(service, None) for service in client.services()]
    return client.dump()
