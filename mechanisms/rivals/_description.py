"""What every description of a rival has: its fields under their names, and a fingerprint of them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar, Self

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256

LARGEST_WHOLE = 1 << 53
"""From here on canonical JSON holds no whole number (RFC 8785)."""
LONGEST_NUMBER = 40
"""Digits of a whole number that is written as text."""


class RivalSpec:
    """Base of the frozen descriptions of rivals. kind: the name under which reports and the accountant know it."""

    __slots__ = ()
    kind: ClassVar[str]

    @property
    def document_tokens(self) -> int | None:
        """Tokens of the longest prompt where all of a release depends on each; None where tokens stand on their own."""
        return None

    def to_dict(self) -> dict[str, Json]:
        """Returns the kind, then the fields under their names; whole numbers that JSON cannot hold as decimal text."""
        fields = dataclasses.asdict(self)  # type: ignore[call-overload]  # every subclass is a dataclass
        return {"kind": self.kind, **{name: _held(value) for name, value in fields.items()}}

    @classmethod
    def of_fields(cls, fields: Mapping[str, Json]) -> Self:
        """Returns the spec of the fields of `to_dict` but its kind; whole numbers may be written as text, in decimal.

        Raises UserError as the spec does, and TypeError for fields of other names.
        """
        numbers = {field.name for field in dataclasses.fields(cls) if field.type is int}  # type: ignore[arg-type]
        return cls(**{name: _number(value) if name in numbers else value for name, value in fields.items()})

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name this spec: sha256 of its kind and fields in canonical JSON."""
        return bytes.fromhex(json_sha256(self.to_dict()))


def _held(value: Json) -> Json:
    return str(value) if isinstance(value, int) and abs(value) >= LARGEST_WHOLE else value


def _number(value: Json) -> Json:
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) <= LONGEST_NUMBER else value


def whole(name: str, value: object, low: int, high: int) -> int:
    """Returns the value; raises UserError unless it is a whole number in low..high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"Expected {name} to be a whole number in {low}..{high}, got {name}={value!r}.")
    return value


def number(name: str, value: object) -> float:
    """Returns the value as a float; raises UserError unless it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"Expected {name} to be a finite number, got {name}={value!r}.")
    return float(value)


def positive(name: str, value: object) -> float:
    """Returns the value as a float; raises UserError unless it is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
        raise UserError(f"Expected {name} to be a finite number > 0, got {name}={value!r}.")
    return float(value)
