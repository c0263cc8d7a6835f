"""Canonical JSON (RFC 8785): one text for one value, so that a hash and a signature have one thing to be of.

The reader takes nothing but that text: whoever changes a byte of a file changes its value, or makes it unreadable.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

import rfc8785

from mechanisms.errors import UserError

Json = Mapping[str, "Json"] | Sequence["Json"] | str | float | bool | None
"""What JSON can hold, to be read only: objects, lists and plain values."""
LARGEST = 4 << 20
"""Bytes of a document."""
MOST_VALUES = 200_000
"""Values of a document, keys not counted: what takes about a second to write."""
DEEPEST = 64
"""Nested objects and lists of a document."""
LONGEST_NUMBER = 25
"""Characters of a number: the longest canonical one has 24."""


def canonical(value: object) -> bytes:
    """Returns the canonical JSON of a value, UTF-8.

    Raises UserError for what has none: NaN, infinity, whole numbers beyond 2^53 - 1, lone surrogates, and types that
    JSON does not know.
    """
    try:
        return rfc8785.dumps(value)  # type: ignore[arg-type]  # refuses what it does not know
    except (ValueError, RecursionError) as error:  # the package's own errors are ValueErrors
        raise UserError(f"Expected a value that canonical JSON can hold: {error}.") from None


def canonical_sha256(value: object) -> str:
    """Returns the sha256 of a value's canonical JSON, in hex; raises UserError as canonical does."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parse_canonical(data: bytes, what: str) -> dict[str, Any]:
    """Returns the object that canonical JSON describes; `what` names it in errors: a certificate, a card.

    Raises UserError for more than LARGEST bytes, MOST_VALUES values or DEEPEST levels, for text that is no JSON, and
    for JSON that is not in its canonical form: keys given twice or out of order, spaces, numbers written otherwise.
    """
    if len(data) > LARGEST:
        raise UserError(f"Expected a {what} of at most {LARGEST} bytes, got {len(data)}.")
    try:
        found = json.loads(
            data.decode("utf8"),
            parse_int=_number,
            parse_float=_number,
            parse_constant=_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError:
        raise UserError(f"Expected a {what} of at most {DEEPEST} nested levels, got more.") from None
    except ValueError as error:  # also of the decoders
        raise UserError(f"Expected a {what} in JSON: {str(error).rstrip('.')}.") from None
    if not isinstance(found, dict):
        raise UserError(f"Expected a {what} to be one JSON object, got {type(found).__name__}.")
    for count, depth in enumerate(_depths(found), 1):
        if count > MOST_VALUES:
            raise UserError(f"Expected a {what} of at most {MOST_VALUES} values, got more.")
        if depth > DEEPEST:
            raise UserError(f"Expected a {what} of at most {DEEPEST} nested levels, got more.")
    if canonical(found) != data:
        raise UserError(f"Expected a {what} in canonical JSON (RFC 8785), got other spaces, order or numbers.")
    return found


def _number(text: str) -> int | float:
    """Returns a number as the double that it stands for; whole ones as int, where a double holds them exactly."""
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"expected a number of at most {LONGEST_NUMBER} characters, got {len(text)}")
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"expected a finite number, got {text}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _constant(text: str) -> NoReturn:
    raise ValueError(f"expected a finite number, got {text}")


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"expected each key once, got {twice[:80]!r} twice")
    return found


def _depths(root: Json) -> Iterator[int]:
    """Yields the depth of every value, parents before children."""
    waiting = [(root, 1)]
    while waiting:
        value, depth = waiting.pop()
        yield depth
        if isinstance(value, dict):
            waiting.extend((child, depth + 1) for child in value.values())
        elif isinstance(value, list):
            waiting.extend((child, depth + 1) for child in value)
