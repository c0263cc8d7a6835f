"""What starts the command: signals and streams first, then the imports, then one place where outcomes become codes."""

import os
import sys


def _early(kind: type[BaseException], error: BaseException, _trace: object) -> None:
    """Ends the process in one line where an import below is interrupted, or fails: nothing else has hold of it yet."""
    interrupted = issubclass(kind, KeyboardInterrupt)
    said = "interrupted" if interrupted else f"internal error ({kind.__name__}): it says nothing about what was asked."
    try:
        os.write(2, f"del-audit: {said}\n".encode())
    finally:
        os._exit(130 if interrupted else 70)


sys.excepthook = _early

import atexit  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from typing import NoReturn  # noqa: E402

from del_audit.process import interruption  # noqa: E402
from del_audit.process.exit_codes import UNEXPECTED, USER_ERROR  # noqa: E402

_PATIENCE = 1.0
"""Seconds that an interrupted process waits for a reader that does not read."""


def main() -> NoReturn:
    """Runs the command line and ends the process with its exit code (del_audit.process.exit_codes).

    A code is the verdict's whatever becomes of its output, except that 0 becomes 2 where standard output was lost on
    its way to a reader. The interpreter's own end is left out: nothing can interrupt it or write into the output.
    """
    code, line, lost = UNEXPECTED, "", None
    try:
        interruption.install()
        from del_audit.process import output

        below = output.guard()
        sys.unraisablehook, threading.excepthook = _unraisable, _in_thread
        from del_audit.cli import run

        code = _ran(run)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        lost = below[0].why_lost()
        interruption.settle()
    except BaseException as error:
        interruption.settle()
        if interruption.caught() is None:
            line = _unexpected(error)
            code = UNEXPECTED
    if (number := interruption.caught()) is not None:
        code, line = interruption.SIGNALS[number]  # type: ignore[index]
    elif lost is not None and code == 0:
        code = USER_ERROR
        line = (
            f"error: standard output could not be written ({lost}): {below[0].lost} bytes or more of the result are "
            "lost, the command itself succeeded. Make room, or send the output elsewhere, and run the command again."
        )
    _end(code, line)


def _ran(run: Callable[[], int]) -> int:
    try:
        return run()
    except SystemExit as done:  # of --help and --version, and of nothing else
        return done.code if isinstance(done.code, int) else 0


def _unexpected(error: BaseException) -> str:
    """Returns the line of an error that nobody expected; what cannot even be logged is named."""
    try:
        from del_audit.process.error_log import said_of

        return said_of(error)
    except BaseException:
        return f"internal error ({type(error).__name__}): it says nothing about the configuration. No log was written."


def _end(code: int, line: str) -> NoReturn:
    """Says the line, runs what asked to be run at the end, and ends the process."""
    interruption.leave(code)
    try:
        _hurry()
        if line:
            print(f"del-audit: {line}", file=sys.stderr)
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException:  # the outcome stands, whatever becomes of its last words
        pass
    finally:
        os._exit(code)


def _hurry() -> None:
    """Waits no longer for readers that do not read: what they were to have is written or lost already."""
    for stream in (sys.stdout, sys.stderr):
        if (below := getattr(getattr(stream, "buffer", None), "raw", None)) is not None:
            below.patience = _PATIENCE


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Says in one line what Python would print with a trace; an interruption is raised again where it can be."""
    if isinstance(found.exc_value, KeyboardInterrupt):
        interruption.raise_again()
        return
    where = getattr(found.object, "__qualname__", type(found.object).__qualname__)
    print(f"del-audit: warning: {found.exc_type.__name__} in {where} was ignored", file=sys.stderr)


def _in_thread(found: threading.ExceptHookArgs) -> None:
    name = found.thread.name if found.thread is not None else "a thread"
    print(f"del-audit: warning: {found.exc_type.__name__} ended {name}", file=sys.stderr)
