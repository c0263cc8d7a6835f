"""What is kept of an unexpected error: where it happened, with what versions, in a file that only its user reads."""

import os
import platform
import sys
import tempfile
import time
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mechanisms.state_folder import state_folder

FOLDER = "errors"
PACKAGES = ("del-audit", "torch", "transformers", "numpy", "pyarrow", "pydantic")


def write_log(error: BaseException, arguments: list[str]) -> Path | None:
    """Returns the file that the traceback was written to, None where none can be written.

    The file (mode 600) is in the folder errors of the user's records, else in the folder of temporary files.
    """
    lines = [
        time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        f"arguments: {arguments!r}",
        f"python {platform.python_version()} on {platform.platform()}",
        *(f"{name} {_version(name)}" for name in PACKAGES),
        "",
        *traceback.format_exception(error),
    ]
    data = "\n".join(line.rstrip("\n") for line in lines).encode("utf8", "backslashreplace") + b"\n"
    for place in (_own_folder, tempfile.gettempdir):
        try:
            handle, path = tempfile.mkstemp(
                prefix=time.strftime("del-audit-%Y%m%d-%H%M%S-"), suffix=".log", dir=place()
            )
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            return Path(path)
        except (OSError, ValueError):  # UserError is a ValueError
            continue
    return None


def describe(error: BaseException, log: Path | None) -> str:
    """Returns the one line that a user sees."""
    said = " ".join(str(error).split())[:200]
    kept = f"Details: {log}." if log is not None else "No log file could be written."
    return (
        f"del-audit: unexpected error, which says nothing about what was audited: {type(error).__name__}"
        f"{f': {said}' if said else ''}. {kept} Run it again; if it stays, report it with that file."
    )


def _own_folder() -> str:
    folder = state_folder() / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    return str(folder)


def _version(name: str) -> str:
    module = sys.modules.get(name)
    try:
        return version(name)
    except PackageNotFoundError:
        return str(getattr(module, "__version__", "is not installed"))
