"""The stochastic n-bit quantizer of DEL: the one implementation that is calibrated, attacked, certified and served."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.levels import LEVELS, ZERO_LEVEL, from_levels, to_levels
from mechanisms.randomness import RandomSource
from mechanisms.sampler import BinomialTable
from mechanisms.spec import WORD_BITS, QuantizerSpec

COORDINATES_AT_ONCE = 1 << 20
"""Coordinates sampled in one block, about 16 MiB: bounds the memory of a release of any length."""


@lru_cache(maxsize=64)
def level_thresholds(spec: QuantizerSpec) -> NDArray[np.uint32]:
    """Returns the integer threshold of each level, round(2^32 p), uint32, shape (255,), read-only.

    The ends are the spec's, and opposite levels mirror each other: their thresholds add up to 2^32.
    """
    upper = 0.5 + 0.5 * (from_levels(np.arange(ZERO_LEVEL, LEVELS), spec.clip) / spec.scale)
    upper = np.rint(upper * (1 << WORD_BITS)).astype(np.int64)
    thresholds = np.concatenate([(1 << WORD_BITS) - upper[:0:-1], upper]).astype(np.uint32)
    thresholds.flags.writeable = False
    return thresholds


@lru_cache(maxsize=8)
def level_table(spec: QuantizerSpec) -> BinomialTable:
    """Returns the sampler of each level's binomial; about 1 MB, made once for a spec."""
    return BinomialTable.of(level_thresholds(spec).tolist(), spec.trials)


@dataclass(frozen=True, slots=True)
class StochasticQuantizer:
    """Turns codes into counts whose law is exactly the one that the accountant bounds (theorems 1 and 3).

    Values are rounded to levels, levels have integer thresholds, and there is one sampler, of levels.
    """

    spec: QuantizerSpec

    def levels(self, values: ArrayLike) -> NDArray[np.uint8]:
        """Returns the levels of values, uint8, shape (n, dim).

        values: float array, shape (n, dim); outside [-clip, clip] they are clipped.
        Raises UserError for another shape, and for NaN or infinite values.
        """
        levels = to_levels(values, self.spec.clip)
        self._require_shape(levels)
        return levels

    def thresholds(self, values: ArrayLike) -> NDArray[np.uint32]:
        """Returns the integer thresholds of values: those of their levels; raises UserError as levels does."""
        return level_thresholds(self.spec)[self.levels(values)]

    def quantize(self, values: ArrayLike, source: RandomSource) -> NDArray[np.uint8]:
        """Returns the released counts of values, uint8, shape (n, dim); raises UserError as levels does."""
        return self.sample(self.levels(values), source)

    def sample(self, levels: NDArray[np.uint8], source: RandomSource) -> NDArray[np.uint8]:
        """Returns the released counts, uint8, shape (n, dim), each exactly Bin(u, threshold / 2^32) from fresh words.

        levels: uint8, shape (n, dim), each below 255. Raises UserError for anything else; then nothing is drawn.
        """
        self._require_shape(levels)
        if levels.dtype != np.uint8 or (levels.size and levels.max() >= LEVELS):
            raise UserError(f"Expected levels to be bytes in 0..{LEVELS - 1}, got {levels.dtype} out of them.")
        table, rows = level_table(self.spec), max(1, COORDINATES_AT_ONCE // self.spec.dim)
        if len(levels) <= rows:
            return table.sample(levels, source)
        return np.concatenate([table.sample(levels[at : at + rows], source) for at in range(0, len(levels), rows)])

    def dequantize(self, counts: ArrayLike) -> NDArray[np.float32]:
        """Returns the unbiased estimate y = (2 K / u - 1) scale of the level's value, float32, the counts' shape.

        Its variance is (scale^2 - v^2) / u a coordinate.
        """
        fraction = np.asarray(counts, dtype=np.float64) / self.spec.trials
        return ((2 * fraction - 1) * self.spec.scale).astype(np.float32)

    def _require_shape(self, array: NDArray[np.uint8]) -> None:
        if array.ndim != 2 or array.shape[1] != self.spec.dim:
            raise UserError(f"Expected values of shape (n, dim={self.spec.dim}), got shape {array.shape}.")
