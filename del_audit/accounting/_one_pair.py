"""The smallest epsilon of one pair of binomial laws in numbers instead of arrays: the same figure, four times as fast.

Each step is one of `_density`, `log_tail` and `_pair`, in the same floats and the same order, so their error bounds
hold here. What is rare is left to the arrays: tails that are close, counts at the ends, a search that does not settle.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erfcx, ndtri_exp

from del_audit.accounting._density import (
    DEVIANCE_TERMS,
    NODES,
    REACH,
    SMALL_STIRLING,
    STIRLING,
    WEIGHTS,
    Extended,
    Floats,
    horner,
    log1p_minus,
)
from del_audit.accounting._pair import CLOSE, WIDE_UNIT, Pair
from del_audit.accounting._search import ROOT_HALF, ROOT_TWO_OVER_PI
from del_audit.accounting.log_tail import BASE_ERROR, excess_of_mean

_LOOKS = 12


class _Law(NamedTuple):
    """The smaller tail of a law at one count: the arguments of both its factors, in `_density`'s words.

    upper: whether it is the upper tail.
    """

    x: Extended
    p: Extended
    q: Extended
    excess: Extended
    upper: bool


def one_epsilon(pair: Pair, log_delta: Extended) -> tuple[Extended, Extended] | None:
    """Returns epsilon > 0 at delta and a bound on its error, as `largest_epsilon`; None where the arrays must tell.

    pair: of numbers. Where the count does not stay, the count of its epsilon has a larger one (Dinkelbach).
    """
    if not pair.span > 0:
        return None
    x = _guess(pair, float(log_delta))
    for _ in range(_LOOKS):
        found = _epsilon_at(pair, x, log_delta)
        if found is None:
            return None
        landing = float(np.floor((found[0] - pair.shift) / pair.slope))
        if landing == x:
            return found
        x = landing
    return None


def _epsilon_at(pair: Pair, x: float, log_delta: Extended) -> tuple[Extended, Extended] | None:
    """Returns log((P[X > x] - delta) / Q[X > x]) > 0 and a bound on its error, as `Pair.epsilon_at`."""
    n = float(pair.n)
    if not 1 <= x <= n - 2:
        return None
    laws = _law(x, n, float(pair.p), float(pair.p_low)), _law(x, n, float(pair.r), float(pair.r_low))
    log_p, log_q = _log_tails(Extended(n), laws)
    if not log_p > log_delta or log_p - log_q < CLOSE:
        return None
    error, error_q = (BASE_ERROR + 8 * WIDE_UNIT * abs(float(log_tail)) for log_tail in (log_p, log_q))
    left = -np.expm1(log_delta - log_p)
    value = log_p + np.log(left) - log_q
    relative = (error + (1 - left) * WIDE_UNIT * (2 - log_delta)) / left + error_q
    return (value, relative + 4 * WIDE_UNIT * value) if value > 0 else None


def _law(x: float, n: float, p: float, p_low: float) -> _Law:
    """Returns the smaller tail of Bin(n, p + p_low) at a count, as `log_tail.tails`."""
    excess = excess_of_mean(Extended(x), n, p, p_low)
    wide, q = Extended(p) + p_low, (1 - Extended(p)) - p_low
    if excess >= -0.5:
        return _Law(Extended(x), wide, q, excess, True)
    return _Law(Extended(n - 1 - x), q, wide, -1 - excess, False)


def _log_tails(n: Extended, laws: tuple[_Law, _Law]) -> list[Extended]:
    """Returns log P[X > x] of each law, as `log_tail.tails`."""
    logs = []
    for law, integral in zip(laws, _relative_integrals(float(n), laws), strict=True):
        small = _log_density(n, law) + np.log(integral)
        logs.append(small if law.upper else np.log1p(-np.exp(small)))
    return logs


def _log_density(n: Extended, law: _Law) -> Extended:
    """Returns the logarithm of the density at p for 1 <= x < n, as `_density.log_density`."""
    x, rest = law.x, n - law.x
    correction = _stirling_error(n) - _stirling_error(x) - _stirling_error(rest)
    deviance = _deviance(x, n * law.p, law.excess) + _deviance(rest, n * law.q, -law.excess)
    mass = 0.5 * np.log(n / (2 * np.pi * x * rest)) + correction - deviance
    return Extended(mass + np.log(rest / law.q))


def _stirling_error(n: Extended) -> Extended:
    """Returns log n! less Stirling's formula, as `_density._stirling_error`."""
    if n < 16:
        return Extended(SMALL_STIRLING[int(n)])
    return Extended(horner(STIRLING, 1 / (n * n)) / n)


