"""One way to read a local table: by its ending, once, with the hash of what was read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.tables.column import Column
from mechanisms.tables.source_file import SourceFile, text_bytes

TEXT_ENDINGS = (".csv", ".tsv", ".jsonl", ".json")
ENDINGS = (".parquet", *TEXT_ENDINGS)
"""What a table's name ends in; those of text can have .gz behind."""


@dataclass(frozen=True, slots=True)
class Table:
    """Columns under their names, each as long. sha256: of the file's bytes. blank_lines: skipped, as no row."""

    columns: Mapping[str, Column]
    sha256: str
    blank_lines: int = 0


def read_table(path: Path) -> Table:
    """Returns the table in a file.

    Raises UserError for a file that cannot be read, another ending, and what the format's reader refuses.
    """
    ending, packed = _ending(path)
    with SourceFile(path) as source:
        if ending == ".parquet":
            from mechanisms.tables.parquet_table import read_parquet

            columns = read_parquet(source, path)
            return Table(columns, source.sha256())
        with text_bytes(source, path, packed) as stream:
            if ending in (".csv", ".tsv"):
                from mechanisms.tables.delimited import read_delimited

                rows, blank = read_delimited(stream, path, tabs=ending == ".tsv")
            else:
                from mechanisms.tables.json_rows import read_json, read_json_lines

                rows, blank = (read_json if ending == ".json" else read_json_lines)(stream, path)
        return Table(rows.columns(), source.sha256(), blank)


def _ending(path: Path) -> tuple[str, bool]:
    name = path.name.lower()
    packed = name.endswith(".gz")
    ending = Path(name.removesuffix(".gz")).suffix
    if ending not in (TEXT_ENDINGS if packed else ENDINGS):
        raise UserError(
            f"Expected the corpus {str(path)!r} to end in {', '.join(ENDINGS)} (or .gz behind those of text), "
            f"got {''.join(Path(name).suffixes[-2 if packed else -1 :])!r}."
        )
    return ending, packed
