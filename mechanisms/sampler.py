"""Exact binomial counts by table look-up: the law is that of the integer thresholds, to the last bit (theorem 3)."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.randomness import RandomSource
from mechanisms.spec import WORD_BITS

UNDECIDED = 255
"""What a cell holds that a partition point of the distribution function falls into. Of 255 trials, 255 successes are
written the same way, and looked at more closely too."""


@dataclass(frozen=True, slots=True)
class Bits:
    """How a uniform number is looked at: cell bits for every count, 16 at most; more bits where these leave it open.

    cell + more is at most 56: with the row's number it fills 64 bits.
    """

    cell: int = 11
    more: int = 45

    @property
    def leading(self) -> int:
        """Bits drawn before the exact integers are asked."""
        return self.cell + self.more


def cumulative(threshold: int, trials: int, word_bits: int = WORD_BITS) -> list[int]:
    """Returns 2^(word_bits trials) P[K <= k] for k = 0..trials - 1: whole numbers, exact.

    threshold: successes in 2^word_bits, neither none nor all.

    >>> cumulative(1, 2, word_bits=2)  # 9/16, 15/16
    [9, 15]
    """
    failure = (1 << word_bits) - threshold
    mass, total, sums = failure**trials, 0, []
    for k in range(trials):
        total += mass
        sums.append(total)
        mass = mass * ((trials - k) * threshold) // ((k + 1) * failure)
    return sums


@dataclass(frozen=True, slots=True, eq=False)
class BinomialTable:
    """Draws from Bin(trials, threshold / 2^word_bits) for each of up to 255 thresholds, exactly (theorem 3).

    A count is the number of partition points P[K <= k] that a uniform number in [0, 1) is not below. Its bits are
    drawn as they are needed: the first choose a cell; where a partition point lies in that cell, the leading bits
    are compared; where they are equal to a point's, the rest are drawn and compared as whole numbers.

    Which cells are read, and whether more bits are drawn, depends on the threshold and the noise. An observer of the
    client's own cache or clock is outside the threat model, which sees messages only.

    cells: uint8, shape (thresholds << bits.cell,). points: uint64, sorted, trials a row: the row's number, then the
    leading bits of a partition point.
    """

    thresholds: tuple[int, ...]
    trials: int
    word_bits: int
    bits: Bits
    cells: NDArray[np.uint8]
    points: NDArray[np.uint64]

    @classmethod
    def of(
        cls, thresholds: Sequence[int], trials: int, word_bits: int = WORD_BITS, bits: Bits | None = None
    ) -> "BinomialTable":
        """Returns the table; rows are numbered as the thresholds are. trials: at most 255."""
        bits = bits or Bits()
        points = _leading_points(thresholds, trials, word_bits, bits.leading)
        edges = (points >> np.uint64(bits.more)).astype(np.int64)
        lengths = np.diff(edges, axis=1, prepend=0, append=1 << bits.cell)
        counts = np.tile(np.arange(trials + 1, dtype=np.uint8), len(thresholds))
        cells = np.repeat(counts, lengths.reshape(-1))
        rows = np.arange(len(thresholds))[:, None]
        cells[(rows << bits.cell) + edges] = UNDECIDED
        points += rows.astype(np.uint64) << np.uint64(bits.leading)
        return cls(tuple(thresholds), trials, word_bits, bits, cells, points.reshape(-1))

    def sample(self, rows: NDArray[np.uint8], source: RandomSource) -> NDArray[np.uint8]:
        """Returns one count for each row number, uint8, rows' shape; each from bits of its own."""
        spare = rows.size * self.trials * 2 // (1 << self.bits.cell) + 16
        drawn = source.words(2 * spare + (rows.size + 1) // 2).astype("<u4", copy=False)
        first = drawn[2 * spare :].view("<u2")[: rows.size] >> np.uint16(16 - self.bits.cell)
        index = rows.reshape(-1).astype(np.uint32)
        index <<= np.uint32(self.bits.cell)
        index |= first.astype(np.uint32)
        wide = index.astype(np.int64)
        counts: NDArray[np.uint8] = self.cells.take(wide)
        undecided = (counts == UNDECIDED).nonzero()[0]
        if undecided.size > spare:
            drawn = source.words(2 * undecided.size).astype("<u4", copy=False)
        if undecided.size:
            more = drawn[: 2 * undecided.size].view("<u8")
            counts[undecided] = self._look_closer(wide.take(undecided), more, source)
        return counts.reshape(rows.shape)

    def _look_closer(
        self, index: NDArray[np.int64], more: NDArray[np.uint64], source: RandomSource
    ) -> NDArray[np.int64]:
        """Returns the counts of numbers that begin with the cells at index and go on with the top bits of more."""
        keys = index.view(np.uint64) << np.uint64(self.bits.more)
        keys |= more >> np.uint64(64 - self.bits.more)
        above = self.points.searchsorted(keys, side="right")
        counts: NDArray[np.int64] = above - (index >> self.bits.cell) * self.trials
        if self.word_bits * self.trials > self.bits.leading:
            for tie in (self.points.take(above - 1) == keys).nonzero()[0]:
                counts[tie] = self._settle(int(keys[tie]), source)
        return counts

    def _settle(self, key: int, source: RandomSource) -> int:
        """Returns the count of a number whose leading bits are those of a partition point: the rest are drawn."""
        row, leading = divmod(key, 1 << self.bits.leading)
        rest = self.word_bits * self.trials - self.bits.leading
        words = source.words(-(-rest // 32)).astype("<u4", copy=False)
        drawn = int.from_bytes(words.tobytes(), "little") >> (32 * words.size - rest)
        return bisect_right(cumulative(self.thresholds[row], self.trials, self.word_bits), (leading << rest) + drawn)


def _leading_points(thresholds: Sequence[int], trials: int, word_bits: int, leading: int) -> NDArray[np.uint64]:
    """Returns the leading bits of each row's partition points, uint64, shape (thresholds, trials).

    The points of threshold 2^word_bits - t are one less those of t, so half the rows are computed.
    """
    shift, whole = leading - word_bits * trials, 1 << (word_bits * trials)
    rows: dict[int, list[int]] = {}
    for threshold in thresholds:
        if threshold not in rows:
            exact = cumulative(threshold, trials, word_bits)
            rows[threshold] = _cut(exact, shift)
            rows[(1 << word_bits) - threshold] = _cut([whole - point for point in reversed(exact)], shift)
    return np.array([rows[threshold] for threshold in thresholds], dtype=np.uint64)


def _cut(points: list[int], shift: int) -> list[int]:
    """Returns whole numbers shifted up, or down where shift is negative: what falls off is cut."""
    return [point << shift for point in points] if shift > 0 else [point >> -shift for point in points]
