"""SanText: all pairs of words (theorem 21); SanText+: words that are sent as they are (theorem 22)."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._word_rows import of_any_weights, worst_words
from del_audit.accounting.rivals.figures import UNBOUNDED, Figures, at_most, of_pure, of_rows
from del_audit.accounting.rivals.search import largest, token_epsilon
from del_audit.statistics.bound import Bound
from mechanisms.rivals._points import Points
from mechanisms.rivals.santext import SanText, SanTextSpec


def figures(spec: SanTextSpec, whole: SanText | None, delta: float, tokens: int) -> Figures:
    """Theorem 21 where every word is sensitive; theorem 22 for SanText+."""
    if whole is None:
        pure = of_any_weights(spec.words) if spec.p == 1 else math.inf
        reason = "Without the public points only the weights' least and largest value are known (theorem 21)."
        return of_pure(at_most(pure), delta, tokens, reason)
    if whole.sensitive.all():
        return of_rows(whole, worst_words(whole), delta, tokens, None)
    worst = worst_words(whole, whole.sensitive)
    within = of_rows(whole, worst, delta, tokens, None)
    lost = -math.expm1(tokens * math.log(spec.p)) if spec.p > 0 else 1.0
    reason = (
        f"A word that is not sensitive is sent as it is with probability {1 - spec.p:g}: no epsilon holds for a delta "
        f"below {lost:.6g} (theorem 22)."
    )
    epsilon = UNBOUNDED
    if delta >= lost * (1 + 1e-9):
        reached = worst_words(_OnSensitive(whole)).pure_epsilon.upper
        epsilon = at_most(tokens * (reached - math.log(spec.p) + 1e-6))
    variation = Bound(max(0.0, (1 - spec.p) * (1 - 1e-6)), 1.0, 1.0)
    text = "the same, the words that change being sensitive in both"
    return Figures(epsilon, UNBOUNDED, variation, reason, None, within.epsilon, text)


def calibrated(epsilon: float, delta: float, points: Points | ArrayLike) -> SanTextSpec:
    """Returns SanText's parameter, the largest found over these points, every word being sensitive."""
    public = Points.of(points)
    base = SanTextSpec.over(public, epsilon)

    def achieved(parameter: float) -> float:
        mechanism = SanText(replace(base, epsilon=parameter), public)
        return token_epsilon(worst_words(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=largest(achieved, epsilon, epsilon / public.diameter_bound))


class _OnSensitive:
    """SanText+ given that the released word is sensitive, seen from every word."""

    def __init__(self, whole: SanText) -> None:
        self.points, self.log_weight_error, self._whole = whole.points, whole.log_weight_error, whole

    def log_channel(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = self._whole.log_channel(words)
        rows[:, ~self._whole.sensitive] = -np.inf
        return rows - np.logaddexp.reduce(rows, axis=1, keepdims=True)
