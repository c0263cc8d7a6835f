"""The pair that dominates one coordinate, whichever of two ranges' ends comes first: exact, in whole numbers."""

import math
from itertools import pairwise

import numpy as np

from del_audit.accounting.composition import Losses
from mechanisms.spec import WORD_BITS

Point = tuple[int, int]


def dominating(trials: int, high: int, low: int) -> Losses:
    """Returns the pair whose power at each level is the greatest concave curve above both orders of the two laws.

    The laws: Bin(trials, high / 2^32) and Bin(trials, low / 2^32), low < high, both in (0, 2^32). Its delta at each
    epsilon is the larger of delta(high from low) and delta(low from high). Tails are whole multiples of
    2^-(32 trials), so that the hull is exact; losses are rounded up, masses to their last digits. Theorem 5.

    >>> pair = dominating(1, 3 << 30, 1 << 30)  # symmetric: both orders agree
    >>> [round(math.exp(loss), 12) for loss in pair.loss]
    [0.333333333333, 3.0]
    """
    above, below = _upper_tails(trials, high), _upper_tails(trials, low)
    whole = above[0]
    points = set(zip(below, above, strict=True)) | {(whole - p, whole - q) for q, p in zip(below, above, strict=True)}
    edges = [(p - p_last, q - q_last) for (q_last, p_last), (q, p) in pairwise(_concave_hull(sorted(points)))]
    loss = np.array([_log_ratio(p, q) for p, q in edges])
    log_mass = np.array([_log_ratio(p, whole) for p, _ in edges])
    order = np.argsort(loss)
    return Losses(loss[order], log_mass[order])


def _upper_tails(trials: int, threshold: int) -> list[int]:
    """Returns 2^(32 trials) P[X > x] of Bin(trials, threshold / 2^32) for x = -1 .. trials."""
    rest = (1 << WORD_BITS) - threshold
    masses = [math.comb(trials, x) * threshold**x * rest ** (trials - x) for x in range(trials, -1, -1)]
    tails = [0]
    for mass in masses:
        tails.append(tails[-1] + mass)
    return tails[::-1]


def _concave_hull(points: list[Point]) -> list[Point]:
    """Returns the upper hull of points in lexicographic order, from the first to the last."""
    hull: list[Point] = []
    for q, p in points:
        while len(hull) > 1 and _turns_left(hull[-2], hull[-1], (q, p)):
            hull.pop()
        hull.append((q, p))
    return hull


def _turns_left(first: Point, middle: Point, last: Point) -> bool:
    """Tells whether the middle point lies on or below the line from the first to the last."""
    (q0, p0), (q1, p1), (q2, p2) = first, middle, last
    return (p1 - p0) * (q2 - q0) <= (p2 - p0) * (q1 - q0)


def _log_ratio(numerator: int, denominator: int) -> float:
    """Returns log(numerator / denominator), rounded up, for whole numbers of any size above 0."""
    shift = numerator.bit_length() - denominator.bit_length()
    ratio = (numerator << max(-shift, 0)) / (denominator << max(shift, 0))
    value = math.log(ratio) + shift * math.log(2)
    return value + 4 * math.ulp(max(abs(value), 1.0))
