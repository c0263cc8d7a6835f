"""Ctrl-C and SIGTERM: one line and an exit code at any moment, and everything that was begun is cleaned up."""

import os
import signal
import sys
import threading
import time

from del_audit.exit_codes import INTERRUPTED, TERMINATED

IMPATIENT = 3.0
"""Seconds after the first signal: one that comes later ends the process at once, without cleaning up."""
AGAIN = 0.02
"""Seconds after which an interruption that a callback dropped is raised again."""
_first: list[float] = []


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def interrupted() -> bool:
    """Whether a signal has come: libraries turn its exception into others while they are imported."""
    return bool(_first)


def leave_at_once() -> None:
    """From now on a signal ends the process at once: while it starts there is nothing to clean up."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def raise_interruptions() -> None:
    """From now on a signal raises KeyboardInterrupt, or Terminated, in the main thread.

    Where it is raised in a callback, whose exceptions Python drops, it is raised again outside.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    sys.unraisablehook = _unraisable


def ignore_signals() -> None:
    """From now on signals are ignored: the exit code stands."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: object) -> None:
    try:
        os.write(2, b"del-audit: interrupted\n")
    finally:
        os._exit(INTERRUPTED if number == signal.SIGINT else TERMINATED)


def _interrupt(number: int, frame: object) -> None:
    if _first and time.monotonic() - _first[0] > IMPATIENT:
        _leave(number, frame)
    if _first:
        return
    _first.append(time.monotonic())
    _raise(number)


def _raise(number: int) -> None:
    raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def _unraisable(found: "sys.UnraisableHookArgs") -> None:
    """Raises a dropped interruption again; drops everything else: no exit code hangs on a callback."""
    if isinstance(found.exc_value, KeyboardInterrupt):
        number = signal.SIGTERM if isinstance(found.exc_value, Terminated) else signal.SIGINT
        _first.clear()
        again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))  # what is raised in here is dropped as well
        again.daemon = True
        again.start()
