"""Writing a file that is not there yet: whole or not at all, and never over another one."""

import os
import tempfile
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Writes a file that does not exist, whole or not at all: beside it, then linked, which never replaces another.

    mode: of the file, such as 0o600; nobody else can read a part of it before.
    Raises FileExistsError where it exists, other OSErrors where it cannot be written; path is then as it was.
    """
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 600 from the start
    try:
        with os.fdopen(handle, "wb") as stream:
            os.fchmod(handle, mode)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(beside, path)
    finally:
        os.unlink(beside)
