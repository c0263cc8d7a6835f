"""Rows into columns: text into Arrow batch by batch, anything else as it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow

from mechanisms.errors import UserError
from mechanisms.tables.column import Column, Part

BATCH_ROWS = 8192
BATCH_CHARACTERS = 1 << 23


class RowCollector:
    """Collects the rows of a file into columns. path: the file, for errors.

    A column that a row lacks is None there. lines: where the rows stand in the file, for errors.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._parts: dict[str, list[Part]] = {}
        self._rows: list[Mapping[str, object]] = []
        self._lines: list[int] = []
        self._characters = self._done = 0

    def __len__(self) -> int:
        return self._done + len(self._rows)

    def add(self, row: Mapping[str, object], line: int, size: int) -> None:
        """Adds a row. line: of the file, counted from 1. size: about how many characters it has."""
        self._rows.append(row)
        self._lines.append(line)
        self._characters += size
        if len(self._rows) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS:
            self._flush()

    def columns(self) -> dict[str, Column]:
        """Returns the columns, in the order in which their names first appeared."""
        self._flush()
        return {name: Column(parts) for name, parts in self._parts.items()}

    def _flush(self) -> None:
        if not self._rows:
            return
        for name in dict.fromkeys(name for row in self._rows for name in row):
            if name not in self._parts:
                if wrong := not_unicode(name):
                    raise UserError(
                        f"Expected text in UTF-8 in {str(self._path)!r}, got {wrong} in the name of a column, "
                        f"{name!r}. Save the file in UTF-8, or rename that column."
                    )
                self._parts[name] = [pyarrow.nulls(self._done, pyarrow.string())]
        for name, parts in self._parts.items():
            parts.append(self._part(name, [row.get(name) for row in self._rows]))
        self._done += len(self._rows)
        self._rows, self._lines, self._characters = [], [], 0

    def _part(self, name: str, values: list[object]) -> Part:
        texts = [value for value in values if isinstance(value, str)]
        try:
            if len(texts) + values.count(None) == len(values):
                return pyarrow.array(values, pyarrow.string())
            "".join(texts).encode()
            return values
        except UnicodeEncodeError:
            for place, value in enumerate(values):
                if isinstance(value, str) and (wrong := not_unicode(value)):
                    raise UserError(
                        f"Expected text in UTF-8 in {str(self._path)!r}, got {wrong} in column {name!r}, "
                        f"{where(self._done + place, self._lines[place])}. Save the file in UTF-8, or mend that row."
                    ) from None
            raise


def where(row: int, line: int) -> str:
    """Returns how errors name a row: counted from 0 among the rows, and by its line in the file."""
    return f"row {row} (counted from 0; line {line})"


def require_different(names: Sequence[str], path: Path) -> None:
    """Raises UserError where two columns have one name: nobody could say which of them was measured."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(
                f"Expected every column of {str(path)!r} to have a name of its own, got {name!r} twice. Rename one."
            )
        seen.add(name)


def not_unicode(text: str) -> str:
    """Returns what in a text is no Unicode character, in words; empty where all of it is."""
    for character in text:
        if "\udc80" <= character <= "\udcff":
            return f"the byte 0x{ord(character) - 0xDC00:02x}"
        if "\ud800" <= character <= "\udfff":
            return f"half a character, \\u{ord(character):04x},"
    return ""
