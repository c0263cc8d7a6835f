"""Where on the integers to look: a first guess for the step of the privacy curve, and a bracketing search."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtri_exp, rel_entr

from del_audit.accounting._density import Extended, Floats, Wide
from del_audit.accounting._pair import Pair

ROOT_HALF = math.sqrt(0.5)
ROOT_TWO_OVER_PI = math.sqrt(2 / math.pi)


def largest_epsilon(pair: Pair, log_delta: Wide) -> tuple[Wide, Wide]:
    """Returns epsilon at each delta and a bound on its error: the largest of pair.epsilon_at over counts, at least 0.

    Fields of the pair and log_delta: arrays of one shape (cases,). A count x with value e lies at or below the peak
    exactly where the step on which e lies does not come before x; that step is itself at or below the peak. So each
    count that is tried shortens the bracket from one side, and the usual case ends at the guess.
    """
    best, error = np.zeros(log_delta.shape, dtype=Extended), np.zeros(log_delta.shape, dtype=Extended)
    low, high = pair.step(best), pair.n - 1
    slope = np.maximum(pair.slope, 1e-18).astype(np.float64)
    x = guess_step(log_delta.astype(np.float64), pair.n, pair.p, pair.r, slope, low)
    open_cases = np.flatnonzero(pair.span > 0)
    stride = 1.0
    while open_cases.size:
        some = pair if open_cases.size == x.size else pair.select(partial(np.take, indices=open_cases))
        count, left, right = x[open_cases], low[open_cases], high[open_cases]
        value, slack, usable = some.epsilon_at(count, log_delta[open_cases])
        better = usable & (value > best[open_cases])
        best[open_cases[better]], error[open_cases[better]] = value[better], slack[better]
        landing = np.where(usable, some.step(np.where(usable, value, 0)), -1)
        rising = landing >= count
        left, right = np.maximum(left, landing), np.where(rising, right, np.minimum(right, count - 1))
        ahead = np.where(rising, np.maximum(left, count + stride), np.minimum(right, count - stride))
        ahead = np.where((ahead >= left) & (ahead <= right), ahead, np.floor((left + right) / 2))
        low[open_cases], high[open_cases], x[open_cases] = left, right, ahead
        open_cases = open_cases[(landing != count) & (left <= right)]
        stride *= 4
    return best, error


def guess_step(log_delta: Floats, n: Floats, p: Floats, p_null: Floats, slope: Floats, first: Floats) -> Floats:
    """Returns about the count at which the hockey-stick divergence of Bin(n, p) from Bin(n, p_null) is exp(log_delta).

    Normal tails of the signed root of the deviance, solved by Newton; within a count or two of the truth wherever it
    matters. Only the time that the exact solution takes depends on it. `slope`: the log-likelihood ratio of one count.
    """
    y = _quantile(log_delta, n, p)
    both = np.array([p, p_null])
    mean, rest = n * both, n * (1 - both)
    odds, flat = (1 - both) / both, 1 / np.sqrt(mean * (1 - both))
    floor = np.array([-30.0, -29.9]).reshape((2,) + (1,) * p.ndim)
    for _ in range(12):
        y = np.minimum(np.maximum(y, first + 0.5), n - 0.5)
        deviance, w, rate = _signed_root(y, n, mean, rest, odds, flat)
        tail, tail_null = erfcx(np.maximum(w, floor) * ROOT_HALF)
        gap = np.maximum(tail - tail_null, 1e-15 * tail)
        fall = (rate[0] - rate[1]) * ROOT_TWO_OVER_PI + slope * tail_null
        step = (np.log(0.5 * gap) - deviance[0] - log_delta) * gap / fall
        y = y + np.minimum(np.maximum(step, -n), n)
        if (np.abs(step) < 0.3).all():
            break
    guess: Floats = np.minimum(np.maximum(np.floor(y), first), n - 1)
    return guess


def first_at_most(log_alpha: Floats, log_tail: Callable[[Floats], Floats], n: Floats, p: Floats) -> Floats:
    """Returns the smallest count x in [-1, n] with log_tail(x) <= log_alpha, for a tail that falls to -inf at n."""
    low, high = np.full(n.shape, -2.0), n.astype(np.float64)
    probe = np.clip(np.floor(_quantile(log_alpha, n, p)), -1, n - 1)
    stride = 1.0
    while (high - low > 1).any():
        holds: NDArray[np.bool_] = log_tail(probe) <= log_alpha
        high, low = np.where(holds, np.minimum(high, probe), high), np.where(holds, low, np.maximum(low, probe))
        ahead = np.where(holds, probe - stride, probe + stride)
        middle = np.floor((low + high) / 2)
        probe = np.clip(np.where((ahead > low) & (ahead < high), ahead, middle), -1, n)
        stride *= 4
    return high


def _quantile(log_tail: Floats, n: Floats, p: Floats) -> Floats:
    """Returns about the count whose upper tail has the given logarithm, by the variance-stabilising arcsine."""
    z = -ndtri_exp(np.minimum(log_tail, -1e-300))
    angle = np.minimum(np.maximum(np.arcsin(np.sqrt(p)) + 0.5 * z / np.sqrt(n), 0), np.pi / 2)
    count: Floats = n * np.sin(angle) ** 2
    return count


def _signed_root(
    y: Floats, n: Floats, mean: Floats, rest: Floats, odds: Floats, flat: Floats
) -> tuple[Floats, Floats, Floats]:
    """Returns the deviance of the real count y from each mean, its root w with the sign of y - mean, and dw/dy."""
    deviance = np.maximum(rel_entr(y, mean) + rel_entr(n - y, rest), 0)
    w = np.copysign(np.sqrt(2 * deviance), y - mean)
    near = np.abs(w) < 1e-2
    rate = np.log(y / (n - y) * odds) / np.where(near, 1, w)
    return deviance, w, np.where(near, flat, rate)
