"""Independent computations in mpmath at 60 digits: direct sums of binomial masses, no formula of the package."""

from fractions import Fraction
from functools import lru_cache
from typing import Any

import mpmath

DIGITS = 60
_SHIFT = 300  # bits below the first mass


def real(value: Fraction | float) -> Any:
    """The same number in mpmath, exactly or to 60 digits."""
    exact = Fraction(value)
    return mpmath.mpf(exact.numerator) / exact.denominator


def upper_tail(x: int, n: int, p: Fraction) -> Any:
    """P[X > x] of Bin(n, p): masses summed by their exact ratios in 300-bit integers until they vanish."""
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


@lru_cache(10_000)
def mass(y: int, n: int, p: Fraction) -> Any:
    """P[X = y] of Bin(n, p)."""
    with mpmath.workdps(DIGITS):
        log_choose = mpmath.loggamma(n + 1) - mpmath.loggamma(y + 1) - mpmath.loggamma(n - y + 1)
        return mpmath.exp(log_choose + y * mpmath.log(real(p)) + (n - y) * mpmath.log(real(1 - p)))


def delta_by_sum(epsilon: float, n: int, p: Fraction, r: Fraction) -> Any:
    """The hockey-stick divergence as its definition has it: the sum of what P has above e^epsilon Q."""
    with mpmath.workdps(DIGITS):
        factor = mpmath.exp(mpmath.mpf(epsilon))
        gaps = (mass(y, n, p) - factor * mass(y, n, r) for y in range(n + 1))
        return mpmath.fsum(gap for gap in gaps if gap > 0)


def delta(epsilon: float, n: int, p: Fraction, r: Fraction) -> Any:
    """The same from two tails, for any n: the step is found from the exact log-likelihood ratio."""
    with mpmath.workdps(DIGITS):
        slope = mpmath.log(real(p) / real(r)) - mpmath.log(real(1 - p) / real(1 - r))
        shift = n * mpmath.log(real(1 - p) / real(1 - r))
        x = int(mpmath.floor((mpmath.mpf(epsilon) - shift) / slope))
        return upper_tail(x, n, p) - mpmath.exp(mpmath.mpf(epsilon)) * upper_tail(x, n, r)
