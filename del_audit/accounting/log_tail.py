"""Logarithms of binomial tails for up to 10^10 trials: vectorised, no underflow, no cancellation."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._density import Extended, Floats, Wide, log_density, relative_integral
from mechanisms.errors import UserError

MAX_TRIALS = 10**10
"""The accountant's range: counts and trials stay exact in a float, and the error bound was tested up to here."""

BASE_ERROR = 6e-15
_DYADIC = 134217729.0  # 2^27 + 1, Dekker's splitting constant


def log_upper_tail(x: ArrayLike, trials: ArrayLike, p: ArrayLike, p_low: ArrayLike = 0.0) -> Floats:
    """Returns log P[X > x] in nats for X of Bin(trials, p + p_low): float array of the broadcast shape.

    x: whole numbers, any sign. trials: whole numbers, 1 to 10^10. p: in (0, 1); p_low carries what of the
    probability lies below the resolution of p. Raises UserError outside these ranges. Theorem 2.

    >>> float(log_upper_tail(0, 1, 0.25))  # log(1/4)
    -1.3862943611198906
    """
    _check(x, trials, p)
    return tails(x, trials, p, p_low)[0].astype(np.float64)


def log_lower_tail(x: ArrayLike, trials: ArrayLike, p: ArrayLike, p_low: ArrayLike = 0.0) -> Floats:
    """Returns log P[X <= x] in nats; arguments and errors as of log_upper_tail."""
    _check(x, trials, p)
    return tails(x, trials, p, p_low)[1].astype(np.float64)


def log_tail_error(log_tail: ArrayLike, rounded: bool = True) -> Floats:
    """Returns a bound on |computed - true| for logarithms of tails, in nats; so also on a tail's relative error.

    Three parts: the quadrature and the Stirling correction (6e-15, several times the worst of the tested grid), the
    deviance (8 units of the platform's widest float a nat), and, where `rounded`, the rounding of the returned
    logarithm to a double. Beyond |log tail| of about 9,000 that last part alone exceeds 1e-12: no double can hold
    the logarithm any better. `tails` returns the wide value.
    """
    size = np.abs(np.asarray(log_tail, dtype=np.float64))
    size = np.where(np.isinf(size), 0.0, size)
    units = 8 * float(np.finfo(Extended).eps) + (float(np.finfo(np.float64).eps) / 2 if rounded else 0.0)
    return np.asarray(BASE_ERROR + units * size)


def tails(x: ArrayLike, trials: ArrayLike, p: ArrayLike, p_low: ArrayLike = 0.0) -> tuple[Wide, Wide]:
    """Returns (log P[X > x], log P[X <= x]) as arrays of the platform's widest float; arguments are not checked."""
    x, n, wide_p, q, excess, outside = _prepare(x, trials, p, p_low)
    upper_is_small = excess >= -0.5
    count = np.where(upper_is_small, x, n - 1 - x)
    near, far = np.where(upper_is_small, wide_p, q), np.where(upper_is_small, q, wide_p)
    above = np.where(upper_is_small, excess, -1 - excess)
    small = log_density(count, n, near, far, above) + np.log(relative_integral(count, n, near, far, above, near))
    large = np.log1p(-np.exp(small))
    upper, lower = np.where(upper_is_small, small, large), np.where(upper_is_small, large, small)
    if outside.any():
        upper = np.where(outside, np.where(outside > 0, -np.inf, 0), upper)
        lower = np.where(outside, np.where(outside > 0, 0, -np.inf), lower)
    return upper, lower


def log_tail_difference(x: ArrayLike, trials: ArrayLike, p: ArrayLike, p_low: ArrayLike, span: ArrayLike) -> Wide:
    """Returns log(P[X > x] - Q[X > x]) for P = Bin(trials, p + p_low), Q = Bin(trials, p + p_low - span), span > 0.

    The integral of the density over the span: exact where the two tails are close and their difference would cancel.
    Meant for tails within a factor e of each other; arguments as of `tails`, not checked.
    """
    x, n, wide_p, q, excess, outside = _prepare(x, trials, p, p_low)
    width = np.broadcast_to(np.asarray(span, dtype=Extended), x.shape)
    integral = relative_integral(x, n, wide_p, q, excess, width)
    return np.where(outside, -np.inf, log_density(x, n, wide_p, q, excess) + np.log(integral))


def _prepare(
    x: ArrayLike, trials: ArrayLike, p: ArrayLike, p_low: ArrayLike
) -> tuple[Wide, Wide, Wide, Wide, Wide, Wide]:
    """Returns x held within [0, n), n, p, q, x - n p, and -1, 0 or +1 for an x that was below, inside or above."""
    arrays = (np.asarray(value, dtype=np.float64) for value in (x, trials, p, p_low))
    count, n, high, low = np.broadcast_arrays(*arrays)
    held = np.minimum(np.maximum(count, 0), n - 1)
    excess = excess_of_mean(held.astype(Extended), n, high, low)
    wide_p = high.astype(Extended) + low
    q = (1 - high.astype(Extended)) - low
    return held.astype(Extended), n.astype(Extended), wide_p, q, excess, np.sign(count - held).astype(Extended)


def excess_of_mean(x: Any, n: Any, p: Any, p_low: Any) -> Any:
    """Returns x - n (p + p_low) for a wide x and doubles, numbers or arrays, without rounding n p (Dekker)."""
    product, n_head, p_head = n * p, _head(n), _head(p)
    n_rest, p_rest = n - n_head, p - p_head
    lost = n_rest * p_rest - (((product - n_head * p_head) - n_rest * p_head) - n_head * p_rest)
    return ((x - product) - lost) - n * p_low


def _head(value: Any) -> Any:
    """Returns the upper 26 bits of each value, so that products of heads and rests are exact (Dekker)."""
    scaled = _DYADIC * value
    return scaled - (scaled - value)


def _check(x: ArrayLike, trials: ArrayLike, p: ArrayLike) -> None:
    """Raises UserError for the first value outside its range."""
    ranges = (
        ("x to be a whole number", "x", x, lambda v: v == np.floor(v)),
        (f"trials to be a whole number in 1..{MAX_TRIALS}", "trials", trials, _is_trials),
        ("p in (0, 1)", "p", p, lambda v: (v > 0) & (v < 1)),
    )
    for wish, name, value, holds in ranges:
        array = np.asarray(value, dtype=np.float64)
        bad = ~(holds(array) & np.isfinite(array))
        if bad.any():
            raise UserError(f"Expected {wish}, got {name}={array[bad].flat[0]:.17g}.")


def _is_trials(value: Floats) -> NDArray[np.bool_]:
    holds: NDArray[np.bool_] = (value >= 1) & (value <= MAX_TRIALS) & (value == np.floor(value))
    return holds
