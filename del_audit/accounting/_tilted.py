"""Bounds on the privacy curve of many pairs at once, from moments of the tilted loss: theorem 5, part b.

For theta > 0 let K be log E_P[exp(theta loss)] of a pair, and let the loss have standard deviation sigma, and third
absolute central moments of its independent trials that add up to rho, under P tilted by exp(theta loss). Then

    delta(epsilon) <= exp(K - theta epsilon) weight
    weight = min(peak, 1 / (sqrt(2 pi) theta (1 + theta) sigma) + 1.12 peak rho / sigma^3)

where peak is the largest exp(-theta z) (1 - exp(-z)) over z > 0. The second form replaces the tilted law by a normal
one; the Berry-Esseen theorem with Shevtsova's constant 0.56 pays for that.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from del_audit.accounting._density import Floats

_BERRY_ESSEEN = 0.56
_LARGEST_TILT = 150.0


class Moments(NamedTuple):
    """K, sigma^2 and rho of pairs: float arrays (pairs,)."""

    log_mgf: Floats
    variance: Floats
    third: Floats


def moments(p: Floats, q: Floats, copies: int, theta: float) -> Moments:
    """Returns the moments of pairs with `copies` trials of p against q for each coordinate: p, q (pairs, dim)."""
    success, failure = np.log(p) - np.log(q), np.log(1 - p) - np.log(1 - q)
    log_success, log_failure = np.log(p) + theta * success, np.log(1 - p) + theta * failure
    log_mgf = np.logaddexp(log_success, log_failure)
    spread = np.exp(log_success + log_failure - 2 * log_mgf)  # of a tilted trial of step 1
    step = np.abs(success - failure)
    variance = spread * step**2
    third = variance * step * (1 - 2 * spread)
    log_mgf = log_mgf + rounding(theta)
    return Moments(*(copies * each.sum(axis=-1) for each in (log_mgf, variance, third)))


def trial_log_mgf(p: Floats, q: Floats, theta: float) -> Floats:
    """Returns log E[exp(theta loss)] of one trial of p against q: it rises as the two move apart."""
    return np.logaddexp(
        (1 + theta) * np.log(p) - theta * np.log(q), (1 + theta) * np.log(1 - p) - theta * np.log(1 - q)
    )


def renyi_epsilons(p: Floats, q: Floats, copies: int, delta: float) -> Floats:
    """Returns the epsilon (nats) at delta that follows from the best of 24 Renyi divergences: float array (pairs,)."""
    best = np.full(len(p), np.inf)
    for theta in np.geomspace(0.02, _LARGEST_TILT, 24):
        log_chernoff = copies * (trial_log_mgf(p, q, theta) + rounding(theta)).sum(axis=1) + _log_peak(theta)
        best = np.minimum(best, (log_chernoff - math.log(delta)) / theta)
    bound: Floats = np.maximum(0, best) * (1 + 1e-12)
    return bound


def rounding(theta: float) -> float:
    """Returns a bound on the error of trial_log_mgf: chances are at least 2^-32, so logarithms at most 23."""
    return 2e-14 * (1 + 2 * theta)


@dataclass(frozen=True, slots=True)
class Tilt:
    """The bound at one theta and delta."""

    theta: float
    log_delta: float

    @classmethod
    def of_pair(cls, p: Floats, q: Floats, copies: int, delta: float) -> "Tilt":
        """Returns about the best tilt for one pair, p and q of shape (dim,)."""
        from scipy.optimize import minimize_scalar  # slow to import, and little else needs it

        log_delta = math.log(delta)

        def height(log_theta: float) -> float:
            theta = math.exp(log_theta)
            return (copies * float(trial_log_mgf(p, q, theta).sum()) + _log_peak(theta) - log_delta) / theta

        found = minimize_scalar(height, bounds=(-16.0, math.log(_LARGEST_TILT)), method="bounded")
        return cls(math.exp(float(found.x)), log_delta)

    def epsilon(self, pairs: Moments) -> Floats:
        """Returns an epsilon (nats) that each pair has at delta, or less: float array (pairs,)."""
        log_weight = self._log_weight(pairs.variance, pairs.third)
        bound: Floats = np.maximum(0, (pairs.log_mgf + log_weight - self.log_delta) / self.theta) * (1 + 1e-12)
        return bound

    def harmless(self, epsilon: float, logits: tuple[float, float]) -> float:
        """Returns a K up to which no pair has a larger epsilon at delta than this one.

        logits: the least and the largest log-odds of any trial. Of one trial, K = theta (1 + theta) K''(s) / 2 for some
        s in [-1, theta], since K vanishes at -1 and 0; K'' is step^2 times the spread, which is at most 1/4. So sigma^2
        is at least 8 spread / (theta (1 + theta)) times K, with the least spread of any pair at theta.
        """
        theta, (low, high) = self.theta, logits
        by_peak = self.log_delta + theta * epsilon - _log_peak(theta)
        if by_peak <= 0:
            return by_peak
        extreme = max((1 + theta) * high - theta * low, theta * high - (1 + theta) * low)
        spread = math.exp(-extreme - 2 * math.log1p(math.exp(-extreme)))
        variance = 8 * spread / (theta * (1 + theta)) * by_peak
        third = variance * (high - low) * (1 - 2 * spread)
        weight = float(self._log_weight(np.array(variance), np.array(third)))
        return self.log_delta + theta * epsilon - weight

    def epsilon_of(self, log_mgf: float, logits: tuple[float, float]) -> float:
        """Returns an epsilon at delta that no pair exceeds whose K is at most log_mgf."""
        high = max(0.0, (log_mgf + _log_peak(self.theta) - self.log_delta) / self.theta) * (1 + 1e-12)
        return _least(lambda epsilon: self.harmless(epsilon, logits) >= log_mgf, high)

    def _log_weight(self, variance: Floats, third: Floats) -> Floats:
        theta, peak = self.theta, math.exp(_log_peak(self.theta))
        with np.errstate(divide="ignore", invalid="ignore"):
            normal = 1 / (math.sqrt(2 * math.pi) * theta * (1 + theta)) + 2 * _BERRY_ESSEEN * peak * third / variance
            log_weight: Floats = np.log(np.fmin(peak, normal / np.sqrt(variance)))  # no variance: the peak
        return log_weight


def _least(holds: Callable[[float], bool], high: float) -> float:
    """Returns a number in [0, high] that holds, next to one that does not, or 0; high holds."""
    low = 0.0
    if holds(low):
        return low
    while low < (middle := (low + high) / 2) < high and high - low > 1e-9 * high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _log_peak(theta: float) -> float:
    """Returns log of the largest exp(-theta z) (1 - exp(-z)) over z > 0."""
    return theta * math.log(theta) - (1 + theta) * math.log1p(theta)
