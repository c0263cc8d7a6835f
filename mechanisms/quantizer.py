"""The stochastic n-bit quantizer of DEL: the one implementation that is calibrated, attacked, certified and served."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.randomness import WordSource
from mechanisms.spec import WORD_BITS, QuantizerSpec

WORDS_AT_ONCE = 1 << 22
"""Words drawn in one block, 16 MiB: bounds the memory of a release of any length."""


@dataclass(frozen=True, slots=True)
class StochasticQuantizer:
    """Turns code vectors into counts whose law is exactly the one that the accountant bounds (theorems 1 and 3)."""

    spec: QuantizerSpec

    def thresholds(self, values: ArrayLike) -> NDArray[np.uint32]:
        """Returns the integer thresholds of values: round(2^32 p), held within the spec's ends.

        values: float array, shape (n, dim); outside [-clip, clip] they are clipped.
        Raises UserError for another shape, and for NaN or infinite values.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != self.spec.dim:
            raise UserError(f"Expected values of shape (n, dim={self.spec.dim}), got shape {array.shape}.")
        if not np.isfinite(array).all():
            raise UserError("Expected finite values, got NaN or infinity: nothing was released.")
        clipped = np.clip(array, -self.spec.clip, self.spec.clip)
        exact = np.rint((0.5 + 0.5 * (clipped / self.spec.scale)) * (1 << WORD_BITS))
        return np.clip(exact, self.spec.threshold_low, self.spec.threshold_high).astype(np.uint32)

    def quantize(self, values: ArrayLike, source: WordSource) -> NDArray[np.uint8]:
        """Returns the released counts, uint8, shape (n, dim): u fresh trials [word < threshold] a coordinate.

        Raises UserError as thresholds does.
        """
        thresholds = self.thresholds(values)
        trials = self.spec.trials
        rows = max(1, WORDS_AT_ONCE // (trials * self.spec.dim))
        counts = np.empty(thresholds.shape, dtype=np.uint8)
        for start in range(0, len(thresholds), rows):
            block = thresholds[start : start + rows]
            words = source.words(trials * block.size).reshape(trials, *block.shape)
            counts[start : start + rows] = np.count_nonzero(words < block, axis=0)
        return counts

    def dequantize(self, counts: ArrayLike) -> NDArray[np.float32]:
        """Returns the unbiased estimate y = (2 K / u - 1) scale of the clipped values, float32, the counts' shape.

        Its variance is (scale^2 - v^2) / u a coordinate.
        """
        fraction = np.asarray(counts, dtype=np.float64) / self.spec.trials
        return ((2 * fraction - 1) * self.spec.scale).astype(np.float32)
