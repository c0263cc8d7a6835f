"""The files of a ledger: an SQLite database and, beside it, the key that its windows are hashed under.

Both are made at first use, with mode 0600. Whatever is wrong with them later is a LedgerError, and nothing is sent: a
record that cannot be read might say that the text was sent already.
"""

import fcntl
import hmac
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file
from mechanisms.randomness import secret_key
from mechanisms.small_file import read_small

KEY_BYTES = 32
BUSY_SECONDS = 20.0
"""How long a client waits for another one that charges."""
_UNSENT = "Nothing was sent. Free space on the disk, or mend the permissions of its folder."
_APPLICATION, _VERSION = 0x44454C4C, 1
_SCHEMA = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_VERSION};
CREATE TABLE keyed (proof BLOB NOT NULL);
CREATE TABLE charges (
    at REAL NOT NULL, deployment TEXT NOT NULL, tokenizer TEXT NOT NULL, tokens INTEGER NOT NULL CHECK (tokens > 0)
);
CREATE INDEX charges_of ON charges (deployment, at);
CREATE TABLE windows (window BLOB PRIMARY KEY, sends INTEGER NOT NULL CHECK (sends > 0)) WITHOUT ROWID;
"""


class LedgerError(UserError):
    """The record of what was sent cannot be kept: nothing may be sent."""


_ONE_THREAD = threading.RLock()  # and no fork while it is held: a child would roll back what the parent commits
os.register_at_fork(before=_ONE_THREAD.acquire, after_in_parent=_ONE_THREAD.release, after_in_child=_ONE_THREAD.release)


def key_path(path: Path) -> Path:
    """Returns the file of the key that belongs to a ledger."""
    return path.with_suffix(".key")


@contextmanager
def opened(path: Path) -> Iterator[tuple[sqlite3.Connection, bytes]]:
    """Yields the database, in a transaction that keeps every other program out, and the key of its windows.

    The transaction is on the disk when the block ends, and leaves no trace where the block raises.
    Raises LedgerError for files that are damaged, of another version, missing beside each other, not the user's own or
    readable for others, and where another program keeps them busy.
    """
    try:
        with _ONE_THREAD:
            _make_once(path)
            key = _key(path)
            _require_private(path)
            uri = f"{path.absolute().as_uri()}?mode=rw"
            with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = EXTRA")
                database.execute("BEGIN IMMEDIATE")
                _require_own(database, path, key)
                yield database, key
                database.execute("COMMIT")
    except (sqlite3.Error, OSError) as error:
        raise LedgerError(
            f"Expected a readable ledger of what was sent, got {str(path)!r}: {error}. Nothing was sent. Wait for "
            "other clients to end, free space on the disk, or put the file back from your backup together with its key."
        ) from None


def _make_once(path: Path) -> None:
    """Makes the two files where neither is there; what is wrong with one alone is said later."""
    if path.exists():
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # another client at its first use waits
        if not os.path.lexists(path) and not os.path.lexists(key_path(path)):
            key = secret_key(KEY_BYTES)
            with closing(sqlite3.connect(":memory:")) as database:
                database.executescript(_SCHEMA)
                database.execute("INSERT INTO keyed VALUES (?)", (_proof(key),))
                database.commit()
                empty = database.serialize()
            try:
                for place, content in ((key_path(path), key), (path, empty)):
                    write_file(place, content, mode=PRIVATE, new=True, what="a ledger of what was sent", hint=_UNSENT)
            except UserError as error:
                raise LedgerError(str(error)) from None
            os.fsync(folder)
    finally:
        os.close(folder)


def _key(path: Path) -> bytes:
    place = key_path(path)
    for one, other in ((place, path), (path, place)):
        if not one.exists():
            raise LedgerError(
                f"Expected {str(one)!r} beside {str(other)!r}, got none: what was sent is not known without it. "
                "Put it back from your backup. Nothing was sent."
            )
    _require_private(place)
    key = read_small(place, KEY_BYTES, "ledger's key")
    if len(key) != KEY_BYTES:
        raise LedgerError(
            f"Expected a ledger's key of {KEY_BYTES} bytes, got {len(key)} in {str(place)!r}: restore it."
        )
    return key


def _require_private(path: Path) -> None:
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise LedgerError(f"Expected a ledger that is a regular file of your own, got {str(path)!r}. Nothing was sent.")
    if mode := found.st_mode & 0o077:
        raise LedgerError(
            f"Expected a ledger that its owner alone may read (mode 600), got {mode | 0o600:o}: {path}. "
            f"Mend it with chmod 600 {path}. Nothing was sent."
        )


def _require_own(database: sqlite3.Connection, path: Path, key: bytes) -> None:
    found = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    if found != [_APPLICATION, _VERSION]:
        raise LedgerError(
            f"Expected {str(path)!r} to be a ledger of version {_VERSION}, got {found[1]} of {found[0]:#x}: it is "
            "damaged or of another release of del-audit. Put it back from your backup. Nothing was sent."
        )
    if database.execute("SELECT proof FROM keyed").fetchall() != [(_proof(key),)]:
        raise LedgerError(
            f"Expected the key of {str(path)!r} in {str(key_path(path))!r}, got another one: put back both files from "
            "one backup. Nothing was sent."
        )


def _proof(key: bytes) -> bytes:
    """Returns what shows that a key is a ledger's own."""
    return hmac.digest(key, b"del-audit ledger", "sha256")
