"""Interruptions of the process: each becomes one KeyboardInterrupt, which nothing between it and the entry can lose.

A KeyboardInterrupt may be swallowed on its way, by a callback that cannot raise or by a library that catches
everything. So a timer raises it again until `settle` is called, but never while it is on its way up: cleaning up runs
to its end, also when the keys are pressed twice.
"""

import os
import signal
import sys
import time
from types import FrameType

from del_audit.process.exit_codes import HUNG_UP, INTERRUPTED, TERMINATED
from mechanisms import shield

SIGNALS = {
    signal.SIGINT: (INTERRUPTED, "interrupted"),
    signal.SIGTERM: (TERMINATED, "terminated"),
    signal.SIGHUP: (HUNG_UP, "hung up"),
}
"""The exit code of each signal, and its word."""
_AGAIN, _SOON = 1.0, 0.05
"""Seconds until an interruption that did not come through is raised again, and after it was seen to be lost."""
_END = 2.0
"""Seconds that the end of a process may take before a signal cuts it off."""
_DEEPEST = 100

_caught: list[int] = []
_settled: list[bool] = []


def install() -> None:
    """Handles the signals from now on, but for those that whoever started the process ignores (nohup, `&`)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _first)


def caught() -> int | None:
    """Returns the first signal that came, or None."""
    return _caught[0] if _caught else None


def settle() -> None:
    """Nothing is raised from now on: the outcome stands."""
    _settled.append(True)
    if _caught:
        signal.setitimer(signal.ITIMER_REAL, 0)


def leave(code: int) -> None:
    """From now on a signal ends the process with a code, but not within the first seconds: the end takes less."""
    end = time.monotonic() + _END

    def handle(_number: int, _frame: FrameType | None) -> None:
        if time.monotonic() > end:
            os._exit(code)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handle)


def raise_again() -> None:
    """Raises an interruption again soon: for whoever saw that it was lost."""
    if _caught and not _settled:
        signal.setitimer(signal.ITIMER_REAL, _SOON, _AGAIN)


def _first(number: int, _frame: FrameType | None) -> None:
    if _settled or _caught:
        return
    _caught.append(number)
    signal.signal(signal.SIGALRM, _later)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
    if not shield.up():
        raise KeyboardInterrupt


def _later(_number: int, _frame: FrameType | None) -> None:
    if not _settled and not shield.up() and not _on_its_way():
        raise KeyboardInterrupt


def _on_its_way() -> bool:
    """Returns whether the code that is running is that of a handler or a clean-up of the interruption."""
    error, depth = sys.exception(), 0
    while error is not None and depth < _DEEPEST:
        if isinstance(error, KeyboardInterrupt):
            return True
        error, depth = error.__context__, depth + 1
    return False


shield.afterwards.append(raise_again)
