"""A column of a table: text is kept in Arrow as UTF-8, and decoded where it is asked for."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TypeAlias, overload

import numpy as np
import pyarrow
from numpy.typing import NDArray

BLOCK = 4096
"""Values that are decoded at a time where a whole column is read."""
Part: TypeAlias = "pyarrow.Array | list[object]"
"""Text in Arrow, or values as they are."""


class Column(Sequence[object]):
    """Values in the order of their rows, read only; equal to a list of the same values.

    parts: the values, in pieces: Arrow arrays where all of them are text, lists where they are anything else.
    rows: the rows that are shown, int64; all where it is None.
    """

    def __init__(self, parts: Sequence[Part], rows: NDArray[np.int64] | None = None) -> None:
        self._parts = [part for part in parts if len(part)]
        self._ends = list(accumulate(len(part) for part in self._parts))
        self._rows = rows

    def __len__(self) -> int:
        if self._rows is not None:
            return len(self._rows)
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, index: int) -> object: ...
    @overload
    def __getitem__(self, index: slice) -> list[object]: ...
    def __getitem__(self, index: int | slice) -> object:
        """Returns the value of a row, or a list of the values of a slice; raises IndexError outside."""
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        place = range(len(self))[index]  # negative ones, and IndexError
        return self._value(place if self._rows is None else int(self._rows[place]))

    def __iter__(self) -> Iterator[object]:
        if self._rows is not None:
            yield from (self._value(int(row)) for row in self._rows)
            return
        for part in self._parts:
            if isinstance(part, list):
                yield from part
            else:
                for start in range(0, len(part), BLOCK):
                    yield from part[start : start + BLOCK].to_pylist()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (Column, list, tuple)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it equals lists, which have none

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self[:5]!r}{', ...' if len(self) > 5 else ''}, {len(self)} values)"

    def take(self, indices: Iterable[int]) -> "Column":
        """Returns the values at the indices, in that order, without copying them; raises IndexError outside."""
        chosen, count = np.fromiter(indices, dtype=np.int64), len(self)
        if len(chosen) and not -count <= chosen.min() <= chosen.max() < count:
            raise IndexError(f"Expected indices of {count} values, got {chosen.min()} to {chosen.max()}.")
        chosen = np.where(chosen < 0, chosen + count, chosen)
        return Column(self._parts, chosen if self._rows is None else self._rows[chosen])

    def _value(self, row: int) -> object:
        part = bisect_right(self._ends, row)
        value = self._parts[part][row - (self._ends[part - 1] if part else 0)]
        return value.as_py() if isinstance(value, pyarrow.Scalar) else value


def repeated(value: str, count: int) -> Column:
    """Returns a column of one text, count times."""
    return Column([pyarrow.repeat(pyarrow.scalar(value, pyarrow.string()), count)])


def numbered(count: int) -> Column:
    """Returns a column of the row numbers 0 to count - 1, as text."""
    starts = range(0, count, BLOCK)
    return Column([pyarrow.array([str(i) for i in range(s, min(s + BLOCK, count))], pyarrow.string()) for s in starts])
