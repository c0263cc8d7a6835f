"""Corners of the cube as codes: the commoner two words are, the further apart they lie."""

import numpy as np
from numpy.typing import NDArray

from mechanisms.randomness import simulation_generator

MOST_COORDINATES = 20
"""Up to here all 2^dim corners are looked at; with more coordinates corners are drawn."""


def corner_signs(prior: NDArray[np.float64], dim: int, seed: int) -> NDArray[np.float64]:
    """Returns a corner for each word, float64, shape (words, dim), every entry -1 or 1.

    The word of rank r in the prior takes codeword r of nested linear codes, so the commonest 2^k words have the
    smallest distance of the k-th of them: of 18 coordinates 8 differ among the commonest 32 words, 6 among 128, 4
    among 1,024.
    Where there are fewer corners than words, or more than 20 coordinates, corners are drawn by the seed.

    prior: shape (words,), public. seed: unused where the nested codes serve.
    """
    words = len(prior)
    if words > 1 << dim or dim > MOST_COORDINATES:
        return simulation_generator(seed, "corners").choice([-1.0, 1.0], (words, dim))
    ranks = np.empty(words, dtype=np.int64)
    ranks[np.argsort(-prior, kind="stable")] = np.arange(words)
    taken = np.zeros(words, dtype=np.int64)
    for place, row in enumerate(nested_basis(dim, max(1, (words - 1).bit_length()))):
        taken ^= np.where(ranks >> place & 1, row, 0)
    return np.where(taken[:, None] >> np.arange(dim) & 1, 1.0, -1.0)


def nested_basis(dim: int, rows: int) -> list[int]:
    """Returns basis rows of nested linear codes as bit masks: each is as far as can be from the span of those before.

    The smallest distance of the first k rows' span is the least weight in it. Greedy, as lexicodes are (Conway and
    Sloane, 1986), and the same on every machine: of equal rows the smallest number is taken.

    >>> nested_basis(4, 3)
    [15, 3, 5]
    """
    vectors = np.arange(1 << dim)
    distances = np.bitwise_count(vectors).astype(np.int16)
    basis = []
    for _ in range(rows):
        row = int(distances.argmax())
        basis.append(row)
        distances = np.minimum(distances, distances[vectors ^ row])  # from the span, now twice as large
    return basis
