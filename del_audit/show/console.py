"""Text from outside on a terminal, and what standard output can hold."""

import json
import os
import sys

WIDE = 160
"""Columns of a table in a file."""
_LEAST = 20


def printable(text: object) -> str:
    """Returns text without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else "�" for c in str(text))


def json_text(text: str) -> str:
    r"""Returns JSON as it is for standard output in UTF-8, else with escapes, which any encoding holds.

    >>> import contextlib, io
    >>> with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "latin-1")):
    ...     escaped = json_text('["é", "😀"]')
    >>> escaped
    '["\\u00e9", "\\ud83d\\ude00"]'
    """
    encoding = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("_", "-")
    if encoding in ("utf-8", "utf8"):
        return text
    return "".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text)  # what is not ASCII is inside strings


def table_width() -> int | None:
    """Returns the columns of a table: None for the terminal's own; in a file those of $COLUMNS, else 160."""
    if sys.stdout.isatty():
        return None
    asked = os.environ.get("COLUMNS", "")
    return max(_LEAST, int(asked)) if asked.isdecimal() else WIDE
