"""The process of the command: errors, signals and streams first, so that all else ends in one line and a code."""

import os
import sys


def _uncaught(kind: type[BaseException], error: BaseException, trace: object) -> None:
    """Ends the process in one line, where nothing else has hold of an error yet, or any more."""
    interruption = issubclass(kind, KeyboardInterrupt)
    said = "interrupted" if interruption else f"unexpected error: {kind.__name__}: {' '.join(str(error).split())[:200]}"
    try:
        os.write(2, f"del-audit: {said}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(130 if interruption else 70)


sys.excepthook = _uncaught  # before anything else is imported, which takes time enough for a Ctrl-C

from del_audit.exit_codes import INTERRUPTED, SUCCESS, USER_ERROR  # noqa: E402
from del_audit.interruption import ignore_signals, leave_at_once, raise_interruptions  # noqa: E402


def run() -> None:
    """Runs the command on the process's arguments, and ends the process with its exit code."""
    leave_at_once()
    from del_audit.output import lost, open_descriptors, replace_streams

    open_descriptors()
    out = replace_streams()
    from del_audit.cli import main

    try:
        raise_interruptions()
        code = main()
        ignore_signals()
    except KeyboardInterrupt:  # before main had hold of it, or after
        ignore_signals()
        print("del-audit: interrupted", file=sys.stderr)
        code = INTERRUPTED
    except SystemExit as error:  # --help and --version
        code = error.code if isinstance(error.code, int) else SUCCESS
    if (why := lost(out)) and code == SUCCESS:
        print(
            f"del-audit: error: Expected standard output that can be written, got {why}: what was printed is not "
            "whole. Files that the command wrote are. Run it again with another output.",
            file=sys.stderr,
        )
        code = USER_ERROR
    sys.exit(code)
