"""sha256 in hexadecimal: of a file, of texts, of JSON. Each has one form, which identities and certificates hold."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Returns the hash of a file, read in parts."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def json_sha256(content: object) -> str:
    """Returns the hash of content as JSON with sorted keys, without spaces, in ASCII; raises ValueError for NaN.

    What is signed is hashed as RFC 8785 writes it: mechanisms.canonical_json.canonical_sha256, which differs in how
    numbers and other letters are written.
    """
    return hashlib.sha256(_compact(content)).hexdigest()


def texts_sha256(texts: Iterable[str]) -> str:
    """Returns json_sha256 of a list of texts, read one at a time."""
    digest = hashlib.sha256(b"[")
    for place, text in enumerate(texts):
        digest.update((b"," if place else b"") + _compact(text))
    digest.update(b"]")
    return digest.hexdigest()


def _compact(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
