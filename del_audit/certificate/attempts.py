"""How often a private split was certified against, whatever the configuration: who tries often enough is lucky once.

The log is a file on the signer's machine. It binds only signers who keep it: nobody else can see that it was replaced
by an older copy of itself. What it does show is a log that began after the key: then the count is unknown.
"""

import re
import sqlite3
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime

from mechanisms.errors import UserError
from mechanisms.state_database import transaction

LOG = "attempts.sqlite"
WHAT = "the log of certification attempts"
LONGEST_FINGERPRINT = 200
_SCHEMA = """
CREATE TABLE keys (fingerprint TEXT PRIMARY KEY NOT NULL, made TEXT NOT NULL);
CREATE TABLE attempts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, private_sha256 TEXT NOT NULL, key TEXT NOT NULL, begun TEXT NOT NULL,
    certificate_sha256 TEXT, finished INTEGER
)
"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One certification attempt.

    count: attempts with this private split, this one included, by any key of this log; None, attempts unknown, where
    the log was not there when the key was made. previous: sha256 of the last finished certificate of this split, None
    without one. number: of the attempt in the log.
    """

    count: int | None
    previous: str | None
    number: int


def begin_key(fingerprint: str) -> None:
    """Notes that a signing key was made just now: the log of that key starts here.

    Call it nowhere else: it is what tells a whole log from one that began later. Raises UserError as begin does.
    """
    _require_fingerprint(fingerprint)
    with _log() as log:
        log.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (fingerprint, _now()))


def begin(private_sha256: str, key_fingerprint: str) -> Attempt:
    """Returns a new attempt; it is in the log from now on, finished or not: call it before private text is attacked.

    private_sha256: of the private split's texts, 64 hexadecimal digits. key_fingerprint: of the key that will sign.
    A key that the log does not know is not added to it. Raises UserError for other text than that, and for a log that
    is damaged, locked, or readable by others.
    """
    _require_sha256("private_sha256", private_sha256)
    _require_fingerprint(key_fingerprint)
    with _log() as log:
        added = log.execute(
            "INSERT INTO attempts (private_sha256, key, begun) VALUES (?, ?, ?)",
            (private_sha256, key_fingerprint, _now()),
        )
        number = int(added.lastrowid or 0)
        count = log.execute("SELECT COUNT(*) FROM attempts WHERE private_sha256 = ?", (private_sha256,)).fetchone()[0]
        known = log.execute("SELECT 1 FROM keys WHERE fingerprint = ?", (key_fingerprint,)).fetchone()
        last = log.execute(
            "SELECT certificate_sha256 FROM attempts WHERE private_sha256 = ? AND finished IS NOT NULL "
            "ORDER BY finished DESC LIMIT 1",
            (private_sha256,),
        ).fetchone()
    return Attempt(int(count) if known else None, str(last[0]) if last else None, number)


def finish(attempt: Attempt, certificate_sha256: str) -> None:
    """Notes the certificate of an attempt, 64 hexadecimal digits.

    Raises UserError as begin does, and where the log has no such unfinished attempt.
    """
    _require_sha256("certificate_sha256", certificate_sha256)
    with _log() as log:
        done = log.execute(
            "UPDATE attempts SET certificate_sha256 = ?, "
            "finished = (SELECT COALESCE(MAX(finished), 0) + 1 FROM attempts) WHERE number = ? AND finished IS NULL",
            (certificate_sha256, attempt.number),
        )
        if done.rowcount != 1:
            raise UserError(
                f"Expected attempt {attempt.number} to be unfinished in {WHAT}, got none: the log was replaced while "
                "the command ran. Certify again."
            )


def _log() -> AbstractContextManager[sqlite3.Connection]:
    return transaction(LOG, WHAT, _SCHEMA)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _require_sha256(name: str, value: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", value):
        raise UserError(f"Expected {name} to be 64 hexadecimal digits, got {value!r}.")


def _require_fingerprint(value: str) -> None:
    if not 1 <= len(value) <= LONGEST_FINGERPRINT:
        raise UserError(f"Expected a key's fingerprint of 1..{LONGEST_FINGERPRINT} characters, got {len(value)}.")
