"""Standard output and error that never fail into a command: its work is done and its verdict stands."""

import errno
import io
import os
import select
import sys
from typing import Any, TextIO

READER_GONE = (errno.EPIPE, errno.ECONNRESET)


class Output(io.RawIOBase):
    """Writes to a file descriptor, however slow; the first failure is kept, and what comes after it is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.failure: OSError | None = None

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return os.isatty(self._descriptor)

    def write(self, data: Any) -> int:
        """Writes all of the data, or none after a failure; returns how many bytes it took, always all of them."""
        left = memoryview(data).cast("B")
        size = len(left)
        while left and self.failure is None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.failure = error
        return size


def open_descriptors() -> None:
    """Opens /dev/null where standard input, output or error is closed, so that no file of a command gets its number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if descriptor == 0 else os.O_WRONLY)  # the lowest one that is free


def replace_streams() -> Output:
    """Makes sys.stdout and sys.stderr write through Output, and returns the one of standard output.

    A character that their encoding lacks is written as its escape.
    """
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf8", closefd=False)  # noqa: SIM115  # as long as the process
    out, err = Output(1), Output(2)
    sys.stdout = _text(out, sys.stdout, line_buffering=out.isatty())
    sys.stderr = _text(err, sys.stderr, line_buffering=True)
    return out


def lost(out: Output) -> str:
    """Returns why standard output was lost, in words; empty where it was not, or where its reader had gone."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # a command closed it
        pass
    if out.failure is None or out.failure.errno in READER_GONE:
        return ""
    return out.failure.strerror or str(out.failure)


def _text(raw: Output, before: TextIO | None, line_buffering: bool) -> TextIO:
    encoding = getattr(before, "encoding", None) or "utf8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors="backslashreplace", line_buffering=line_buffering
    )
