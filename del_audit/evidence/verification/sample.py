"""All rows that were released, in one table, for tests to pick from."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw, Counts, Floats, Levels
from del_audit.evidence.verification.driving import Answer

Mask = NDArray[np.bool_]
_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Sample:
    """One row a released row, in the order of release.

    levels, counts, residuals: shape (rows, dim). call: which answer, from 0. place: in its call. size: of its call.
    kind, label, probe: of its call, and whether it is the call's probe. standing: row of the standing block, or -1.
    corner: whether every coordinate is at an end. signs: -1 or 1 at corners, else meaningless.
    """

    law: ClaimedLaw
    levels: Levels
    counts: Counts
    residuals: Floats
    call: Counts
    place: Counts
    size: Counts
    kind: NDArray[np.str_]
    label: NDArray[np.str_]
    probe: Mask
    standing: Counts
    corner: Mask

    @classmethod
    def of(cls, answers: Sequence[Answer], law: ClaimedLaw, outside: bool = False) -> "Sample":
        """Returns the table. outside: with the rows of which a value is outside the range."""
        dim = law.spec.dim
        sizes = [len(a.counts) for a in answers]
        levels = _stack([a.call.levels for a in answers], (0, dim), np.uint8)
        counts = _stack([a.counts for a in answers], (0, dim), np.int64)
        inside = _stack([_inside(a) | outside for a in answers], (0,), np.bool_)
        numbers = np.arange(len(answers))
        table = {
            "call": np.repeat(numbers, sizes),
            "place": _stack([np.arange(n) for n in sizes], (0,), np.int64),
            "size": np.repeat(np.array(sizes, dtype=np.int64), sizes),
            "kind": np.repeat(np.array([a.call.kind for a in answers], dtype=np.str_), sizes),
            "label": np.repeat(np.array([a.call.label for a in answers], dtype=np.str_), sizes),
            "probe": _stack([np.arange(len(a.counts)) == a.call.probe for a in answers], (0,), np.bool_),
            "standing": _stack([_standing(a) for a in answers], (0,), np.int64),
            "corner": ((levels == 0) | (levels == TOP_LEVEL)).all(axis=1),
        }
        kept = {name: column[inside] for name, column in table.items()}
        levels, counts = levels[inside], counts[inside]
        return cls(law, levels, counts, law.residuals(levels, counts), **kept)

    def where(self, rows: Mask | Counts) -> "Sample":
        """Returns the rows of a mask, or of row numbers in their order."""
        columns = {column.name: getattr(self, column.name)[rows] for column in fields(self) if column.name != "law"}
        return Sample(self.law, **columns)

    def of_kind(self, *kinds: str) -> "Sample":
        """Returns the rows of calls of these kinds."""
        return self.where(np.isin(self.kind, kinds))

    @property
    def corners(self) -> "Sample":
        """The rows at corners."""
        return self.where(self.corner)

    @property
    def signs(self) -> NDArray[np.int64]:
        """Which end each coordinate of a corner is at, -1 or 1, shape (rows, dim)."""
        return np.where(self.levels == TOP_LEVEL, 1, -1)

    @property
    def aligned(self) -> Counts:
        """Counts of corners as if all were at +clip: u less the count at -clip, shape (rows, dim)."""
        return np.where(self.levels == TOP_LEVEL, self.counts, self.law.spec.trials - self.counts)

    @property
    def histogram(self) -> Counts:
        """How often each count came out at each level, shape (255, u + 1)."""
        return self.law.histogram(self.levels, self.counts)

    def __len__(self) -> int:
        return len(self.counts)


def _inside(answer: Answer) -> Mask:
    factors = answer.call.factors
    return np.ones(len(answer.counts), dtype=np.bool_) if factors is None else (factors == 1).all(axis=1)


def _standing(answer: Answer) -> Counts:
    return np.full(len(answer.counts), -1) if answer.call.rows is None else answer.call.rows


def _stack(parts: Sequence[NDArray[np.generic]], empty: tuple[int, ...], dtype: type[_Scalar]) -> NDArray[_Scalar]:
    return np.concatenate(parts).astype(dtype, copy=False) if parts else np.zeros(empty, dtype=dtype)
