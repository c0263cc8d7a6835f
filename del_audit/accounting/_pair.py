"""The arithmetic of a pair of binomial laws at one count: tails of both, their difference, and the errors of each."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._density import Extended, Floats, Wide
from del_audit.accounting.log_tail import log_tail_difference, log_tail_error, tails

WIDE_UNIT = float(np.finfo(Extended).eps)
CLOSE = 1.0  # log-ratio of two tails below which their difference is integrated instead of subtracted


class Gain(NamedTuple):
    """What a test at one count gains: delta(epsilon) = exp(gain) - w exp(log_null), w = expm1(epsilon) or exp(epsilon).

    Where `close`, gain is log(P - Q) and w = expm1(epsilon); else gain is log P and w = exp(epsilon), for the upper
    tails P, Q of the two laws. `error` and `error_null` bound the errors of both logarithms.
    """

    gain: Wide
    log_null: Wide
    close: NDArray[np.bool_]
    error: Wide
    error_null: Wide


class Pair(NamedTuple):
    """P = Bin(n, p + p_low) against Q = Bin(n, r + r_low), p - r = span >= 0; `slope` = log-odds of P less Q's."""

    n: Floats
    p: Floats
    p_low: Floats
    r: Floats
    r_low: Floats
    span: Wide
    slope: Wide
    shift: Wide

    @classmethod
    def of_offsets(
        cls, trials: ArrayLike, offset: ArrayLike, offset_low: ArrayLike, null: ArrayLike, null_low: ArrayLike
    ) -> Self:
        """Returns the pair of Bin(trials, 1/2 + offset + offset_low) and Bin(trials, 1/2 + null + null_low)."""
        n = numbers(trials)
        p, p_low, wide = _probability(offset, offset_low)
        r, r_low, wide_null = _probability(null, null_low)
        span = wide - wide_null
        slope = 2 * (np.arctanh(2 * wide) - np.arctanh(2 * wide_null))
        shift: Wide = n.astype(Extended) * np.log1p(-span / (0.5 - wide_null))
        return cls(n, p, p_low, r, r_low, span, slope, shift)

    def select(self, take: Callable[[NDArray[Any]], NDArray[Any]]) -> "Pair":
        """Returns the pair with `take` applied to each field."""
        fields: tuple[NDArray[Any], ...] = self
        return Pair(*(take(field) for field in fields))

    def step(self, epsilon: Wide) -> Floats:
        """Returns the largest count whose log-likelihood ratio is at most epsilon, held within [-1, n]."""
        slope = np.where(self.slope > 0, self.slope, 1)
        count: Floats = np.minimum(np.maximum(np.floor((epsilon - self.shift) / slope), -1), self.n).astype(np.float64)
        return count

    def gain_at(self, x: Floats) -> Gain:
        """Returns what the test [X > x] gains."""
        p, p_low, r, r_low, _ = np.broadcast_arrays(self.p, self.p_low, self.r, self.r_low, x)
        both, _ = tails(x, self.n, np.array([p, r]), np.array([p_low, r_low]))
        (log_p, log_q), (error_p, error_q) = both, log_tail_error(both.astype(np.float64), rounded=False)
        close = log_p - log_q < CLOSE
        gain = log_p
        if close.any():
            difference = log_tail_difference(x, self.n, self.p, self.p_low, self.span)
            gain = np.where(close, difference, log_p)
            error_p = np.where(close, log_tail_error(difference.astype(np.float64), rounded=False), error_p)
        return Gain(gain, log_q, close, error_p.astype(Extended), error_q.astype(Extended))

    def epsilon_at(self, x: Floats, log_delta: Wide) -> tuple[Wide, Wide, NDArray[np.bool_]]:
        """Returns log((P[X > x] - delta) / Q[X > x]), a bound on its error, and where it exists."""
        gain, log_q, close, error, error_q = self.gain_at(x)
        left = -np.expm1(np.minimum(log_delta - gain, 0))
        ratio = gain + np.log(left) - log_q
        relative = (error + (1 - left) * WIDE_UNIT * (2 - log_delta)) / left + error_q
        value = np.where(close, np.log1p(np.exp(np.minimum(ratio, 10))), ratio)
        scale = np.where(close, np.exp(np.minimum(ratio, 10)), 1)
        return value, scale * relative + 4 * WIDE_UNIT * np.abs(value), (left > 0) & np.isfinite(ratio)


def numbers(value: ArrayLike) -> Any:
    """Returns the value as doubles: an array, or a number of NumPy's, many times as fast, where it has no axes."""
    return np.asarray(value, dtype=np.float64)[()]


def _probability(offset: ArrayLike, offset_low: ArrayLike) -> tuple[Floats, Floats, Wide]:
    """Returns 1/2 + offset + offset_low as a double and its remainder, and the offset in wide form."""
    high, low = numbers(offset), numbers(offset_low)
    p = 0.5 + high
    return p, (high - (p - 0.5)) + low, high.astype(Extended) + low
