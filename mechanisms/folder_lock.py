"""A folder that one process writes to: another one is refused before it begins. No file is left for it.

The lock is on the folder itself (flock), so that it follows a rename and ends with the process, however that ends.
"""

import errno
import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mechanisms.errors import UserError

SUFFIX = ".partial"
_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_lent: set[tuple[int, int]] = set()
"""Folders that this process holds for whoever in it asks next: `held_run` holds early what a training run holds."""


@contextmanager
def held_run(out: Path) -> Iterator[None]:
    """Holds OUT.partial for the run that is to make a folder out, from before anything expensive.

    Raises UserError for an out that exists, and as `held` does.
    """
    try:
        there = out.exists()
    except OSError as error:
        raise _unusable(out, error) from None
    if there:
        raise UserError(f"Expected --out to be a folder that does not exist yet, got {out}.")
    partial = out.with_name(out.name + SUFFIX)
    with held(partial, out):
        place = _place(partial)
        _lent.add(place)
        try:
            yield
        finally:
            _lent.discard(place)


@contextmanager
def held(folder: Path, out: Path) -> Iterator[None]:
    """Holds a folder, made where it is not there, until the block ends; one that was made and is empty then is removed.

    out: what the user calls it. Raises UserError where another process holds it and where it cannot be made. A file
    system that knows no locks is told of, and nothing is held there.
    """
    missing, handle = _missing(folder, out), -1
    try:
        handle = _opened(folder, out)
        if _place(folder) in _lent:
            _lent.discard(_place(folder))
        else:
            _lock(handle, folder, out)
        yield
    finally:
        if handle >= 0:
            os.close(handle)
        _remove_empty(missing)


def _remove_empty(made: list[Path]) -> None:
    """Removes folders, the innermost first, as far as they are empty and no other process holds the innermost."""
    if not made:
        return
    with suppress(OSError):
        handle = os.open(made[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for path in made:
                path.rmdir()
        finally:
            os.close(handle)


def _missing(folder: Path, out: Path) -> list[Path]:
    """Returns the folders that must be made for a folder, the innermost first."""
    missing = []
    try:
        for path in (folder, *folder.parents):
            if path.exists():
                break
            missing.append(path)
    except OSError as error:
        raise _unusable(out, error) from None
    return missing


def _opened(folder: Path, out: Path) -> int:
    """Returns a descriptor of a folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _unusable(out, error) from None


def _lock(handle: int, folder: Path, out: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(handle)
        if (found.st_dev, found.st_ino) == _place(folder):
            return
    except BlockingIOError:
        pass
    except FileNotFoundError:  # the other run has finished, and given the folder its name
        pass
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise _unusable(out, error) from None
        print(
            f"del-audit: warning: the file system of {folder} has no locks ({error.strerror}): see to it yourself that "
            "no other run writes there.",
            file=sys.stderr,
        )
        return
    raise UserError(
        f"Expected no other process to write to {out}, got one at it. Wait for it to end, or give another --out."
    )


def _place(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _unusable(out: Path, error: OSError) -> UserError:
    return UserError(f"Expected --out to be a folder that can be made, got {out}: {error.strerror}.")
