"""Parquet files: the values that pyarrow reads, by the types that the file states."""

import io
from pathlib import Path

import pyarrow
from pyarrow import parquet

from mechanisms.errors import UserError
from mechanisms.tables.column import Column
from mechanisms.tables.rows import require_different


def read_parquet(stream: io.RawIOBase, path: Path) -> dict[str, Column]:
    """Returns the columns; path: the file, for errors.

    Raises UserError for a broken file, a name given twice, and a value that Python cannot hold: text that is no
    UTF-8, a date after the year 9999.
    """
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(stream.read())).read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"Cannot read the corpus {str(path)!r}: {' '.join(str(error).split()[:40])}.") from None
    require_different(table.column_names, path)
    columns = {name: Column(table.column(name).chunks) for name in table.column_names}
    for name, column in columns.items():
        _check_values(column, table.column(name), name, path)
    return columns


def _check_values(column: Column, stored: pyarrow.ChunkedArray, name: str, path: Path) -> None:
    """Raises UserError for the first value of a column that cannot be read; stored: it, as pyarrow has it."""
    try:
        stored.validate(full=True)
        if pyarrow.types.is_temporal(stored.type):
            list(column)
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:
        said, row = error, 0
        try:
            for row in range(len(column)):
                column[row]
        except (pyarrow.ArrowException, ValueError, OverflowError) as first:
            said = first
        raise UserError(
            f"Cannot read the corpus {str(path)!r}: {' '.join(str(said).split())}, in column {name!r}, row {row} "
            "(counted from 0)."
        ) from None
