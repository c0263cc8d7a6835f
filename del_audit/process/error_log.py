"""What is kept of an error that nobody expected: a file for whoever mends it, and one line for whoever met it."""

import os
import platform
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = "errors"
_PACKAGES = ("del-audit", "torch", "transformers", "tokenizers", "datasets", "numpy", "scipy", "scikit-learn", "rich")


def said_of(error: BaseException) -> str:
    """Returns the line that is said of an error, after writing its log; raises nothing that a log could cause."""
    try:
        path = _kept(error)
    except Exception:  # a full disk, no memory: the line alone must do
        path = None
    kind = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        kind = f"{kind}: {error.strerror}"
    where = f"Details are in {path}" if path is not None else "No log file could be written"
    return (
        f"internal error ({kind}): del-audit failed, which says nothing about the configuration. {where}. "
        f"{_next_step(error, path)}"
    )


def _next_step(error: BaseException, path: Path | None) -> str:
    if isinstance(error, MemoryError):
        return "Free some memory, or ask for smaller sizes, and run the command again."
    again = "Run the command again; if it fails again, report it"
    return (
        f"{again} with that file, once you have read it: it may quote your text." if path is not None else f"{again}."
    )


def _kept(error: BaseException) -> Path:
    """Returns the path of the log: in the state folder, else a file of the owner alone in the temporary folder."""
    content = _content(error).encode("utf8", "backslashreplace")
    try:
        from mechanisms.state_folder import state_folder

        folder = state_folder() / FOLDER
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _write(handle, path, content)
    except Exception:
        handle, name = tempfile.mkstemp(prefix="del-audit-error-", suffix=".txt")  # mode 0600
        path = Path(name)
        _write(handle, path, content)
    return path


def _write(handle: int, path: Path, content: bytes) -> None:
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _content(error: BaseException) -> str:
    lines = [
        f"del-audit met an error that it did not expect, {datetime.now(UTC).isoformat(timespec='seconds')}",
        f"arguments: {sys.argv!r}",
        f"python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {_version(name)}" for name in _PACKAGES),
        "",
        *traceback.format_exception(error),
    ]
    return "\n".join(lines)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "is not installed"
