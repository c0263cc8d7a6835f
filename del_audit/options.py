"""Converters of the command line's values, with the house's errors."""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.user_path import new_path, user_path


def path(name: str, new: bool = False) -> Callable[[str], Path]:
    """Returns a converter of text to a path that can be used, as user_path checks it; new: as new_path does."""

    def convert(text: str) -> Path:
        try:
            return new_path(text, name) if new else user_path(text, name)
        except UserError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


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
