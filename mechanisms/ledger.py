"""The ledger of what this user sent: it is charged before anything is drawn, and outlives clients and programs.

Tokens are counted for each deployment. Texts are known by their windows, every 8 tokens in a row, so that a text with
one changed word is still the same text; a window is kept as 16 bytes of an HMAC under the ledger's own key, never as
words. Windows are hashed with their tokenizer's hash and nothing else: a text counts over all services that share the
tokenizer, under earlier certificates as well. That is the closed choice, since what was sent stays sent.
"""

import hmac
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from sqlite3 import Connection
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.ledger_file import opened
from mechanisms.state_folder import state_folder
from mechanisms.terms import Terms

WINDOW = 8
"""Tokens of a window. A shorter text has none: it counts towards the token limits only."""
HASH_BYTES = 16


class AllowanceError(UserError):
    """What the certificate allows is spent."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What a deployment was sent. recent: tokens within the asked period. first, last: of its releases, with a zone."""

    deployment: str
    tokenizer: str
    releases: int
    recent: int
    tokens: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Period:
    """What a deployment was sent within a day or a month. name: its date."""

    name: str
    deployment: str
    releases: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A whole ledger. windows: how many different ones were sent. sends: how often the most frequent one was."""

    spent: tuple[Spent, ...]
    windows: int
    sends: int


@dataclass(frozen=True, slots=True)
class Ledger:
    """A ledger's file. It holds a path and nothing else: copies, threads and forked processes share one record."""

    path: Path

    @classmethod
    def of_user(cls, key: str = "") -> "Ledger":
        """Returns the ledger in the user's state folder; raises UserError as state_folder does.

        key: the name of an API key of the proxy, which has a ledger of its own; empty for the user's.
        """
        return cls((state_folder() / (f"ledger-{key}.sqlite" if key else "ledger.sqlite")).absolute())

    @classmethod
    def all_of_user(cls) -> dict[str, "Ledger"]:
        """Returns the user's ledger, whether it is there or not, and those of API keys, by the key's name."""
        found = sorted(state_folder().glob("ledger-*.sqlite"))
        return {"": cls.of_user()} | {path.stem.removeprefix("ledger-"): cls(path.absolute()) for path in found}

    def charge(
        self,
        deployment: str,
        tokenizer: str,
        texts: Sequence[NDArray[np.int64]],
        terms: Terms,
        sent: Sequence[int] | None = None,
    ) -> None:
        """Enters releases that are about to be made together, or raises and enters none.

        deployment, tokenizer: hashes, as Deployment has them. texts: tokens of each, shape (tokens,), at least one.
        sent: tokens of each message, with what fills a text up; None where nothing does.
        What it checks and what it enters is one transaction, on the disk before this returns.
        Raises AllowanceError where the deployment's tokens within terms.period would exceed terms.session_tokens, and
        where a window was sent terms.sends times already; UserError as ledger_file.opened does.
        """
        now = datetime.now(UTC).timestamp()
        with opened(self.path) as (database, key):
            windows = [_windows(tokens, tokenizer, key) for tokens in texts]
            lengths = [len(tokens) for tokens in texts] if sent is None else list(sent)
            _require_tokens(database, deployment, sum(lengths), terms, now)
            _require_sends(database, windows, terms.sends)
            database.executemany(
                "INSERT INTO charges (at, deployment, tokenizer, tokens) VALUES (?, ?, ?, ?)",
                [(now, deployment, tokenizer, length) for length in lengths],
            )
            database.executemany(
                "INSERT INTO windows (window, sends) VALUES (?, 1) "
                "ON CONFLICT (window) DO UPDATE SET sends = sends + 1",
                [(window,) for text in windows for window in text],
            )

    def periods(self, by: Literal["day", "month"]) -> list[Period]:
        """Returns what each deployment was sent in each day or month, UTC, the latest first; as `summary`."""
        if not self.path.exists():
            return []
        length = len("2026-12-01" if by == "day" else "2026-12")
        with opened(self.path) as (database, _):
            rows = database.execute(
                "SELECT substr(datetime(at, 'unixepoch'), 1, ?) AS name, deployment, COUNT(*), SUM(tokens) "
                "FROM charges GROUP BY name, deployment ORDER BY name DESC, deployment",
                (length,),
            ).fetchall()
        return [Period(*row) for row in rows]

    def summary(self, period: timedelta) -> Summary:
        """Returns what was entered so far; a ledger that is not there is empty, and is not made.

        Raises UserError as ledger_file.opened does.
        """
        if not self.path.exists():
            return Summary((), 0, 0)
        start = (datetime.now(UTC) - period).timestamp()
        with opened(self.path) as (database, _):
            rows = database.execute(
                "SELECT deployment, tokenizer, COUNT(*), COALESCE(SUM(tokens) FILTER (WHERE at >= ?), 0), SUM(tokens), "
                "MIN(at), MAX(at) FROM charges GROUP BY deployment, tokenizer ORDER BY MAX(at) DESC",
                (start,),
            ).fetchall()
            windows, sends = database.execute("SELECT COUNT(*), COALESCE(MAX(sends), 0) FROM windows").fetchone()
        spent = (Spent(*row[:5], *(datetime.fromtimestamp(at, UTC) for at in row[5:])) for row in rows)
        return Summary(tuple(spent), windows, sends)


