"""Points of the projective space over a prime field: numbered, unnumbered and normalised in whole numbers.

A point is written with its first coordinate that is not 0 equal to 1. With f coordinates after that 1, its number is
(q^f - 1) / (q - 1), how many points have fewer, plus the number whose base-q digits these f are.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def number_of_points(dimension: int, order: int) -> int:
    """Returns (q^t - 1) / (q - 1), the points of vectors of t coordinates.

    >>> number_of_points(3, 3)
    13
    """
    return sum(order**power for power in range(dimension))


def base_digits(numbers: NDArray[np.int64], dimension: int, order: int) -> NDArray[np.int64]:
    """Returns the base-q digits of numbers below q^dimension, the highest first, int64, shape (dimension, n)."""
    digits = np.empty((dimension, len(numbers)), dtype=np.int64)
    for place in range(dimension - 1, 0, -1):
        higher = numbers // order
        digits[place] = numbers - higher * order
        numbers = higher
    digits[0] = numbers
    return digits


def points_of(ranks: NDArray[np.int64], dimension: int, order: int) -> NDArray[np.int64]:
    """Returns the points of these numbers, int64, shape (dimension, n)."""
    return base_digits(point_digits(ranks, dimension, order), dimension, order)


def point_digits(ranks: NDArray[np.int64], dimension: int, order: int) -> NDArray[np.int64]:
    """Returns the numbers whose base-q digits are the coordinates of the points of these numbers, int64, shape (n,)."""
    fewer, shift = _offsets(dimension, order)
    return np.asarray(ranks + shift[fewer.searchsorted(ranks, side="right") - 1])


def ranks_of(points: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Returns the numbers of normalised points, shape (dimension, n): int64, shape (n,)."""
    fewer, shift = _offsets(len(points), order)
    value = np.zeros(points.shape[1], dtype=np.int64)
    for coordinate in points:
        value = value * order + coordinate
    return value - shift[(fewer + shift).searchsorted(value, side="right") - 1]


def normalised(vectors: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Returns vectors, shape (dimension, n), none of them 0, with their first coordinate that is not 0 made 1.

    Its inverse is its power q - 2 (Fermat), by the same products for every vector.
    """
    base = vectors[-1]
    for coordinate in vectors[-2::-1]:
        base = np.where(coordinate != 0, coordinate, base)
    inverse = np.ones_like(base)
    for bit in f"{order - 2:b}":
        inverse = modulo(inverse * inverse, order)
        if bit == "1":
            inverse = modulo(inverse * base, order)
    return modulo(vectors * inverse, order)


def modulo(values: NDArray[np.int64], order: int) -> NDArray[np.int64]:
    """Returns values modulo the order: numpy divides whole arrays by one number faster than it takes the rest."""
    return np.asarray(values - values // order * order)


@lru_cache(maxsize=64)
def _offsets(dimension: int, order: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns, for f = 0..dimension - 1, how many points have fewer than f coordinates after the 1, and q^f less that.

    The second turns a point's number into the number whose base-q digits are its coordinates.
    """
    fewer = [number_of_points(f, order) for f in range(dimension)]
    return np.array(fewer), np.array([order**f - number for f, number in enumerate(fewer)])
