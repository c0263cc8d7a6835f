"""Theorem 4.2 of the paper (arXiv 2602.11513): its mu and gamma, and the (epsilon, delta) they really certify."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from scipy.special import erfcx, log_ndtr, ndtr, ndtri

from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

_ROOT_HALF = math.sqrt(0.5)


@dataclass(frozen=True, slots=True)
class GaussianLimit:
    """The claim f(alpha) >= G_mu(alpha + gamma) - gamma on the trade-off function f of a release. Theorem 13.

    mu: of the Gaussian trade-off G_mu(alpha) = Phi(Phi^-1(1 - alpha) - mu). gamma: the Berry-Esseen slack, which
    the theorem adds on both axes.

    >>> limit = GaussianLimit.of(QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=2), tokens=1)
    >>> limit.epsilon_certified(1e-5) is None
    True
    """

    mu: float
    gamma: float

    @classmethod
    def of(cls, spec: QuantizerSpec, tokens: int = 1, sends: int = 1) -> Self:
        """Returns the limit for `tokens` tokens that change together, each sent `sends` times with fresh noise.

        The paper's formulas with d -> tokens sends d.
        """
        rho, copies = spec.clip / spec.scale, tokens * sends
        trials = copies * spec.dim * spec.trials
        gamma = 0.56 * (1 + rho * rho) / math.sqrt((1 - rho) * (1 + rho) * trials)
        return cls(mu=spec.mu * math.sqrt(copies), gamma=gamma)

    @property
    def smallest_certified_delta(self) -> float:
        """The delta below which the theorem certifies no epsilon: 1 - f's lower bound at alpha = 0; 1 where it is 0."""
        if self.gamma >= 1:
            return 1.0
        return min(1.0, self.gamma + _normal(self.mu - _quantile(self.gamma)))

    def delta_certified(self, epsilon: float) -> float:
        """Returns the least delta at epsilon (nats, >= 0) that follows from the theorem, at most 1.

        The largest over a in [gamma, 1] of 1 - max(0, G(a) - gamma) - e^epsilon (a - gamma). The tangent point of
        slope -e^epsilon is the best a, unless it lies below gamma: then a = gamma, whatever epsilon.
        """
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon}.")
        floor = self.smallest_certified_delta
        if floor >= 1 or self.mu == 0:
            return min(1.0, floor if self.mu else 2 * self.gamma)
        z = epsilon / self.mu + self.mu / 2
        excess = _normal(-z) - self.gamma
        if excess <= 0:
            return floor
        return min(1.0, self.gamma + _normal(self.mu - z) - math.exp(epsilon) * excess)

    def epsilon_certified(self, delta: float) -> float | None:
        """Returns the least epsilon (nats) that the theorem certifies at delta, from its safe side; None if vacuous."""
        _check_delta(delta)
        if delta < self.smallest_certified_delta or self.smallest_certified_delta >= 1:
            return None
        if self.delta_certified(0.0) <= delta:
            return 0.0
        tangent_ends = self.mu * _quantile(self.gamma) - self.mu**2 / 2  # from here on delta_certified is constant
        return _smallest(lambda epsilon: self.delta_certified(epsilon) <= delta, max(tangent_ends, 0.0) * (1 + 1e-12))

    def epsilon_ignoring_gamma(self, delta: float) -> float:
        """Returns epsilon (nats) of plain mu-GDP at delta: asymptotic, not a valid bound at any finite size."""
        _check_delta(delta)
        if self.mu == 0:
            return 0.0
        target = math.log(delta)
        ceiling = self.mu**2 / 2 + self.mu * math.sqrt(-2 * target)
        return _smallest(lambda epsilon: _log_gaussian_delta(epsilon, self.mu) <= target, ceiling)


def _log_gaussian_delta(epsilon: float, mu: float) -> float:
    """Returns log(Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu)); no overflow for any size."""
    w = epsilon / mu - mu / 2
    if w > 0:
        gap = float(erfcx(w * _ROOT_HALF)) - float(erfcx((w + mu) * _ROOT_HALF))
        return math.log(gap / 2) - w * w / 2 if gap > 0 else -math.inf
    gain, loss = float(log_ndtr(-w)), epsilon + float(log_ndtr(-w - mu))
    return gain + math.log(-math.expm1(loss - gain)) if loss < gain else -math.inf


def _smallest(holds: Callable[[float], bool], ceiling: float) -> float:
    """Returns the smallest float in [0, ceiling] from which on `holds` is true, by bisection down to neighbours."""
    low, high = 0.0, ceiling
    if holds(low):
        return low
    while low < (middle := (low + high) / 2) < high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _normal(z: float) -> float:
    return float(ndtr(z))


def _quantile(tail: float) -> float:
    """Returns z with P[Z > z] = tail."""
    return -float(ndtri(tail))


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
