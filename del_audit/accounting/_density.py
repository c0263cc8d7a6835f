"""The two factors of a binomial tail: its density in saddle-point form, and a quadrature relative to it.

P[X > x] of Bin(n, p) is the integral over t in [0, p] of n C(n-1, x) t^x (1-t)^(n-1-x). Both factors below are
free of cancellation, so their product is accurate however far the tail lies (docs/theory.md, theorem 2).
Arguments are arrays of one shape: counts `x` in [0, n), trials `n`, the probability `p` with `q` = 1 - p, each to
full relative precision, and `excess` = x - n p, formed without rounding n p.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Extended = np.longdouble
"""The widest float of the platform: 64 bits of mantissa on x86-64, 113 or 53 elsewhere. Error bounds adapt."""

Floats = NDArray[np.float64]
Wide = NDArray[Extended]

# Nodes and weights of the 28-point Gauss-Legendre rule on [0, 1], lower half: numpy's own are good to 1e-13 only.
_HALF_NODES = (
    0.001778751213022775,
    0.009348417314563623,
    0.022870359685530903,
    0.04218348680393396,
    0.06705373871280247,
    0.09717931454141042,
    0.1321945609931841,
    0.17167445298056752,
    0.21513976409429914,
    0.2620628875224409,
    0.31187424195546065,
    0.363969186182411,
    0.41771535893330963,
    0.47246035505798284,
)
_HALF_WEIGHTS = (
    0.0045621412965472586,
    0.01056605629638563,
    0.01645071389115219,
    0.022136467379502114,
    0.027553672837858374,
    0.0326364619834998,
    0.03732310711728439,
    0.041556708614450606,
    0.04528587219651642,
    0.04846532899896496,
    0.05105648378903038,
    0.05302788296142321,
    0.05435559612914707,
    0.0550235065082376,
)
NODES = np.array(_HALF_NODES + tuple(1 - node for node in reversed(_HALF_NODES)))
WEIGHTS = np.array(_HALF_WEIGHTS + _HALF_WEIGHTS[::-1])
REACH = 40.0  # the integrand is cut where it has fallen by about exp(-40)
_TINY = 1e-300

STIRLING = (1 / 156, -691 / 360360, 1 / 1188, -1 / 1680, 1 / 1260, -1 / 360, 1 / 12)
SMALL_STIRLING = np.array(
    [
        0.0,
        0.08106146679532726,
        0.0413406959554093,
        0.02767792568499834,
        0.020790672103765093,
        0.016644691189821193,
        0.013876128823070748,
        0.01189670994589177,
        0.010411265261972096,
        0.009255462182712733,
        0.00833056343336287,
        0.007573675487951841,
        0.00694284010720953,
        0.006408994188004207,
        0.0059513701127588475,
        0.005554733551962801,
    ]
)
DEVIANCE_TERMS = tuple(1 / Extended(2 * j + 1) for j in range(12, 0, -1))
LOG1P_TERMS = tuple(1 / (2 * j + 3) for j in range(11, -1, -1))


def horner(terms: Sequence[float | Extended], square: Any) -> Any:
    """Returns the polynomial in `square`, a number or an array, whose coefficients fall from the highest power's."""
    series = terms[0] * square + terms[1]
    for term in terms[2:]:
        series *= square
        series += term
    return series


def log_density(x: Wide, n: Wide, p: Wide, q: Wide, excess: Wide) -> Wide:
    """Returns the log of n C(n-1, x) p^x q^(n-1-x), the derivative of P[X > x] in p."""
    rest = n - x
    inner = np.maximum(x, 1)  # x = 0 has no Stirling form: the mass is q^n
    whole, part, remainder = _stirling_error(np.array([n, inner, rest]))
    deviance, deviance_rest = _deviance(np.array([inner, rest]), np.array([n * p, n * q]), np.array([excess, -excess]))
    correction = whole - part - remainder
    mass = 0.5 * np.log(n / (2 * np.pi * inner * rest)) + correction - (deviance + deviance_rest)
    log_mass: Wide = np.where(x == 0, n * np.where(p < 0.5, np.log1p(-p), np.log(q)), mass)
    result: Wide = log_mass + np.log(rest / q)
    return result


def relative_integral(x: Wide, n: Wide, p: Wide, q: Wide, excess: Wide, span: Wide) -> Floats:
    """Returns the integral of the density over t in [p - span, p], divided by the density at p.

    Gauss-Legendre with 28 nodes on the part of the interval where the integrand is not negligible; it is smooth and
    positive there, so the relative error is a few units of rounding. Meant for x + 1/2 >= n p, or for short spans.
    """
    fx, fp, fq = x.astype(np.float64), p.astype(np.float64), q.astype(np.float64)
    rest = (n - 1 - x).astype(np.float64)
    slope = ((excess + p) / (p * q)).astype(np.float64)
    width = np.minimum(span.astype(np.float64), _reach(fx / fp**2, rest / fq**2, np.maximum(slope, 0), fq))
    step = width[..., None] * NODES
    decay = slope[..., None] * step
    down, up = log1p_minus(np.array([-step / fp[..., None], step / fq[..., None]]))
    drop = fx[..., None] * down + rest[..., None] * up
    total: Floats = width * (np.exp(drop - decay) @ WEIGHTS)
    return total


def _reach(left: Floats, right: Floats, slope: Floats, q: Floats) -> Floats:
    """Returns a width at which the integrand has fallen by exp(-40), give or take a factor of two in the exponent.

    From two lower bounds of the fall: slope s + left s^2 / 2, and slope s + 3 right s^2 / (6 + 4 s / q).
    """
    plain = 2 * REACH / np.maximum(slope + np.sqrt(slope**2 + 2 * REACH * left), _TINY)
    square = np.maximum(4 * slope / q + 3 * (left + right), _TINY)
    linear = 6 * slope - 4 * REACH / q
    root = np.sqrt(linear**2 + 24 * square * REACH)
    skewed = np.where(linear > 0, 12 * REACH / np.maximum(root + linear, _TINY), (root - linear) / (2 * square))
    reach: Floats = np.minimum(plain, skewed)
    return reach


def log1p_minus(z: Floats) -> Floats:
    """Returns log(1 + z) - z for z > -1, to full relative precision."""
    r = z / (2 + z)
    near = np.abs(r) < 0.2
    square = np.where(near, r * r, 0)
    value = r * (2 * square * horner(LOG1P_TERMS, square) - z)
    return value if near.all() else np.where(near, value, np.log1p(z) - z)


def _deviance(count: Wide, mean: Wide, gap: Wide) -> Wide:
    """Returns count log(count / mean) - gap for gap = count - mean, without cancellation (after Loader)."""
    r = gap / (count + mean)
    near = np.abs(r) < 0.15
    square = np.where(near, r * r, 0)
    value = r * (gap + 2 * count * square * horner(DEVIANCE_TERMS, square))
    deviance: Wide = value if near.all() else np.where(near, value, count * np.log(count / mean) - gap)
    return deviance


def _stirling_error(n: Wide) -> Wide:
    """Returns log n! - log(sqrt(2 pi n) (n / e)^n) for whole n >= 1."""
    big = np.maximum(n, 16)
    series = horner(STIRLING, 1 / (big * big))
    error: Wide = np.where(n < 16, SMALL_STIRLING[np.minimum(n, 15).astype(np.intp)], series / big)
    return error
