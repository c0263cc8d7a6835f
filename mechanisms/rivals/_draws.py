"""Draws of the rivals' samplers, made of a source's 32-bit words alone."""

import numpy as np
from numpy.typing import NDArray

from mechanisms.randomness import RandomSource, wide_words

WIDE = 1 << 64
"""Values of a uniform 64-bit word."""
DRAW_BITS = 128
"""Bits behind one draw of weighted_choices: it departs from the exact law by one part in 2^64 at most."""


def weighted_choices(weights: NDArray[np.uint64], count: int, source: RandomSource) -> NDArray[np.int64]:
    """Returns indices drawn in proportion to whole weights, shape (n,), whose sum is below 2^63; int64, shape (count,).

    The 128 bits w choose the index whose cumulated weights hold floor(w sum / 2^128): each has the probability
    weight / sum up to a factor within 1 +- 2^-64, since a unit of weight holds 2^65 values of w or more.
    """
    cumulated = np.cumsum(weights, dtype=np.uint64)
    total = int(cumulated[-1])
    drawn = source.words(DRAW_BITS // 32 * count).reshape(count, DRAW_BITS // 32).astype("<u4").tobytes()
    step = DRAW_BITS // 8
    places = [
        (int.from_bytes(drawn[start : start + step], "little") * total) >> DRAW_BITS
        for start in range(0, len(drawn), step)
    ]
    return np.searchsorted(cumulated, np.array(places, dtype=np.uint64), side="right").astype(np.int64)


def uniform_below(limit: int, count: int, source: RandomSource) -> NDArray[np.int64]:
    """Returns whole numbers in 0..limit - 1, all alike, int64, shape (count,). limit: 1 to 2^63.

    A 64-bit word beyond the largest multiple of the limit is drawn anew, so that each remainder is exactly as likely.
    """
    last = np.uint64(WIDE - WIDE % limit - 1)
    drawn = wide_words(count, source)
    while (beyond := np.flatnonzero(drawn > last)).size:
        drawn[beyond] = wide_words(beyond.size, source)
    return (drawn % np.uint64(limit)).astype(np.int64)


def narrow_below(limit: int, count: int, source: RandomSource) -> NDArray[np.uint32]:
    """Returns whole numbers in 0..limit - 1, all alike, uint32, shape (count,), of half the bits. limit: 1 to 2^31.

    The upper half of a 32-bit word times the limit, unless the lower half is below 2^32 mod limit: then the word is
    drawn anew, so each number has exactly floor(2^32 / limit) words (Lemire, ACM TOMACS 2019).
    """
    least, factor = np.uint32((1 << 32) % limit), np.uint64(limit)
    products = source.words(count).astype("<u8")
    products *= factor
    halves = products.view("<u4").reshape(count, 2)
    while (again := np.flatnonzero(halves[:, 0] < least)).size:
        products[again] = source.words(again.size).astype(np.uint64) * factor
    return np.asarray(halves[:, 1], dtype=np.uint32)
