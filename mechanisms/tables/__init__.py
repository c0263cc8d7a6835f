"""Tables of documents, read from local files as they stand: nothing is inferred, converted or left out unsaid."""

from mechanisms.tables.column import Column
from mechanisms.tables.local_table import ENDINGS, Table, read_table

__all__ = ["ENDINGS", "Column", "Table", "read_table"]