@dataclass(frozen=True, slots=True)
class Account:
    """Where a client's releases are entered. deployment, tokenizer: hashes, as Deployment has them."""

    ledger: Ledger
    deployment: str
    tokenizer: str

    def charge(self, texts: Sequence[NDArray[np.int64]], terms: Terms, sent: Sequence[int] | None = None) -> None:
        """Enters releases that are about to be made together; raises UserError as Ledger.charge does."""
        self.ledger.charge(self.deployment, self.tokenizer, texts, terms, sent)


def _windows(tokens: NDArray[np.int64], tokenizer: str, key: bytes) -> dict[bytes, int]:
    """Returns the hash of each different window, and where it starts first."""
    data, name = tokens.astype("<i8").tobytes(), tokenizer.encode() + b"\0"
    found: dict[bytes, int] = {}
    for start in range(len(tokens) - WINDOW + 1):
        window = data[8 * start : 8 * (start + WINDOW)]
        found.setdefault(hmac.digest(key, name + window, "sha256")[:HASH_BYTES], start)
    return found


def _require_tokens(database: Connection, deployment: str, tokens: int, terms: Terms, now: float) -> None:
    if terms.session_tokens is None:
        return
    start = now - terms.period.total_seconds()  # what has a later time than now, of a clock that was set back, counts
    rows = database.execute(
        "SELECT at, tokens FROM charges WHERE deployment = ? AND at >= ? ORDER BY at", (deployment, start)
    ).fetchall()
    left = terms.session_tokens - sum(count for _, count in rows)
    if tokens <= left:
        return
    days = f"{terms.period.total_seconds() / 86400:g} days"
    raise AllowanceError(
        f"Expected at most {max(left, 0)} tokens, the rest of the session's {terms.session_tokens} in {days}, "
        f"got {tokens}. {_room(rows, left, tokens, terms)}"
    )


def _room(rows: list[tuple[float, int]], left: int, tokens: int, terms: Terms) -> str:
    """Returns what can be done about a session that is spent."""
    for at, count in rows:
        left += count
        if tokens <= left:
            free = datetime.fromtimestamp(at, UTC) + terms.period
            return f"There is room for them after {free:%Y-%m-%d %H:%M} UTC; or certify a policy with a longer session."
    return "Shorten the text, or certify a policy with a longer session."


def _require_sends(database: Connection, windows: Sequence[dict[bytes, int]], sends: int | None) -> None:
    if sends is None:
        return
    together = Counter[bytes]()  # by the texts that stand before, of those that are sent together
    for window, start in ((window, start) for text in windows for window, start in text.items()):
        row = database.execute("SELECT sends FROM windows WHERE window = ?", (window,)).fetchone()
        before = (row[0] if row is not None else 0) + together[window]
        together[window] += 1
        if before >= sends:
            times = "once" if before == 1 else f"{before} times"
            raise AllowanceError(
                f"Expected a text of which no {WINDOW} tokens in a row were sent {sends} times before, the "
                f"certificate's `sends`, got tokens {start + 1} to {start + WINDOW}, sent {times} (to any service with "
                "this tokenizer, under earlier certificates as well). Write it in other words, or certify a policy "
                "with more `sends`."
            )
