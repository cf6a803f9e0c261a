"""Write text to a standard stream completely, and read newlines from standard input.

sys.stdout keeps what it could not write. The interpreter then tries again at exit, and exits with status 120. If a
descriptor does not block, sys.stdout loses text, and sys.stdin takes a lack of input for the end. This module therefore
uses the descriptors. If a caller replaced a standard stream, it uses that stream.
"""

import os
import sys
from codecs import getincrementalencoder
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ._typing import typing

CHUNK = 1 << 12  # characters or bytes to write or read at once; malloc returns large blocks to the kernel each time
MEMORY = 1 << 20  # bytes of a document to keep in memory; a file takes the rest


class OutputError(Exception):
    """Text could not be written. The message says why."""


class ReaderGone(Exception):
    """The reader closed the pipe, which is not a failure."""


def write(stream: "typing.Optional[typing.TextIO]", pieces: Iterable[str], whole: bool = False) -> None:
    """Write pieces of text as they come, or with `whole` after the last one has come.

    An exception from `pieces` passes through. With `whole` nothing has been written then.
    """
    if stream is None:  # Python found the descriptor closed
        raise OutputError("it is closed")
    chunks = _encoded(pieces, stream)
    for chunk in _held(chunks) if whole else chunks:
        try:
            _put(chunk, stream)
        except BrokenPipeError:
            raise ReaderGone from None
        except (OSError, ValueError) as error:  # ValueError: its owner closed it
            raise OutputError(getattr(error, "strerror", None) or str(error)) from None


def _encoded(pieces: Iterable[str], stream: "typing.TextIO") -> Iterator[bytes]:
    encoding, errors = (stream.encoding, stream.errors) if _is_standard(stream) else ("utf-8", "surrogatepass")
    encoder = getincrementalencoder(encoding)(errors or "strict")  # writes one byte order mark
    for text in _joined(pieces):
        try:
            yield encoder.encode(text)
        except UnicodeEncodeError as error:
            missing = ascii(error.object[error.start])
            raise OutputError(f"{error.encoding} lacks {missing}: set PYTHONIOENCODING=utf-8") from None


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """Join pieces into chunks. A chunk ends where a piece ends."""
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield "".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield "".join(waiting)


def _held(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the chunks after the last one has come. Beyond MEMORY they wait in a nameless file, if it takes them."""
    held: list[bytes | int] = []  # a number is the length of a chunk in the file
    in_memory, in_file, file = 0, 0, -1
    try:
        for chunk in chunks:
            if in_memory > MEMORY:
                with suppress(OSError, AttributeError):  # AttributeError: a system without O_TMPFILE
                    if file < 0:  # without tempfile, which imports much
                        file = os.open(os.environ.get("TMPDIR") or "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
                    if os.pwrite(file, chunk, in_file) == len(chunk):
                        held.append(len(chunk))
                        in_file += len(chunk)
                        continue
            held.append(chunk)
            in_memory += len(chunk)
        position = 0
        for each in held:
            if isinstance(each, int):
                yield os.pread(file, each, position)
                position += each
            else:
                yield each
    finally:
        if file >= 0:
            os.close(file)


def _put(data: bytes, stream: "typing.TextIO") -> None:
    if not _is_standard(stream):
        stream.write(data.decode("utf-8", "surrogatepass"))
        stream.flush()
        return
    stream.flush()  # a caller may have printed before
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(stream.fileno(), left) :]
        except BlockingIOError:
            _wait(stream.fileno(), "POLLOUT")


def newlines(stream: "typing.Optional[typing.TextIO]") -> Iterator[None]:
    """Yield at each newline on the stream, until its end. Other bytes are dropped."""
    if stream is None:  # Python found the descriptor closed
        return
    if not _is_standard(stream):
        yield from (None for line in stream if line.endswith("\n"))
        return
    while True:
        try:
            data = os.read(stream.fileno(), CHUNK)
        except BlockingIOError:
            _wait(stream.fileno(), "POLLIN")
            continue
        except OSError as error:
            raise OSError(error.errno, error.strerror, "stdin") from None
        if not data:
            return
        for _ in range(data.count(b"\n")):
            yield


def _is_standard(stream: "typing.TextIO") -> bool:
    return stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)


def _wait(descriptor: int, event: str) -> None:
    """Wait until a descriptor that does not block is ready."""
    import select  # few runs need it

    poll = select.poll()
    poll.register(descriptor, getattr(select, event))
    poll.poll()
