"""What the proxy remembers of released turns, so that a conversation costs each turn once.

A release is used again only where the request shows that it follows an answer which this proxy returned for that very
release, or repeats an idempotency key. Both are choices of the client that do not depend on whether two private texts
are equal. Kept are released messages and HMACs under a key in a file apart; no text is kept.
"""

import hashlib
import hmac
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgpack

from del_audit.serving.openai_requests import Turn
from del_audit.serving.protocol import Segment
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file
from mechanisms.randomness import secret_key
from mechanisms.small_file import read_small

KEY_BYTES = 32
FORGETS_AFTER = 30 * 86_400.0
_VERSION = 1
_SCHEMA = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE exchanges (
    name BLOB PRIMARY KEY, user TEXT NOT NULL, chain BLOB NOT NULL, request BLOB NOT NULL, repeat BLOB, after BLOB,
    choice INTEGER, segments BLOB NOT NULL, until REAL NOT NULL
);
CREATE UNIQUE INDEX repeats ON exchanges (user, repeat) WHERE repeat IS NOT NULL;
CREATE INDEX chains ON exchanges (user, chain);
CREATE INDEX ends ON exchanges (until);
CREATE TABLE answers (
    exchange BLOB NOT NULL REFERENCES exchanges (name) ON DELETE CASCADE, choice INTEGER NOT NULL, answer BLOB NOT NULL,
    whole INTEGER NOT NULL, PRIMARY KEY (exchange, choice)
);
"""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An answer that was returned. exchange, choice: which. whole: what was returned is all that the server wrote."""

    exchange: bytes
    choice: int
    whole: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """An exchange as it was sent. after: what it followed. request: the HMAC of all that was asked."""

    name: bytes
    after: tuple[bytes, int] | None
    segments: tuple[Segment, ...]
    request: bytes


@dataclass(slots=True)
class Conversations:
    """A file of exchanges, of one machine; several processes may share it. seconds: that an exchange is remembered.

    now: seconds since 1970. Raises UserError for a file that is damaged, or that others may read.
    """

    path: Path
    seconds: float = FORGETS_AFTER
    now: Callable[[], float] = time.time
    _key: bytes = field(init=False, repr=False)
    _database: sqlite3.Connection = field(init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        key = self.path.with_suffix(".key")
        with _explained(self.path):
            if not key.exists():
                write_file(key, secret_key(KEY_BYTES), mode=PRIVATE, new=True, what="a conversation key")
            _require_private(key)
            self._key = read_small(key, KEY_BYTES, "conversations' key")
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            _require_private(self.path)
            self._database = sqlite3.connect(self.path, timeout=20, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")  # what is lost with the power is released afresh
            self._database.execute("PRAGMA foreign_keys = ON")
            if (version := self._database.execute("PRAGMA user_version").fetchone()[0]) == 0:
                self._database.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            elif version != _VERSION:
                raise UserError(f"Expected {str(self.path)!r} of version {_VERSION}, got {version}: move it away.")

    def close(self) -> None:
        """Closes the file."""
        self._database.close()

    def answered(
        self, user: str, after: tuple[bytes, int] | None, asked: Sequence[Turn], answer: str
    ) -> Earlier | None:
        """Returns the exchange of these turns whose answer was returned to this user, after an earlier one; or None."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT name, answers.choice, whole FROM exchanges JOIN answers ON exchange = name WHERE user = ? AND "
                "chain = ? AND answer = ? AND until > ? ORDER BY until DESC LIMIT 1",
                (user, self._chain(user, after, asked), self._hmac(b"answer", answer.encode()), self.now()),
            ).fetchone()
        return None if row is None else Earlier(row[0], row[1], bool(row[2]))

    def repeated(self, user: str, key: str) -> Kept | None:
        """Returns the exchange that an idempotency key named first, or None."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT name, after, choice, segments, request FROM exchanges "
                "WHERE user = ? AND repeat = ? AND until > ?",
                (user, self._hmac(b"repeat", key.encode()), self.now()),
            ).fetchone()
        return None if row is None else _kept(row)

    def of(self, name: bytes) -> Kept | None:
        """Returns an exchange by its name."""
        with self._transaction() as database:
            row = database.execute(
                "SELECT name, after, choice, segments, request FROM exchanges WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else _kept(row)

    def keep(
        self,
        user: str,
        name: bytes,
        after: tuple[bytes, int] | None,
        asked: Sequence[Turn],
        segments: Sequence[Segment],
        request: bytes,
        key: str | None,
    ) -> None:
        """Remembers what is about to be sent; key: an idempotency key. Forgets what has ended."""
        packed = msgpack.packb([[segment.role, segment.content] for segment in segments])
        repeat = None if key is None else self._hmac(b"repeat", key.encode())
        with self._transaction() as database:
            database.execute("DELETE FROM exchanges WHERE until <= ?", (self.now(),))
            database.execute(
                "INSERT INTO exchanges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    name,
                    user,
                    self._chain(user, after, asked),
                    request,
                    repeat,
                    None if after is None else after[0],
                    None if after is None else after[1],
                    packed,
                    self.now() + self.seconds,
                ),
            )

    def returned(self, name: bytes, answers: Sequence[tuple[str, bool]]) -> None:
        """Remembers the answers that were returned; each with whether it is all that the server wrote."""
        rows = [
            (name, place, self._hmac(b"answer", said.encode()), whole) for place, (said, whole) in enumerate(answers)
        ]
        with self._transaction() as database:
            if database.execute("SELECT 1 FROM exchanges WHERE name = ?", (name,)).fetchone():
                database.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    def request_hmac(self, user: str, said: Sequence[object]) -> bytes:
        """Returns the HMAC of a whole request."""
        return self._hmac(b"request", msgpack.packb([user, *said]))

    def _chain(self, user: str, after: tuple[bytes, int] | None, asked: Sequence[Turn]) -> bytes:
        turns = [[turn.role, turn.text] for turn in asked]
        return self._hmac(b"chain", msgpack.packb([user, None if after is None else list(after), turns]))

    def _hmac(self, what: bytes, content: bytes) -> bytes:
        return hmac.digest(self._key, what + b"\0" + content, "sha256")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path), self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")


def _kept(row: tuple[bytes, bytes | None, int | None, bytes, bytes]) -> Kept:
    name, after, choice, segments, request = row
    found = tuple(Segment(role, content) for role, content in msgpack.unpackb(segments))
    return Kept(name, None if after is None or choice is None else (after, choice), found, request)


def _require_private(path: Path) -> None:
    if mode := path.stat().st_mode & 0o077:
        raise UserError(f"Expected {path} for its owner alone (mode 600), got {mode | 0o600:o}: chmod 600 {path}.")


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"Expected the file of conversations {str(path)!r} to be usable, got {type(error).__name__}: {error}. "
            "Nothing was sent. Free space on the disk, or move the file away: its turns are then released afresh."
        ) from None


def text_sha256(text: str) -> str:
    """Returns the hash by which a bundle lists a public text."""
    return hashlib.sha256(text.encode("utf8", "surrogatepass")).hexdigest()
