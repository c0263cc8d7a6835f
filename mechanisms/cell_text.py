"""Values of a table as text: what names a class, a group or a split."""

import math
from collections.abc import Collection, Iterable
from datetime import date, time
from decimal import Decimal

from mechanisms.errors import UserError

LONGEST_LIST = 20
"""Names that an error lists."""


def cell_text(value: object, column: str, row: int) -> str | None:
    """Returns a value as text, None where it is missing: None, NaN, or a text of nothing but spaces.

    column, row: where the value stands, row counted from 0, for errors.
    Raises UserError for a value that names nothing: a list, an object, bytes.

    >>> [cell_text(value, "labels", 0) for value in ("01234", 5, True, "None", " ", float("nan"))]
    ['01234', '5', 'True', 'None', None, None]
    """
    if isinstance(value, str):
        return value if value.strip() else None
    if value is None or (isinstance(value, (float, Decimal)) and math.isnan(value)):
        return None
    if isinstance(value, (bool, int, float, Decimal, date, time)):
        return str(value)
    raise UserError(
        f"Expected text, a number or a date in column {column}, row {row} (counted from 0), got {type(value).__name__}."
    )


def chosen_name(asked: str, known: Collection[str]) -> str | None:
    """Returns which of the known names is asked for: itself, or a boolean's one other spelling; None for no other.

    >>> chosen_name("true", ["True", "False"]), chosen_name("Train", ["train"])
    ('True', None)
    """
    if asked in known:
        return asked
    if asked.lower() not in ("true", "false"):
        return None
    alike = [name for name in known if name.lower() == asked.lower()]
    return alike[0] if len(alike) == 1 else None


def listed(names: Iterable[object]) -> str:
    """Returns names in quotation marks, sorted; of many the first ones, and how many there are."""
    quoted = sorted(repr(name) for name in names)
    more = f" and {len(quoted) - LONGEST_LIST} more" if len(quoted) > LONGEST_LIST else ""
    return ", ".join(quoted[:LONGEST_LIST]) + more or "none"
