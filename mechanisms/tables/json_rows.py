"""JSON: a list of objects (.json), or an object a line (.jsonl), every value as it stands."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NoReturn

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.tables.rows import RowCollector, not_unicode, where

_SPACE = re.compile(r"[ \t\r\n]*")


class _NoJson(ValueError):
    """What Python's json takes and JSON does not have."""


def read_json_lines(stream: IO[bytes], path: Path) -> tuple[RowCollector, int]:
    """Returns the rows, an object a line, and how many blank lines were skipped; path: the file, for errors.

    Raises UserError for a line that is no JSON object, a key given twice, NaN, infinity, and bytes that are no UTF-8.
    """
    rows, blank = RowCollector(path), 0
    for line, data in enumerate(stream, 1):
        text, whole = _decoded(data)
        if not text.strip(" \t\r\n"):
            blank += 1
            continue
        try:
            value = _DECODER.decode(text)
        except (ValueError, RecursionError) as error:
            raise _unreadable(error, path, len(rows), line, text) from None
        rows.add(_row(value, whole, path, len(rows), line), line, len(text))
    return rows, blank


def read_json(stream: IO[bytes], path: Path) -> tuple[RowCollector, int]:
    """Returns the rows of a list of objects; a file that begins with an object is read as read_json_lines does.

    Raises UserError as read_json_lines does, and for what is neither.
    """
    if stream.peek(1).lstrip(b" \t\r\n")[:1] == b"{":  # type: ignore[attr-defined]  # text_bytes yields a BufferedReader
        return read_json_lines(stream, path)
    text, whole = _decoded(stream.read())
    rows, place = RowCollector(path), _after_space(text, 0)
    if text[place : place + 1] != "[":
        raise UserError(f"Expected {str(path)!r} to hold a list of objects, or an object a line, got neither.")
    place, line, counted = _after_space(text, place + 1), 1, 0
    mark = text[place : place + 1]
    while mark != "]":
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, end = _DECODER.raw_decode(text, place)
        except (ValueError, RecursionError) as error:
            raise _unreadable(error, path, len(rows), line, text, place) from None
        rows.add(_row(value, whole, path, len(rows), line), line, end - place)
        place = _after_space(text, end)
        mark = text[place : place + 1]
        if mark == ",":
            place = _after_space(text, place + 1)
        elif mark != "]":
            after = where(len(rows) - 1, line)
            raise UserError(f"Cannot read the corpus {str(path)!r}: a comma or ] is missing after {after}.")
    if (end := _after_space(text, place + 1)) != len(text):
        raise UserError(f"Cannot read the corpus {str(path)!r}: more follows its list, {text[end : end + 20]!r}.")
    return rows, 0


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NoJson(f"the key {twice!r} is given twice")
    return found


def _constant(name: str) -> NoReturn:
    raise _NoJson(f"{name} is no JSON value; write null where a value is missing")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant)


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()


def _decoded(data: bytes) -> tuple[str, bool]:
    """Returns the text of bytes and whether all of them are UTF-8; others stand in it as surrogates."""
    try:
        return data.decode("utf8"), True
    except UnicodeDecodeError:
        return data.decode("utf8", "surrogateescape"), False


def _row(value: Json, whole: bool, path: Path, row: int, line: int) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise UserError(
            f"Expected every row of {str(path)!r} to be an object, got {type(value).__name__} in {where(row, line)}. "
            'Write {"text": "..."}; a list of objects is a .json file, an object a line a .jsonl file.'
        )
    for name in value if not whole else ():
        if wrong := not_unicode(json.dumps([name, value[name]], ensure_ascii=False)):
            raise UserError(
                f"Expected text in UTF-8 in {str(path)!r}, got {wrong} in column {name!r}, {where(row, line)}. "
                "Save the file in UTF-8, or mend that row."
            )
    return value


def _unreadable(error: Exception, path: Path, row: int, line: int, text: str, place: int = 0) -> UserError:
    if isinstance(error, RecursionError):
        said = "values are nested too deeply"
    elif isinstance(error, _NoJson):
        said = f"{error}{_column_of(text, place)}"
    else:
        said = str(error).split(": line")[0].split(" (char")[0]
    return UserError(f"Cannot read the corpus {str(path)!r}: {said}, in {where(row, line)}.")


def _column_of(text: str, place: int) -> str:
    """Returns which key of the object at a place holds what is no JSON, in words, where that can be told."""
    try:
        found, _ = json.JSONDecoder().raw_decode(text, _after_space(text, place))
    except (ValueError, RecursionError):
        return ""
    for name, value in found.items() if isinstance(found, dict) else ():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            return f" (column {name!r})"
    return ""
