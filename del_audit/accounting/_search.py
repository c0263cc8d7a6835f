"""Where on the integers to look: a first guess for the step of the privacy curve, and a bracketing search."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtri_exp, rel_entr

from del_audit.accounting._density import Floats

_ROOT_HALF = float(np.sqrt(0.5))


def guess_step(log_delta: Floats, n: Floats, p: Floats, p_null: Floats, slope: Floats, first: Floats) -> Floats:
    """Returns about the count at which the hockey-stick divergence of Bin(n, p) from Bin(n, p_null) is exp(log_delta).

    Normal tails of the signed root of the deviance, solved by Newton; within a count or two of the truth wherever it
    matters. Only the time that the exact solution takes depends on it. `slope`: the log-likelihood ratio of one count.
    """
    y = _quantile(log_delta, n, p)
    for _ in range(12):
        y = np.clip(y, first + 0.5, n - 1e-9 * n)
        deviance, w = _signed_root(y, n, p)
        _, w_null = _signed_root(y, n, p_null)
        tail, tail_null = erfcx(np.maximum(w, -30.0) * _ROOT_HALF), erfcx(np.maximum(w_null, -29.9) * _ROOT_HALF)
        gap = np.maximum(tail - tail_null, 1e-15 * tail)
        step = (np.log(0.5 * gap) - deviance - log_delta) * gap / (slope * tail_null)
        y = y + np.clip(step, -n, n)
        if (np.abs(step) < 0.3).all():
            break
    guess: Floats = np.clip(np.floor(y), first, n - 1)
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
    angle = np.clip(np.arcsin(np.sqrt(p)) + 0.5 * z / np.sqrt(n), 0, np.pi / 2)
    count: Floats = n * np.sin(angle) ** 2
    return count


def _signed_root(y: Floats, n: Floats, p: Floats) -> tuple[Floats, Floats]:
    """Returns the deviance of the real count y, and its root with the sign of y - n p."""
    deviance = np.maximum(rel_entr(y, n * p) + rel_entr(n - y, n * (1 - p)), 0)
    return deviance, np.copysign(np.sqrt(2 * deviance), y - n * p)
