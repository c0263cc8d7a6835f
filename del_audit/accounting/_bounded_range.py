"""Draws whose privacy loss has a bounded range: the curve of one, and what many cost, each made after those before it.

The losses ln(P/Q) of the outcomes of one draw lie in an interval of eta nats, which may be another one for each pair of
laws and after each earlier outcome (Dong, Durfee and Rogers, arXiv 1909.13830). docs/theory.md, theorem 25.
"""

import math
from dataclasses import dataclass

_LOG_THETAS = (-16.0, 16.0)
_ROUNDING = 1e-13
"""Of log_mgf, for each 1 + theta: its logarithms are below 40, at a few units of rounding each."""


@dataclass(frozen=True, slots=True)
class BoundedRange:
    """`times` draws of range at most eta (nats, above 0)."""

    eta: float
    times: int = 1

    def epsilon(self, delta: float) -> float:
        """Returns the epsilon (nats) of all draws at delta, in (0, 1)."""
        if self.times > 1:
            return self._renyi_epsilon(delta)
        return max(0.0, self.eta + 2 * math.log1p(-math.sqrt(delta * -math.expm1(-self.eta))))

    @property
    def total_variation(self) -> float:
        """The best advantage of any distinguisher, by the Bhattacharyya coefficient: tanh(eta / 4) for one draw."""
        quarter = self.eta / 4  # log cosh x = x + log1p(e^-2x) - log 2
        log_cosh = quarter + math.log1p(math.exp(-2 * quarter)) - math.log(2)
        return math.sqrt(-math.expm1(-2 * self.times * log_cosh))

    def log_mgf(self, theta: float) -> float:
        """Returns log of the largest E_P[exp(theta loss)] of one draw, theta > 0; two losses eta apart attain it.

        It is x^theta (E - E^-theta) / ((theta + 1) (E - 1)), E = e^eta, x = theta / (theta + 1) (E - E^-theta) /
        (1 - E^-theta), here with the factors of E taken out.
        """
        all_but = math.log(-math.expm1(-(1 + theta) * self.eta))
        log_x = self.eta - math.log1p(1 / theta) + all_but - math.log(-math.expm1(-theta * self.eta))
        return theta * log_x + all_but - math.log1p(theta) - math.log(-math.expm1(-self.eta))

    def _renyi_epsilon(self, delta: float) -> float:
        """Returns the epsilon at delta by the largest Renyi divergences, which add up (theorem 15)."""
        from scipy.optimize import minimize_scalar  # a quarter of a second, which other figures do not need

        def at(log_theta: float) -> float:
            theta = math.exp(log_theta)
            log_peak = theta * log_theta - (1 + theta) * math.log1p(theta)
            log_all = self.times * (self.log_mgf(theta) + _ROUNDING * (1 + theta))
            return (log_all + log_peak - math.log(delta)) / theta

        found = minimize_scalar(at, bounds=_LOG_THETAS, method="bounded")
        return max(0.0, at(float(found.x)) * (1 + 1e-12))
