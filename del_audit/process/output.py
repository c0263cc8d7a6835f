"""Standard output and error of the process: writing to them never raises, and what was lost is known at the end."""

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

CHUNK = 4096
"""Bytes that a pipe takes without waiting once it is ready: PIPE_BUF."""
_READER_GONE = errno.EPIPE


class Output(io.RawIOBase):
    """A file descriptor that is written to. After the first failure everything is counted as lost, and nothing raises.

    failure: the first failure. lost: bytes that were not written. patience: seconds to wait for a reader that does not
    read; None waits as long as it takes, and can be interrupted.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.failure: OSError | None = None
        self.lost = 0
        self.patience: float | None = None

    def write(self, data: "ReadableBuffer") -> int:
        """Writes all of it, or counts what is lost; returns its length."""
        view = memoryview(data).cast("B")
        whole, left = len(view), view
        try:
            while left and self.failure is None:
                left = left[self._some(left) :]
        except OSError as error:
            self.failure = error
        self.lost += len(left)
        return whole

    def _some(self, left: memoryview) -> int:
        if not select.select([], [self._descriptor], [], self.patience)[1]:
            raise TimeoutError(errno.ETIMEDOUT, "its reader does not read")
        try:
            return os.write(self._descriptor, left[:CHUNK])
        except BlockingIOError:  # another process filled the pipe in between
            return 0

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Returns whether it is a terminal."""
        return os.isatty(self._descriptor)

    def why_lost(self) -> str | None:
        """Returns why output was lost that somebody was to read; None where nothing was, or its reader had gone."""
        if self.failure is None or self.failure.errno == _READER_GONE:
            return None
        return self.failure.strerror or type(self.failure).__name__


_replaced: list[TextIO] = []
"""Keeps the interpreter's own streams: theirs are the descriptors."""


def guard() -> tuple[Output, Output]:
    """Puts streams that never raise in the place of sys.stdout and sys.stderr; returns what is below them.

    Closed descriptors are opened on the null device, so that no file of a command becomes standard output.
    """
    _open_closed()
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - open as long as the process
    out, err = _below(sys.stdout, 1), _below(sys.stderr, 2)
    _replaced.extend((sys.stdout, sys.stderr))
    sys.stdout = sys.__stdout__ = _text(out, sys.stdout, out.isatty())  # type: ignore[assignment, misc]
    sys.stderr = sys.__stderr__ = _text(err, sys.stderr, True)  # type: ignore[assignment, misc]
    return out, err


def _open_closed() -> None:
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)


def _below(stream: TextIO | None, descriptor: int) -> Output:
    """Returns the descriptor's output; the null device where it was closed, whatever was opened in its place since."""
    return Output(descriptor if stream is not None else os.open(os.devnull, os.O_WRONLY))


def _text(below: Output, old: TextIO | None, by_line: bool) -> TextIO:
    encoding = (old.encoding if old is not None else None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(below), encoding, "backslashreplace", line_buffering=by_line)
