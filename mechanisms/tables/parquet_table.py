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

    Raises UserError for a broken file and for a name given twice.
    """
    try:
        table = parquet.ParquetFile(pyarrow.BufferReader(stream.read())).read()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"Cannot read the corpus {str(path)!r}: {' '.join(str(error).split()[:40])}.") from None
    require_different(table.column_names, path)
    return {name: Column(table.column(name).chunks) for name in table.column_names}
