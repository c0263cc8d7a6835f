"""Draws of the rivals' samplers, made of a source's 32-bit words alone."""

from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from mechanisms.randomness import WordSource

DRAW_BITS = 128
"""Bits behind one draw of weighted_choice: it departs from the exact law by one part in 2^64 at most."""


def wide_words(count: int, source: WordSource) -> NDArray[np.uint64]:
    """Returns uniform 64-bit words, uint64, shape (count,), two words each."""
    halves = source.words(2 * count).astype(np.uint64).reshape(count, 2)
    return (halves[:, 0] << np.uint64(32)) | halves[:, 1]


def uniforms(shape: tuple[int, ...], source: WordSource) -> NDArray[np.float64]:
    """Returns uniform numbers of 53 bits inside (0, 1), float64, of that shape: odd multiples of 2^-54."""
    size = int(np.prod(shape))
    return ((wide_words(size, source) >> np.uint64(11)).astype(np.float64) + 0.5).reshape(shape) * 2.0**-53


def weighted_choice(weights: NDArray[np.uint64], source: WordSource) -> int:
    """Returns an index drawn in proportion to whole weights, shape (n,), whose sum is below 2^63.

    The 128 bits w choose the index whose cumulated weights hold floor(w sum / 2^128): each has the probability
    weight / sum up to a factor within 1 +- 2^-64, since a unit of weight holds 2^65 values of w or more.
    """
    cumulated = np.cumsum(weights, dtype=np.uint64)
    word = list(accumulate(source.words(DRAW_BITS // 32).tolist(), lambda high, low: (high << 32) | low))[-1]
    place = np.uint64((word * int(cumulated[-1])) >> DRAW_BITS)
    return int(np.searchsorted(cumulated, place, side="right"))
