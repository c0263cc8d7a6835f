"""One run in a folder at a time: a lock on the folder itself, which the system releases when its process ends."""

import fcntl
import os
from pathlib import Path
from typing import Self

from mechanisms.errors import UserError


def require_free(out: Path) -> None:
    """Raises UserError for an out that exists, and for one whose folder OUT.partial another run holds.

    Called before the expensive work; the run then holds the folder with FolderLock.
    """
    if out.exists():
        raise UserError(f"Expected --out to be a folder that does not exist yet, got {out}.")
    partial = partial_of(out)
    if partial.is_dir():
        FolderLock(partial).release()


def partial_of(out: Path) -> Path:
    """Returns the folder that a run works in until its result is whole; raises UserError for an out without a name."""
    try:
        return out.with_name(f"{out.name}.partial")
    except ValueError:
        raise UserError(f"Expected --out to be a folder with a name of its own, got {str(out)!r}.") from None


class FolderLock:
    """Holds a folder, which must exist, until it is released, left, or forgotten. Nothing is written into the folder.

    what: the option that named the folder, for errors. Raises UserError where another process, or another lock of this
    one, holds it. A file system without such locks (NFS) is used without.
    """

    def __init__(self, folder: Path, what: str = "--out") -> None:
        self._handle = -1
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UserError(f"Expected {what} to be a folder, got {str(folder)!r}: {error.strerror}.") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            raise UserError(
                f"Expected {what} to be a folder that no other run writes to, got {str(folder)!r}, where one is at "
                f"work. Wait for it to end, or give another {what}."
            ) from None
        except OSError:
            os.close(handle)
            return
        self._handle = handle

    def release(self) -> None:
        """Lets others have the folder; a second time it does nothing."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.release()

    def __del__(self) -> None:
        self.release()
