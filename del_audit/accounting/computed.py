"""The figures of one pair of binomials as Bounds, computed in floats with their error bounds: fast, and not proved."""

import math
from dataclasses import dataclass

from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound

_RELATIVE_ERROR = 1e-12  # of beta: tails are good to 1e-14, and mixing two neighbours adds no more than that again
_ROUNDING = 2.0**-50


@dataclass(frozen=True, slots=True)
class ComputedTradeOff:
    """One pair of laws, as ProvedTradeOff has it but in microseconds. curve: of scalars. Errors as of TradeOff."""

    curve: TradeOff

    def delta(self, epsilon: float) -> Bound:
        """Returns the hockey-stick divergence at epsilon (nats, >= 0)."""
        ends = self.curve.enclose_log_delta(epsilon)
        if math.isinf(ends.upper):
            return Bound(0.0, 0.0, 0.0)
        lower, estimate, upper = (math.exp(end) for end in ends)
        return Bound(max(0.0, math.nextafter(lower, -1)), estimate, min(1.0, math.nextafter(upper, 2)))

    def epsilon(self, delta: float) -> Bound:
        """Returns the smallest epsilon >= 0 (nats) with delta(epsilon) <= delta, for delta in (0, 1)."""
        ends = self.curve.enclose_epsilon(delta)
        return Bound(float(ends.lower), float(ends.estimate), float(ends.upper))

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any distinguisher, in [0, 1]."""
        return self.delta(0.0)

    @property
    def pure_epsilon(self) -> Bound:
        """The epsilon (nats) that holds with delta = 0."""
        value = float(self.curve.pure_epsilon)
        return Bound(value * (1 - _ROUNDING), value, value * (1 + _ROUNDING))

    def power(self, alpha: float) -> Bound:
        """Returns the success of the best test at type I error alpha, in [alpha, 1]."""
        missed = float(self.curve.beta(alpha))
        lower, estimate, upper = (1 - missed * (1 + sign * _RELATIVE_ERROR) - sign * 1e-15 for sign in (1, 0, -1))
        return Bound(max(alpha, lower), min(1.0, max(alpha, estimate)), min(1.0, max(alpha, upper)))
