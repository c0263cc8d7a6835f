"""Comma and tab separated files, every cell as the text that stands in it.

.csv: RFC 4180 as Python's csv reads it, strictly: commas, and double quotes around a cell, doubled inside it.
.tsv: text/tab-separated-values as IANA registers it: tabs, and no quoting, so that a quotation mark is itself.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from mechanisms.errors import UserError
from mechanisms.tables.rows import RowCollector, require_different, where

LONGEST_CELL = sys.maxsize >> 1
"""Characters. Python's csv refuses cells over 131,072 otherwise."""


def read_delimited(stream: IO[bytes], path: Path, tabs: bool) -> tuple[RowCollector, int]:
    """Returns the rows, and how many blank lines were skipped; path: the file, for errors.

    Raises UserError for a header that is missing or has a name twice, a row with more or fewer cells than it, quotes
    that do not match, bytes that are no UTF-8, and a separator or quoting that the file's ending does not have.
    """
    text = io.TextIOWrapper(stream, encoding="utf8", errors="surrogateescape", newline="")
    rows, blank, line = RowCollector(path), 0, 1
    header: list[str] = []
    try:
        with _long_cells():
            reader = csv.reader(text, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(text, strict=True)
            for cells in reader:
                if not cells:
                    blank += 1
                elif not header:
                    header = cells
                    _check_header(header, path, tabs)
                else:
                    _check_row(cells, header, path, len(rows), line, tabs)
                    rows.add(dict(zip(header, cells, strict=True)), line, sum(map(len, cells)))
                line = reader.line_num + 1
    except csv.Error as error:
        raise _unreadable(str(error), path, len(rows), line) from None
    finally:
        text.detach()
    if not header:
        raise UserError(f"Expected a line with the columns' names in {str(path)!r}, got only blank lines.")
    return rows, blank


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _unreadable(said: str, path: Path, row: int, line: int) -> UserError:
    if said == "unexpected end of data":
        said = "a quotation mark opens a cell, and none closes it"
    return UserError(
        f"Cannot read the corpus {str(path)!r}: {said}, in {where(row, line)}. In a .csv a cell that begins with a "
        'quotation mark ends with one, and those inside are doubled ("").'
    )


def _check_header(header: Sequence[str], path: Path, tabs: bool) -> None:
    require_different(header, path)
    if any("\0" in name for name in header):
        raise UserError(
            f"Expected text in UTF-8 in {str(path)!r}, got null characters in its first line: is it UTF-16?"
        )
    if tabs and any(len(name) > 1 and name[0] == name[-1] == '"' for name in header):
        raise _quoted(path, "its first line")
    if len(header) == 1 and (found := [mark for mark in ";\t|," if mark in header[0]]):
        asked = "tabs (.tsv)" if tabs else "commas (.csv)"
        raise UserError(
            f"Expected columns of {str(path)!r} separated by {asked}, got one column {header[0][:80]!r}, which holds "
            f"{found[0]!r}. Save the file with the separator that its name says."
        )


def _check_row(cells: Sequence[str], header: Sequence[str], path: Path, row: int, line: int, tabs: bool) -> None:
    if len(cells) != len(header):
        place = (
            f"the column {header[len(cells)]!r} is missing" if len(cells) < len(header) else "the last belong to none"
        )
        raise UserError(
            f"Expected {len(header)} cells in every row of {str(path)!r}, got {len(cells)} in {where(row, line)}: "
            f"{place}. Mend that row" + (": a .tsv has no tab or line end in a cell." if tabs else ".")
        )
    if tabs and (name := next((n for n, cell in zip(header, cells, strict=True) if _is_quoted(cell)), "")):
        raise _quoted(path, f"column {name!r}, {where(row, line)}")


def _is_quoted(cell: str) -> bool:
    """Returns whether a cell is as a writer that quotes writes it: in quotation marks, with those inside doubled."""
    inside = cell[1:-1]
    return cell[:1] == cell[-1:] == '"' and '""' in inside and '"' not in inside.replace('""', "")


def _quoted(path: Path, place: str) -> UserError:
    return UserError(
        f"Expected no quoting in {str(path)!r}, since a .tsv has none, got a quoted cell in {place}. Save the file as "
        ".csv, .jsonl or .parquet, where a cell can hold anything."
    )
