"""A bound on log E[exp(theta loss)] of all ordered pairs of a vocabulary, as one matrix product."""

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting._density import Floats
from del_audit.accounting._tilted import rounding, trial_log_mgf

Indices = NDArray[np.intp]
Single = NDArray[np.float32]

_CELLS = 1024
_MAX_RANK = 8
_SLACK = 0.05  # nats that the factors of a whole pair may be short by, and are raised by
_ROWS = 1024
_NUMBERS = 1 << 26  # in a block of the product: 256 MiB, whatever the number of words
_KEPT = 1 << 18


class Cells(NamedTuple):
    """Intervals [low, high] that hold every chance, ends of the range on their own; place (words, dim) among them."""

    low: Floats
    high: Floats
    place: Indices

    @classmethod
    def of(cls, chances: Floats) -> Self:
        """Returns the chances themselves where they are few, else about a thousand intervals."""
        values = np.unique(chances)
        if len(values) <= _CELLS:
            return cls(values, values, np.searchsorted(values, chances))
        edges = np.linspace(values[0], values[-1], _CELLS)
        place = np.where(chances == edges[0], 0, np.searchsorted(edges, chances, side="right"))
        return cls(np.append(edges[0], edges), np.append(edges, edges[-1]), place)

    def table(self, theta: float) -> Floats:
        """Returns the largest log E[exp(theta loss)] of one trial between two cells, shape (cells, cells).

        The value rises as the two chances move apart, so it is attained at the cells' far ends.
        """
        rising = trial_log_mgf(self.high[:, None], self.low, theta)
        falling = trial_log_mgf(self.low[:, None], self.high, theta)
        row, column = np.ogrid[: len(self.low), : len(self.low)]
        table: Floats = np.where(row > column, rising, np.where(row < column, falling, np.maximum(rising, falling)))
        return table + rounding(theta)


class Factors(NamedTuple):
    """row + column + left right^T of a table, and what has to be added so that it bounds the table from above."""

    row: Floats
    column: Floats
    left: Floats
    right: Floats
    slack: float

    @classmethod
    def of(cls, table: Floats, copies: int) -> Self:
        """Returns the fewest factors that are close enough for `copies` trials, or the most that are allowed."""
        row, column = table.mean(axis=1), table.mean(axis=0) - table.mean()
        rest = table - row[:, None] - column
        most = min(_MAX_RANK, len(table))
        waves = np.cos(np.pi * np.outer(np.arange(len(table)) + 0.5, np.arange(min(most + 4, len(table)))) / len(table))
        basis = np.linalg.qr(rest @ waves)[0]
        for _ in range(2):
            basis = np.linalg.qr(rest @ (rest.T @ basis))[0]
        small, size, right = np.linalg.svd(basis.T @ rest, full_matrices=False)
        left, right = basis @ small * np.sqrt(size), right.T * np.sqrt(size)
        for rank in range(1, most + 1):
            slack = float((rest - left[:, :rank] @ right[:, :rank].T).max())
            if copies * slack <= _SLACK:
                break
        return cls(row, column, left[:, :rank], right[:, :rank], slack)


@dataclass(frozen=True, slots=True)
class AllPairs:
    """left @ right + slack bounds log E[exp(theta loss)] of one token, for every ordered pair of words.

    left: float32, shape (words, n). right: float32, shape (n, words). slack: what the low rank and the rounding of the
    product can be short by.
    """

    left: Single
    right: Single
    slack: float

    @classmethod
    def of(cls, cells: Cells, factors: Factors, trials: int) -> Self:
        """Returns the bound for words given by their cells."""
        words, dim = cells.place.shape
        row, column = (trials * side[cells.place].sum(axis=1) for side in (factors.row, factors.column))
        scale = np.sqrt(max(np.abs(row).max(), np.abs(column).max(), 1e-30))
        ones = np.full(words, scale)
        left, right = (
            np.column_stack([np.sqrt(trials) * side[cells.place].reshape(words, -1), *ends]).astype(np.float32)
            for side, ends in ((factors.left, (row / scale, ones)), (factors.right, (ones, column / scale)))
        )
        norms = np.linalg.norm(left, axis=1).max() * np.linalg.norm(right, axis=1).max()
        product_error = (left.shape[1] + 8) * float(np.finfo(np.float32).eps) * float(norms)
        return cls(left, np.ascontiguousarray(right.T), trials * dim * factors.slack + product_error)

    def opposite(self, rows: Indices) -> Indices:
        """Returns for each row the column with the largest bound."""
        return np.asarray((self.left[rows] @ self.right).argmax(axis=1))

    def opposite_rows(self, columns: Indices) -> Indices:
        """Returns for each column the row with the largest bound."""
        return np.asarray((self.left @ self.right[:, columns]).argmax(axis=0))

    def above(self, threshold: float) -> tuple[Indices, float]:
        """Returns ordered pairs, shape (pairs, 2), and a level, at least the threshold, that no other pair exceeds.

        The level is the threshold unless more than 2^18 pairs are above it: then those with the largest bounds are
        returned.
        """
        cut = threshold - self.slack
        pairs, values = np.empty((0, 2), dtype=np.intp), np.empty(0, dtype=np.float32)
        words = len(self.left)
        height = max(1, min(_ROWS, _NUMBERS // words))
        buffer = np.empty((height, words), dtype=np.float32)
        for first in range(0, words, height):
            left = self.left[first : first + height]
            block = np.matmul(left, self.right, out=buffer[: len(left)])
            rows = np.flatnonzero(block.max(axis=1) > cut)
            block = block[rows]
            cut = max(cut, _kth_largest(block))
            row, column = np.nonzero(block > cut)
            pairs = np.concatenate([pairs, np.column_stack([rows[row] + first, column])])
            values = np.concatenate([values, block[row, column]])
            cut = max(cut, _kth_largest(values))
            pairs, values = pairs[values > cut], values[values > cut]
        level = threshold if cut == threshold - self.slack else cut + self.slack
        return pairs[pairs[:, 0] != pairs[:, 1]], level


def _kth_largest(values: Single) -> float:
    """Returns the number that at most 2^18 values exceed, or -inf where there are no more than that."""
    if values.size <= _KEPT:
        return -np.inf
    return float(np.partition(values, values.size - _KEPT - 1, axis=None)[values.size - _KEPT - 1])
