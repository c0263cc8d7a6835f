"""The exponential mechanism: its parameter, or the exact extremes over the vocabulary (theorem 21)."""

from dataclasses import replace

from numpy.typing import ArrayLike

from del_audit.accounting._word_rows import of_any_weights, worst_words
from del_audit.accounting.rivals.figures import Figures, at_most, of_pure, of_rows
from del_audit.accounting.rivals.search import largest, token_epsilon
from mechanisms.rivals._points import Points
from mechanisms.rivals.exponential import Exponential, ExponentialSpec


def figures(spec: ExponentialSpec, whole: Exponential | None, delta: float, tokens: int) -> Figures:
    """Theorem 21: the utility's sensitivity, or the exact extremes of each released word's probability."""
    if whole is None:
        pure = min(spec.epsilon * (1 + 1e-12) + 1e-9, of_any_weights(spec.words))
        reason = "Proved for any public points: sensitivity of the utility at most 1 (theorem 21)."
        return of_pure(at_most(pure), delta, tokens, reason, spec.epsilon)
    return of_rows(whole, worst_words(whole), delta, tokens, spec.epsilon)


def calibrated(
    epsilon: float, delta: float, points: Points | ArrayLike, scale: float | None = None, exact: bool = False
) -> ExponentialSpec:
    """Returns the parameter that is proved to meet the epsilon, or with exact the largest found over these points."""
    public = Points.of(points)
    base = ExponentialSpec.over(public, epsilon / (1 + 1e-9), scale)
    if not exact:
        return base

    def achieved(parameter: float) -> float:
        mechanism = Exponential(replace(base, epsilon=parameter), public)
        return token_epsilon(worst_words(mechanism).pure_epsilon.upper, delta)

    return replace(base, epsilon=largest(achieved, epsilon, epsilon / (1 + 1e-9)))
