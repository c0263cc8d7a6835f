"""Checks of numbers from outside, one message each: the argument, the allowed range, the value."""

from typing import TypeVar

from mechanisms.errors import UserError

Number = TypeVar("Number", bound=float)


def at_least(name: str, value: Number, low: float) -> Number:
    """Returns the value; raises UserError for one below low."""
    if value < low:
        raise UserError(f"Expected {name} >= {low}, got {name}={value}.")
    return value


def whole_at_least(name: str, value: object, low: int) -> None:
    """Raises UserError for what is no whole number, True and False among it, and for one below low."""
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        raise UserError(f"Expected {name} to be a whole number >= {low}, got {name}={value!r}.")
