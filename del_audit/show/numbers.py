"""How a figure is written everywhere: digits, ends rounded outwards, units, kinds."""

import math
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import Any, Protocol

KINDS = {
    "proved": "proved",
    "float with error bound": "computed",
    "estimated": "estimate",
    "estimated, with interval": "estimate",
    "asymptotic": "asymptotic",
}
"""The words of the code for the kind of a figure, and those that a reader is shown."""


class Enclosed(Protocol):
    """A computed number with its interval."""

    @property
    def upper(self) -> float:
        """The end that is safe to quote where less is safer."""
        ...


class Estimate(Protocol):
    """A measured number with its interval, all in `unit`."""

    @property
    def value(self) -> float:
        """The estimate."""
        ...

    @property
    def lower(self) -> float:
        """Lower end."""
        ...

    @property
    def upper(self) -> float:
        """Upper end."""
        ...

    @property
    def unit(self) -> str:
        """What the three count."""
        ...


def number(value: float, digits: int = 4, rounding: str = ROUND_HALF_EVEN) -> str:
    """Returns a number with so many significant digits, thousands set apart; no digit of a whole number is dropped.

    >>> number(51.379700266), number(1341.01263, rounding=ROUND_CEILING), number(0.036357), number(1e-5)
    ('51.38', '1,342', '0.03636', '1e-5')
    """
    if not math.isfinite(value):
        return str(value)
    if value and abs(value) < 1e-4:
        exponent = math.floor(math.log10(abs(value)))
        places = 0 if float(f"{value:.0e}") == value else digits - 1
        return f"{_rounded(Decimal(repr(value)).scaleb(-exponent), places, rounding)}e{exponent}"
    places = max(0, digits - 1 - (math.floor(math.log10(abs(value))) if value else 0))
    return _rounded(value, places, rounding)


def percent(value: float, rounding: str = ROUND_HALF_EVEN) -> str:
    """Returns a share in percent: one place after the point, two below 1%.

    >>> percent(0.0953), percent(0.00412), percent(0.15, ROUND_CEILING)
    ('9.5%', '0.41%', '15.0%')
    """
    return _rounded(100 * Decimal(repr(float(value))), 2 if 0 < abs(value) < 0.01 else 1, rounding) + "%"


def written(value: float, unit: str, rounding: str = ROUND_HALF_EVEN) -> str:
    """Returns a value of a unit: shares and recalls in percent, everything else as a number of three digits or more."""
    if unit.startswith(("share", "mean recall")):
        return percent(value, rounding)
    return _rounded(value, 3 if abs(value) < 10 else 1, rounding)


def interval(figure: Estimate | Mapping[str, Any]) -> str:
    """Returns a measured figure as `value [lower, upper]`; the ends are rounded outwards."""
    value, lower, upper, unit = (_part(figure, name) for name in ("value", "lower", "upper", "unit"))
    low, high = written(lower, unit, ROUND_FLOOR), written(upper, unit, ROUND_CEILING)
    return f"{written(value, unit)} [{low}, {high}]"


def upper_end(bound: Enclosed | Mapping[str, Any] | float) -> float:
    """Returns the end of a bound that is safe to quote where less is safer; a plain number is its own."""
    return float(bound if isinstance(bound, int | float) else _part(bound, "upper"))


def at_most(bound: Enclosed | Mapping[str, Any] | float) -> str:
    """Returns the upper end of a bound, rounded up: what is written is still a bound."""
    return number(upper_end(bound), rounding=ROUND_CEILING)


def unit_name(unit: str, tokens: int, sends: int = 1) -> str:
    """Returns the unit of a guarantee with its number of tokens, and how often each is sent where that is not once.

    >>> unit_name("token", 1), unit_name("prompt", 48, sends=4)
    ('1 token', 'prompt, 48 tokens, sent 4 times')
    """
    count = f"{tokens} token{'s' if tokens > 1 else ''}"
    return (count if unit == "token" else f"{unit}, {count}") + (f", sent {sends} times" if sends > 1 else "")


def printable(text: object) -> str:
    """Returns text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def short(text: object, width: int = 46) -> str:
    """Returns printable text of at most so many characters."""
    words = printable(text)
    return words if len(words) <= width else words[: width - 1].rstrip() + "…"


def _part(figure: object, name: str) -> Any:
    return figure[name] if isinstance(figure, Mapping) else getattr(figure, name)


def _rounded(value: float | Decimal, places: int, rounding: str) -> str:
    exact = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    return f"{exact.quantize(Decimal(1).scaleb(-places), rounding=rounding) + 0:,}"
