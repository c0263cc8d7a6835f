"""The reference: epsilon and beta from sums of binomial masses in 300-bit integers, no formula of the package."""

from fractions import Fraction
from typing import Any

import mpmath

_SHIFT = 300
mpmath.mp.dps = 80


def epsilon(delta: float, trials: int, scale: float) -> Any:
    """Returns the largest ln((P[X > x] - delta) / Q[X > x]) over counts x, for clip 1; it rises, peaks and falls."""
    p = _success(scale)
    exact_delta = _real(Fraction(delta))

    def value(x: int) -> Any:
        left = upper_tail(x, trials, p) - exact_delta
        return mpmath.log(left / upper_tail(x, trials, 1 - p)) if left > 0 else -mpmath.inf

    low, high = trials // 2, trials - 1
    while low < high:
        middle = (low + high) // 2
        here, ahead = value(middle), value(middle + 1)
        low, high = (middle + 1, high) if ahead > here else (low, middle)
    return value(low)


def beta(alpha: float, trials: int, scale: float) -> Any:
    """Returns the least type II error at type I error alpha, by the Neyman-Pearson lemma."""
    p = _success(scale)
    level = _real(Fraction(alpha))
    x = next(x for x in range(-1, trials + 1) if upper_tail(x, trials, 1 - p) <= level)
    share = (level - upper_tail(x, trials, 1 - p)) / mass(x, trials, 1 - p)
    return 1 - upper_tail(x, trials, p) - share * mass(x, trials, p)


def upper_tail(x: int, n: int, p: Fraction) -> Any:
    """Returns P[X > x] of Bin(n, p): masses summed by their exact ratios until they vanish."""
    if x < 0:
        return mpmath.mpf(1)
    if x >= n:
        return mpmath.mpf(0)
    if x + 1 < n * p:
        return 1 - upper_tail(n - x - 1, n, 1 - p)
    term = total = 1 << _SHIFT
    up, down = p.numerator, p.denominator - p.numerator
    for y in range(x + 1, n):
        term = term * ((n - y) * up) // ((y + 1) * down)
        if term == 0:
            break
        total += term
    return mass(x + 1, n, p) * total / mpmath.mpf(2) ** _SHIFT


def mass(y: int, n: int, p: Fraction) -> Any:
    """Returns P[X = y] of Bin(n, p)."""
    log_choose = mpmath.loggamma(n + 1) - mpmath.loggamma(y + 1) - mpmath.loggamma(n - y + 1)
    return mpmath.exp(log_choose + y * mpmath.log(_real(p)) + (n - y) * mpmath.log(_real(1 - p)))


def _success(scale: float) -> Fraction:
    return (1 + 1 / Fraction(scale)) / 2


def _real(value: Fraction) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator
