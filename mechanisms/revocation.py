"""Signed lists of keys that are trusted no longer: the files *.json of one folder. Whatever is wrong there stops.

A list counts where a known key signed it; an entry counts also where the key that it names signed it itself. A list
only takes trust away, so the list of a known key counts even after that key was revoked.
"""

import base64
import fcntl
import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mechanisms.canonical_json import LARGEST, Json
from mechanisms.curve_point import KEY_BYTES, require_sound
from mechanisms.errors import UserError
from mechanisms.files import write_file
from mechanisms.signed_document import decode_base64, fingerprint, open_signed, raw_public_key, sign, signed_bytes
from mechanisms.small_file import read_small

FORMAT = "del-audit revoked keys 1"
WHAT = "list of revoked keys"
LONGEST_REASON = 200
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """One entry. key: the 32 bytes of the revoked public key. signer: those of whoever said so. date: with a zone."""

    key: bytes
    date: datetime
    reason: str
    signer: bytes

    def __str__(self) -> str:
        """Returns when, by whom and why, for people."""
        by = "itself" if self.signer == self.key else fingerprint(self.signer)
        return f"revoked on {self.date:%Y-%m-%d} by {by}" + (f": {self.reason}" if self.reason else "")


def read_revocations(folder: Path, known: Callable[[], Collection[bytes]]) -> dict[bytes, Revocation]:
    """Returns the revoked keys of a folder's lists, the earliest entry of each; none where there is no folder.

    known: returns the public keys whose lists count, 32 bytes each; asked only where there is a list.
    Raises UserError, which names the file, for a folder or file that cannot be read, that is no list, or whose
    signature is missing, wrong or a stranger's: a list that cannot be believed might revoke the very key in question.
    """
    found: dict[bytes, Revocation] = {}
    if not (paths := _lists(folder)):
        return found
    believed = known()
    for path in paths:
        for entry in _entries(path):
            if entry.signer not in believed and entry.signer != entry.key:
                raise UserError(
                    f"Expected a {WHAT} by a key that you trust, got {str(path)!r} by {fingerprint(entry.signer)}: put "
                    f"that public key into the folder {str(folder.with_name('trusted'))!r}, if you know whose it is."
                )
            if entry.key not in found or entry.date < found[entry.key].date:
                found[entry.key] = entry
    return found


def revoke(folder: Path, key: bytes, reason: str, signer: Ed25519PrivateKey, now: datetime) -> tuple[Path, Revocation]:
    """Returns the signer's list in a folder and its entry of a key, which was added where there was none.

    key: the 32 bytes of a public key. now: with a zone. The list is written whole or not at all, and two programs that
    revoke at once lose nothing of each other.
    Raises UserError for a key that curve_point.require_sound refuses, a reason that is too long or not printable, and
    for a list that cannot be read or written; it is then as it was.
    """
    require_sound(key)
    _require_reason(reason)
    name = raw_public_key(signer)
    path = folder / f"{hashlib.sha256(name).hexdigest()[:16]}.json"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            entries = list(_entries(path)) if path.exists() else []
            if any(entry.signer != name for entry in entries):
                raise UserError(f"Expected {str(path)!r} to be signed by {fingerprint(name)}, got another key's list.")
            for entry in entries:
                if entry.key == key:
                    return path, entry
            added = Revocation(key, now.astimezone(UTC).replace(microsecond=0), reason, name)
            write_file(path, signed_bytes(sign(_body([*entries, added]), signer)), what=f"a {WHAT}")
    except OSError as error:
        raise UserError(f"Expected a {WHAT} that can be written, got {str(path)!r}: {error.strerror}.") from None
    return path, added


def _lists(folder: Path) -> list[Path]:
    try:
        names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(
            f"Expected a folder of lists of revoked keys, got {str(folder)!r}: {error.strerror}. Mend its permissions."
        ) from None
    for name in names:
        if not name.endswith(".json"):
            raise UserError(f"Expected nothing but lists of revoked keys, *.json, got {str(folder / name)!r}: move it.")
    return [folder / name for name in names]


def _entries(path: Path) -> Iterator[Revocation]:
    try:
        signed = open_signed(read_small(path, LARGEST, WHAT), WHAT)
        body = signed.body
        if set(body) != {"format", "keys"} or body["format"] != FORMAT:
            raise UserError(f"Expected format {FORMAT!r} with its keys, got {str(body.get('format'))[:100]!r}.")
        if not isinstance(body["keys"], list) or not body["keys"]:
            raise UserError("Expected a list of at least one key, got none.")
        entries = [_entry(each, signed.key) for each in body["keys"]]
    except UserError as error:
        raise UserError(
            f"Expected a signed {WHAT} in {str(path)!r}: {error} Get the list again from whoever gave it to you."
        ) from None
    yield from entries


def _entry(given: object, signer: bytes) -> Revocation:
    if not isinstance(given, dict) or set(given) != {"key", "date", "reason"}:
        raise UserError(f"Expected entries of key, date and reason, got {str(given)[:100]!r}.")
    key = decode_base64(given["key"], KEY_BYTES, "a revoked key")
    _require_reason(given["reason"])
    try:
        date = datetime.fromisoformat(given["date"])
    except (TypeError, ValueError):
        date = None
    if date is None or date.tzinfo is None:
        raise UserError(f"Expected date to be an ISO date and time with a zone, got {str(given['date'])[:100]!r}.")
    return Revocation(key, date, given["reason"], signer)


def _require_reason(reason: object) -> None:
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise UserError(
            f"Expected reason to be one line of at most {LONGEST_REASON} printable characters, "
            f"got {str(reason)[:50]!r}."
        )


def _body(entries: list[Revocation]) -> dict[str, Json]:
    keys = [
        {"key": base64.b64encode(one.key).decode(), "date": one.date.isoformat(), "reason": one.reason}
        for one in entries
    ]
    return {"format": FORMAT, "keys": keys}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other program writes lists into the folder, and keeps others waiting."""
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
        os.fsync(handle)
    finally:
        os.close(handle)
