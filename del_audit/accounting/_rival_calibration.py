"""The parameters of each rival that meet a token epsilon, on the safe side of it."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting import _rival_figures as rules
from del_audit.accounting._word_rows import within_groups, worst_words
from mechanisms.errors import UserError
from mechanisms.rivals import (
    CusText,
    CusTextSpec,
    Exponential,
    ExponentialSpec,
    GaussianSpec,
    MetricSpec,
    Points,
    RandomizedResponseSpec,
    RanText,
    RanTextSpec,
    SanText,
    SanTextSpec,
)
from mechanisms.rivals.randomized_response import WIDE

_PASSES = 8
_NEAR = 1e-3


def randomized_response(epsilon: float, delta: float, words: int) -> RandomizedResponseSpec:
    """Returns the least weight w with (kept - 2^64 delta) / w <= e^epsilon, where kept = 2^64 - (words - 1) w."""
    odds = Fraction(math.exp(min(epsilon, 60.0)) * (1 - 2**-30))
    weight = max(1, math.ceil(WIDE * (1 - Fraction(delta)) / (odds + words - 1)))
    if weight > WIDE // words:
        weight = WIDE // words
    spec = RandomizedResponseSpec(words, weight)
    achieved = rules.randomized_response(spec, delta, 1).epsilon.upper
    if achieved > epsilon:
        raise UserError(f"Expected epsilon >= {achieved!r} for {words} words, got epsilon={epsilon}.")
    return spec


def gaussian(epsilon: float, delta: float, bits: int, dim: int, clip: float) -> GaussianSpec:
    """Returns the least sigma, to four digits, that is found to meet the epsilon."""

    def made(log_scale: float) -> GaussianSpec:
        return GaussianSpec.of(bits, dim, clip, clip * math.exp(log_scale))

    return made(_least(lambda x: rules.gaussian(made(x), delta, 1).epsilon.upper, epsilon, -5.0, 12.0))


def metric(epsilon: float, delta: float, bits: int, dim: int, radius: float) -> MetricSpec:
    """Returns the largest eta found to meet the epsilon for any vectors of that norm, from where it is pure on."""

    def achieved(eta: float) -> float:
        return rules.metric(MetricSpec.of(bits, dim, radius, eta), None, delta, 1).epsilon.upper

    return MetricSpec.of(bits, dim, radius, _largest(achieved, epsilon, epsilon / (2 * radius)))


def exponential(
    epsilon: float, delta: float, points: Points | ArrayLike, scale: float | None = None, exact: bool = False
) -> ExponentialSpec:
    """Returns the parameter that is proved to meet the epsilon, or with exact the largest found over these points."""
    public = Points.of(points)
    base = ExponentialSpec.over(public, epsilon / (1 + 1e-9), scale)
    if not exact:
        return base

    def achieved(parameter: float) -> float:
        mechanism = Exponential(replace(base, epsilon=parameter), public)
        return _token_epsilon(worst_words(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=_largest(achieved, epsilon, epsilon / (1 + 1e-9)))


def santext(epsilon: float, delta: float, points: Points | ArrayLike) -> SanTextSpec:
    """Returns SanText's parameter, the largest found over these points, every word being sensitive."""
    public = Points.of(points)
    base = SanTextSpec.over(public, epsilon)

    def achieved(parameter: float) -> float:
        mechanism = SanText(replace(base, epsilon=parameter), public)
        return _token_epsilon(worst_words(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=_largest(achieved, epsilon, epsilon / public.diameter_bound))


def custext(epsilon: float, delta: float, points: Points | ArrayLike, groups: NDArray[np.int64]) -> CusTextSpec:
    """Returns CusText's parameter, the largest found that meets the epsilon between words of one group."""
    public = Points.of(points)
    base = CusTextSpec.over(public, groups, epsilon / (1 + 1e-9))

    def achieved(parameter: float) -> float:
        mechanism = CusText(replace(base, epsilon=parameter), public, groups)
        return _token_epsilon(within_groups(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=_largest(achieved, epsilon, base.epsilon))


def rantext(epsilon: float, delta: float, points: Points | ArrayLike, rate: float | None = None) -> RanTextSpec:
    """Returns RANTEXT's parameter, to four digits, that meets the epsilon by what is proved of it."""
    public = Points.of(points)

    def made(log_scale: float) -> RanTextSpec:
        return RanTextSpec.over(public, math.exp(-log_scale), rate)

    def achieved(log_scale: float) -> float:
        spec = made(log_scale)
        return rules.rantext(spec, RanText(spec, public), delta, 1).epsilon.upper

    return made(_least(achieved, epsilon, -7.0, 7.0))


def _token_epsilon(pure: float, delta: float) -> float:
    """Returns epsilon at delta of whatever is pure epsilon-private."""
    return rules.of_pure(rules.at_most(pure), delta, 1, "").epsilon.upper


def _least(achieved: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Returns about the least x in [low, high] that is found to meet the target; achieved falls with x.

    Raises UserError where not even the highest x meets it.
    """
    if achieved(low) <= target:
        return low
    if (best := achieved(high)) > target:
        raise UserError(f"Expected epsilon >= {best!r}, the least that this mechanism reaches, got epsilon={target}.")
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if achieved(middle) <= target else (middle, high)
    return high


def _largest(achieved: Callable[[float], float], target: float, start: float) -> float:
    """Returns about the largest parameter that is found to meet the target, from one expected to: at most 8 passes.

    Raises UserError where none is found.
    """
    low, high, parameter, fell_short = 0.0, math.inf, start, 0.0
    for _ in range(_PASSES):
        reached = achieved(parameter)
        if reached <= target:
            low = parameter
            if reached >= target * (1 - _NEAR) or reached <= fell_short:
                break
            fell_short = reached
        else:
            high = parameter
        following = parameter * target / max(reached, 1e-9) * (1 - _NEAR / 4)
        parameter = following if low < following < high else (low + min(high, 2 * parameter)) / 2
    if not low:
        raise UserError(f"Expected an epsilon that a parameter is found for in {_PASSES} passes, got epsilon={target}.")
    return low


CALIBRATIONS: Final[dict[str, Callable[..., Any]]] = {
    "randomized response": randomized_response,
    "gaussian": gaussian,
    "metric": metric,
    "exponential": exponential,
    "santext": santext,
    "custext": custext,
    "rantext": rantext,
}
