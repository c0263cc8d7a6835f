"""What RANTEXT guarantees: the chance that its random list is the whole vocabulary (theorem 22)."""

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import erfcx

_ROUNDING = 1e-9
_RESOLUTION = 2.0**-51
"""What drawing a coordinate from 2^52 values changes its chances by, at most."""


def pure_epsilon(mechanism: Any) -> float:
    """Returns a pure epsilon (nats) of one token: ln(words) + epsilon / 2 - ln P[list = vocabulary].

    mechanism: RanText. Infinite where no bound on that probability is above 0.
    """
    farthest = mechanism.points.diameter_bound * (1 + _ROUNDING) + mechanism.points.distance_error
    chance = whole_list_chance(mechanism.scales, farthest)
    if chance <= 0:
        return math.inf
    value = math.log(mechanism.words) + mechanism.spec.epsilon / 2 - math.log(chance)
    return float(value * (1 + _ROUNDING) + 2.0**-30)


def whole_list_chance(scales: Any, farthest: float) -> float:
    """Returns a lower bound on P[|Laplace vector| > farthest], the vector drawn as RanText draws it.

    One coordinate alone exceeds the distance with probability e^(-farthest / scale). Where the norm is typically larger
    than the distance, Chernoff's bound on its being smaller is far better: E[e^(-s y^2)] = sqrt(pi) a erfcx(a) for a
    Laplace coordinate y of scale b, a = 1 / (2 b sqrt(s)).
    """
    scales = np.asarray(scales, dtype=np.float64)
    scales = scales[scales > 0]
    if not scales.size:
        return 0.0
    alone = math.exp(-farthest / float(scales.max())) - _RESOLUTION

    def log_smaller(log_rate: float) -> float:
        a = np.exp(-log_rate / 2) / (2 * scales)
        means = np.minimum(math.sqrt(math.pi) * a * erfcx(a) + _RESOLUTION, 1.0)
        return float(np.log(means).sum() + math.exp(log_rate) * farthest**2)

    middle = -2 * math.log(farthest)
    found = minimize_scalar(log_smaller, bounds=(middle - 10, middle + 20), method="bounded")
    return float(max(alone, -math.expm1(min(0.0, float(found.fun))) * (1 - _ROUNDING)))
