"""What each column of a table looks like: text, classes, names, or nothing that a configuration can use."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mechanisms.cell_text import cell_text
from mechanisms.errors import UserError

MOST_CLASSES = 20
"""Different values of a column that names classes, at most."""
SHORTEST_TEXT = 20
"""Characters of a typical document, at least."""


@dataclass(frozen=True, slots=True)
class ColumnFacts:
    """What a column holds. filled: rows with a value. typical: median characters of a value. strings: all are text.

    values: the different values that are classes, the commonest first; empty where there are more than MOST_CLASSES.
    """

    name: str
    rows: int
    filled: int
    distinct: int
    typical: float
    strings: bool
    values: tuple[str, ...]

    @property
    def is_text(self) -> bool:
        """Whether it may hold the documents: text in every row, and long enough."""
        return self.strings and self.filled == self.rows and self.typical >= SHORTEST_TEXT

    @property
    def is_classes(self) -> bool:
        """Whether it may be an attribute or a task: a few values, each more than once."""
        return 2 <= len(self.values) <= self.filled // 2

    @property
    def is_names(self) -> bool:
        """Whether it may say whose a row is: every row has a value, and some value stands in several rows."""
        return self.filled == self.rows and 2 <= self.distinct < self.rows and not self.is_text


def facts_of(columns: Mapping[str, Sequence[object]]) -> dict[str, ColumnFacts]:
    """Returns the facts of each column that holds text, numbers or dates; others are left out."""
    found = {}
    for name, values in columns.items():
        try:
            texts = [cell_text(value, name, row) for row, value in enumerate(values)]
        except UserError:
            continue  # lists and objects: no key of a configuration takes them
        filled = [text for text in texts if text is not None]
        if not filled:
            continue
        counts = Counter(filled)
        classes = tuple(value for value, _ in counts.most_common()) if len(counts) <= MOST_CLASSES else ()
        found[name] = ColumnFacts(
            name,
            len(texts),
            len(filled),
            len(counts),
            statistics.median(map(len, filled)),
            all(isinstance(value, str) for value in values),
            classes,
        )
    return found
