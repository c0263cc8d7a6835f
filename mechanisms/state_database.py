"""SQLite files in the state folder: the owner's alone, checked before use, one writer at a time."""

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.state_folder import state_folder

WAIT = 30.0
"""Seconds that a process waits for another one's transaction."""


@contextmanager
def transaction(name: str, what: str, schema: str) -> Iterator[sqlite3.Connection]:
    """Yields a connection to a file in the state folder, inside one transaction that no other process can interleave.

    name: of the file, made with mode 0600 where it is not there. what: its name in errors. schema: its one CREATE TABLE
    statement or several, which an existing file must have had. All that was written is kept where the block ends, and
    none of it where it raises.
    Raises UserError for a file of another owner, that others may read, that is a link or damaged, and where it stays
    locked for WAIT seconds.
    """
    path = state_folder() / name
    _checked(path, what)
    try:
        connection = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    except sqlite3.Error as error:
        raise _damaged(path, what, str(error)) from None
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        _require_schema(connection, path, what, schema)
        yield connection
        connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise UserError(
                f"Expected {what} {str(path)!r} to be free within {WAIT:g} seconds, got another process at work on it. "
                "Wait for it, and run the command again."
            ) from None
        raise _damaged(path, what, str(error)) from None
    except sqlite3.DatabaseError as error:
        raise _damaged(path, what, str(error)) from None
    finally:
        connection.close()  # without COMMIT, nothing of the block is kept


def _checked(path: Path, what: str) -> None:
    """Makes the file where it is not there; raises UserError for one that is not a regular file of the owner alone."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600))
        found = path.lstat()
    except OSError as error:
        raise UserError(
            f"Expected {what} to be a file that you can read and write, got {str(path)!r}: {error.strerror}. "
            "Mend its permissions."
        ) from None
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"Expected {what} to be a regular file of your own, got {str(path)!r}. Move it away.")
    if found.st_mode & 0o077:
        raise UserError(
            f"Expected {what} to be readable by its owner alone (mode 600), got {found.st_mode & 0o777:o}: {path}. "
            f"Mend it with chmod 600 {path}."
        )


def _require_schema(connection: sqlite3.Connection, path: Path, what: str, schema: str) -> None:
    """Makes the tables in an empty file; raises UserError for other tables than the schema's, and for broken pages."""
    ours = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid"
    statements = [one.strip() for one in schema.split(";") if one.strip()]
    there = [row[0] for row in connection.execute(ours)]
    if not there:
        for statement in statements:
            connection.execute(statement)
    elif there != statements:
        raise _damaged(path, what, "it holds other tables")
    if (state := connection.execute("PRAGMA quick_check").fetchone()[0]) != "ok":
        raise _damaged(path, what, str(state))


def _damaged(path: Path, what: str, why: str) -> UserError:
    return UserError(f"Expected {what} in {str(path)!r}, got a damaged file: {why}. Move it away, and say so.")
