"""What RANTEXT guarantees: the chance that its random list is the whole vocabulary (theorem 22)."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import erfcx

from mechanisms.rivals.rantext import RanText

_ROUNDING = 1e-9
_SHARES = 12
_RESOLUTION = 2.0**-51
"""What drawing a coordinate from 2^52 values changes its chances by, at most."""


def pure_epsilon(mechanism: RanText) -> float:
    """Returns a pure epsilon (nats) of one token: ln(words) + epsilon / 2 - ln P[list = vocabulary].

    mechanism: RanText. Infinite where no bound on that probability is above 0.
    """
    farthest = mechanism.points.diameter_bound * (1 + _ROUNDING) + mechanism.points.distance_error
    log_chance = log_whole_list_chance(mechanism.scales, farthest)
    value = math.log(mechanism.words) + mechanism.spec.epsilon / 2 - log_chance
    return float(value * (1 + _ROUNDING) + 2.0**-30)


def log_whole_list_chance(scales: ArrayLike, farthest: float) -> float:
    """Returns a lower bound on ln P[|Laplace vector| > farthest], the vector drawn as RanText draws it.

    The few widest coordinates each exceed their share t b_j / |b| of a length t, with probability e^(-t / |b|), while
    the norm of the others exceeds the rest of the distance (see _exceeds). The best of some numbers and lengths.
    """
    widths = np.sort(np.asarray(scales, dtype=np.float64))[::-1]
    widths = widths[widths > 0]
    best = -math.inf
    for count in (0, *(1 << step for step in range(len(widths).bit_length()))):
        norm, others = float(np.linalg.norm(widths[:count])), widths[count:]
        for share in np.linspace(1 / _SHARES, 1, _SHARES) if count else (0.0,):
            alone = math.exp(-farthest * math.sqrt(share) / norm) - _RESOLUTION if count else 1.0
            rest = 1.0 if share == 1 else _exceeds(others, farthest * math.sqrt(1 - share))
            if alone > 0 and rest > 0:
                best = max(best, count * math.log(alone) + math.log(rest))
    return best - _ROUNDING


def _exceeds(scales: NDArray[np.float64], distance: float) -> float:
    """Returns Chernoff's lower bound on P[|Laplace vector| > distance]; 0 where it says nothing.

    E[e^(-s y^2)] = sqrt(pi) a erfcx(a) for a Laplace coordinate y of scale b, a = 1 / (2 b sqrt(s)).
    """
    if not scales.size:
        return 0.0

    def log_smaller(log_rate: float) -> float:
        a = np.exp(-log_rate / 2) / (2 * scales)
        means = np.minimum(math.sqrt(math.pi) * a * erfcx(a) + _RESOLUTION, 1.0)
        return float(np.log(means).sum() + math.exp(log_rate) * distance**2)

    middle = -2 * math.log(distance)
    found = minimize_scalar(log_smaller, bounds=(middle - 10, middle + 20), method="bounded")
    return max(0.0, -math.expm1(min(0.0, float(found.fun))))
