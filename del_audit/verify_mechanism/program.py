"""A child process that answers one line with one line, each within a time."""

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO

from del_audit.verify_mechanism.json_client import said
from del_audit.verify_mechanism.target import NoAnswer
from mechanisms.errors import UserError

_CHUNK = 1 << 16
_KEPT = 2000
"""Characters of a program's standard error that are kept, its last."""
_TO_END, _PAUSE = 1.0, 0.005
"""Seconds that a program is given to end once its input has ended, and between two looks whether it has."""


class Program:
    """A started program. Nothing is shared with other instances: each has pipes and a process group of its own.

    Raises UserError where it cannot be started. POSIX only: it waits on pipes.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(
                arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
            )
        except (OSError, ValueError) as error:
            raise UserError(f"Expected --command to name a program that can be started: {error}.") from None
        self._in, self._out, self._err = map(_pipe, (self._process.stdin, self._process.stdout, self._process.stderr))
        for stream in (self._in, self._out, self._err):
            os.set_blocking(stream.fileno(), False)
        self._read = b""
        self._said = b""

    @property
    def said(self) -> str:
        """The end of what it wrote to standard error so far."""
        return self._said.decode(errors="replace")

    def ask(self, line: bytes, limit: int, seconds: float) -> bytes:
        """Returns the line that it answers a line with, without the newline.

        Raises NoAnswer where it ends, takes more than seconds, says more than limit bytes or more than one line.
        """
        self._take(self._out)
        if self._read:
            raise NoAnswer(f"before it was asked it wrote {said(self._read)}; all but answers goes to standard error")
        left, end = memoryview(line + b"\n"), time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._in, selectors.EVENT_WRITE)
            ready.register(self._out, selectors.EVENT_READ)
            ready.register(self._err, selectors.EVENT_READ)
            while b"\n" not in self._read:
                streams = [key.fileobj for key, _ in ready.select(max(0.0, end - time.monotonic()))]
                if time.monotonic() >= end:
                    raise NoAnswer(f"none came within {seconds:g} seconds")
                if self._in in streams and not (left := self._write(left)):
                    ready.unregister(self._in)
                if self._err in streams and not self._take(self._err):
                    ready.unregister(self._err)
                if self._out in streams and not self._take(self._out):
                    raise NoAnswer(self._ended())
                if len(self._read) > limit:
                    raise NoAnswer(f"more than {limit:,} bytes came back")
        answer, _, self._read = self._read.partition(b"\n")
        return answer

    def close(self) -> None:
        """Ends the program and what it started: its input first, then by force."""
        self._in.close()
        self._end()
        self.kill()

    def kill(self) -> None:
        """Ends the program and what it started at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # not yet waited for: its number is no other process's
        self._process.wait()
        while self._take(self._err) > 0:
            pass
        for stream in (self._in, self._out, self._err):
            stream.close()

    def _write(self, left: memoryview) -> memoryview:
        """Returns what is left to write; nothing where the program no longer reads."""
        try:
            return left[os.write(self._in.fileno(), left) :]
        except BlockingIOError:
            return left
        except BrokenPipeError:
            return left[:0]

    def _take(self, stream: IO[bytes]) -> int:
        """Takes what there is on a stream; returns how many bytes, 0 at its end, and -1 where there are none yet."""
        try:
            data = os.read(stream.fileno(), _CHUNK)
        except BlockingIOError:
            return -1
        if stream is self._out:
            self._read += data
        else:
            self._said = (self._said + data)[-_KEPT:]
        return len(data)

    def _end(self) -> str:
        """Returns how the program ended, in words, empty where it goes on; it stays to be waited for."""
        end, options = time.monotonic() + _TO_END, os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (found := os.waitid(os.P_PID, self._process.pid, options)) is None and time.monotonic() < end:
            time.sleep(_PAUSE)
        if found is None:
            return ""
        return (
            f"ended with status {found.si_status}"
            if found.si_code == os.CLD_EXITED
            else f"got signal {found.si_status}"
        )

    def _ended(self) -> str:
        end = self._end() or "closed its output"
        while self._take(self._err) > 0:
            pass
        last = self.said.strip().splitlines()[-1:]
        return f"the program {end}" + (f", saying {last[0][:200]!r}" if last else "")


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise UserError("Expected a program with standard streams.")
    return stream
