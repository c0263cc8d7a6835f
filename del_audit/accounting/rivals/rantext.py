"""RANTEXT: the chance that the random list is the whole vocabulary (theorem 22)."""

import math

from numpy.typing import ArrayLike

from del_audit.accounting._random_radius import pure_epsilon as rantext_pure_epsilon
from del_audit.accounting.rivals.figures import UNBOUNDED, Figures, at_most, of_pure
from del_audit.accounting.rivals.search import least
from mechanisms.rivals._points import Points
from mechanisms.rivals.rantext import RanText, RanTextSpec


def figures(spec: RanTextSpec, whole: RanText | None, delta: float, tokens: int) -> Figures:
    """Theorem 22: every word is released with at least the chance that the list is the whole vocabulary."""
    reason = (
        "The claimed epsilon holds only between words of one and the same list, which is random and made around the "
        "secret word; what holds is the chance that the list is the whole vocabulary (theorem 22)."
    )
    if whole is None:
        return Figures(UNBOUNDED, UNBOUNDED, at_most(1.0), f"{reason} It needs the public points.", spec.epsilon)
    return of_pure(at_most(rantext_pure_epsilon(whole)), delta, tokens, reason, spec.epsilon)


def calibrated(epsilon: float, delta: float, points: Points | ArrayLike, rate: float | None = None) -> RanTextSpec:
    """Returns RANTEXT's parameter, to four digits, that meets the epsilon by what is proved of it."""
    public = Points.of(points)

    def made(log_scale: float) -> RanTextSpec:
        return RanTextSpec.over(public, math.exp(-log_scale), rate)

    def achieved(log_scale: float) -> float:
        spec = made(log_scale)
        return figures(spec, RanText(spec, public), delta, 1).epsilon.upper

    return made(least(achieved, epsilon, -7.0, 7.0))
