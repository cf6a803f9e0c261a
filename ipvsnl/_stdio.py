"""Write text to a standard stream completely, and read newlines from standard input.

sys.stdout keeps what it could not write: the interpreter tries again at its end, and exits with status 120. If a
descriptor does not block, sys.stdout loses text, and sys.stdin takes a lack of input for the end. So this module uses
the descriptors themselves. A stream that a caller put in the place of a standard stream is used as it is.
"""

import os
import sys
from codecs import getincrementalencoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import TextIO

CHUNK = 1 << 14  # bytes to write or read at once; malloc returns larger blocks to the kernel each time
MEMORY = 1 << 20  # bytes of a document to hold in memory; a file takes the rest


class OutputError(Exception):
    """Say why a stream did not take the text."""


class ReaderGone(Exception):
    """Say that the reader closed the pipe, which is not a failure."""


def write(stream: "TextIO | None", pieces: "Iterable[str]", whole: bool = False) -> None:
    """Write pieces of text as they come, or with `whole` after the last one has come.

    If `pieces` raises, that exception passes through, and with `whole` nothing has been written.
    """
    if stream is None:  # Python found the descriptor closed
        raise OutputError("it is closed")
    chunks = _encoded(pieces, stream)
    for chunk in _held(chunks) if whole else chunks:
        try:
            _put(chunk, stream)
        except BrokenPipeError:
            raise ReaderGone from None
        except OSError as error:
            raise OutputError(error.strerror or str(error)) from None
        except ValueError as error:  # its owner closed it
            raise OutputError(str(error)) from None


def _encoded(pieces: "Iterable[str]", stream: "TextIO") -> "Iterator[bytes]":
    """Join pieces to chunks of bytes. A chunk ends where a piece ends."""
    encoding, errors = (stream.encoding, stream.errors) if _is_standard(stream) else ("utf-8", "surrogatepass")
    encoder = getincrementalencoder(encoding)(errors or "strict")  # writes the byte order mark of UTF-16 once
    waiting: list[str] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield _encode("".join(waiting), encoder.encode)
            waiting, size = [], 0
    if waiting:
        yield _encode("".join(waiting), encoder.encode)


def _encode(text: str, encode: "Callable[[str], bytes]") -> bytes:
    try:
        return encode(text)
    except UnicodeEncodeError as error:
        missing = ascii(error.object[error.start])
        raise OutputError(f"{error.encoding} lacks {missing}: set PYTHONIOENCODING=utf-8") from None


def _held(chunks: "Iterable[bytes]") -> "Iterator[bytes]":
    """Yield the chunks after the last one has come. Beyond MEMORY they wait in a file, if it takes them."""
    held: list[bytes | int] = []  # a number stands for so many bytes of the file
    size = 0
    file = _NamelessFile()
    try:
        for chunk in chunks:
            held.append(len(chunk) if size > MEMORY and file.append(chunk) else chunk)
            size += len(chunk)
        for each in held:
            yield file.read(each) if isinstance(each, int) else each
    finally:
        file.close()


class _NamelessFile:
    """Keep bytes in a file that ends with the process. Making it does without the imports of tempfile."""

    def __init__(self) -> None:
        self._descriptor = -1
        self._end = self._next = 0

    def append(self, data: bytes) -> bool:
        """Append all of these bytes, or return False."""
        try:
            if self._descriptor < 0:
                self._descriptor = os.open(os.environ.get("TMPDIR") or "/tmp", os.O_TMPFILE | os.O_RDWR, 0o600)
            if os.pwrite(self._descriptor, data, self._end) < len(data):
                return False
        except (OSError, AttributeError):  # AttributeError: a system without O_TMPFILE
            return False
        self._end += len(data)
        return True

    def read(self, length: int) -> bytes:
        """Read the next bytes."""
        self._next += length
        return os.pread(self._descriptor, length, self._next - length)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _put(data: bytes, stream: "TextIO") -> None:
    if not _is_standard(stream):
        stream.write(data.decode("utf-8", "surrogatepass"))
        stream.flush()
        return
    stream.flush()  # what a caller printed before
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(stream.fileno(), left) :]
        except BlockingIOError:
            _wait(stream.fileno(), "POLLOUT")


def newlines(stream: "TextIO | None") -> "Iterator[None]":
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


def _is_standard(stream: "TextIO") -> bool:
    return stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__)


def _wait(descriptor: int, event: str) -> None:
    """Wait until a descriptor that does not block is ready."""
    import select  # which few runs need

    poll = select.poll()
    poll.register(descriptor, getattr(select, event))
    poll.poll()
