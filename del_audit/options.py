"""Converters of the command line's values, with the house's errors."""

import argparse
import math
from collections.abc import Callable


def whole(name: str) -> Callable[[str], int]:
    """Returns a converter of text to a whole number, with the house's error."""

    def convert(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"Expected {name} to be a whole number, got {name}={text!r}") from None

    return convert


def real(name: str) -> Callable[[str], float]:
    """Returns a converter of text to a finite number, with the house's error."""

    def convert(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"Expected {name} to be a finite number, got {name}={text!r}")
        return value

    return convert


def reals(name: str) -> Callable[[str], tuple[float, ...]]:
    """Returns a converter of text to finite numbers between commas, with the house's error."""
    one = real(name)
    return lambda text: tuple(one(part) for part in text.split(","))