def _deviance(count: Extended, mean: Extended, gap: Extended) -> Extended:
    """Returns count log(count / mean) - gap, as `_density._deviance`."""
    r = gap / (count + mean)
    if not abs(r) < 0.15:
        return Extended(count * np.log(count / mean) - gap)
    square = r * r
    return Extended(r * (gap + 2 * count * square * horner(DEVIANCE_TERMS, square)))


def _relative_integrals(n: float, laws: tuple[_Law, _Law]) -> Floats:
    """Returns the integral of each law's density, divided by the density at p, as `_density.relative_integral`."""
    rows = []
    for x, p, q, excess, _ in laws:
        count, chance, fail, rest = float(x), float(p), float(q), n - 1 - float(x)
        slope = float((excess + p) / (p * q))
        width = min(chance, _reach(count / chance**2, rest / fail**2, max(slope, 0.0), fail))
        rows.append((-chance, fail, count, rest, slope, width))
    columns = np.array(rows).T[..., None, None]
    counts, rests, slopes, widths = columns[2:]
    step = widths * NODES
    down, up = log1p_minus(step / columns[:2])
    integrals: Floats = widths[:, 0, 0] * (np.exp(counts * down + rests * up - slopes * step) @ WEIGHTS)[:, 0]
    return integrals


def _reach(left: float, right: float, slope: float, q: float) -> float:
    """Returns the width beyond which the integrand is negligible, as `_density._reach`."""
    plain = 2 * REACH / (slope + math.sqrt(slope**2 + 2 * REACH * left))
    square = 4 * slope / q + 3 * (left + right)
    linear = 6 * slope - 4 * REACH / q
    root = math.sqrt(linear**2 + 24 * square * REACH)
    return min(plain, 12 * REACH / (root + linear) if linear > 0 else (root - linear) / (2 * square))


def _guess(pair: Pair, log_delta: float) -> float:
    """Returns about the count at which delta is reached, as `_search.guess_step`."""
    n, p, r, slope = float(pair.n), float(pair.p), float(pair.r), float(pair.slope)
    first = min(max(math.floor(-pair.shift / pair.slope), -1), n)
    angle = math.asin(math.sqrt(p)) - 0.5 * float(ndtri_exp(log_delta)) / math.sqrt(n)
    y = n * math.sin(min(max(angle, 0.0), math.pi / 2)) ** 2
    for _ in range(12):
        y = min(max(y, first + 0.5), n - 0.5)
        deviance, w, rate = _signed_root(y, n, p)
        _, w_null, rate_null = _signed_root(y, n, r)
        tail, tail_null = float(erfcx(max(w, -30.0) * ROOT_HALF)), float(erfcx(max(w_null, -29.9) * ROOT_HALF))
        gap = max(tail - tail_null, 1e-15 * tail)
        fall = (rate - rate_null) * ROOT_TWO_OVER_PI + slope * tail_null
        step = (math.log(0.5 * gap) - deviance - log_delta) * gap / fall
        y += min(max(step, -n), n)
        if abs(step) < 0.3:
            break
    return min(max(math.floor(y), first), n - 1)


def _signed_root(y: float, n: float, p: float) -> tuple[float, float, float]:
    """Returns the deviance of a real count, its root w with the sign of y - n p, and dw/dy, as `_search`."""
    mean, q = n * p, 1 - p
    deviance = max(y * math.log(y / mean) + (n - y) * math.log((n - y) / (n * q)), 0.0)
    w = math.copysign(math.sqrt(2 * deviance), y - mean)
    return deviance, w, 1 / math.sqrt(mean * q) if abs(w) < 1e-2 else math.log(y / (n - y) * q / p) / w
