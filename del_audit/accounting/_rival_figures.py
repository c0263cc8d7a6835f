"""The figures of each rival: which theorem gives them, and with what reason."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from del_audit.accounting._grid_noise import GridNoise
from del_audit.accounting._metric_noise import losses as metric_losses
from del_audit.accounting._random_radius import pure_epsilon as rantext_pure_epsilon
from del_audit.accounting._word_rows import WorstWords, attained, of_any_weights, within_groups, worst_words
from del_audit.accounting.accountant import Accountant, Unit
from del_audit.accounting.composition import Composition, Losses
from del_audit.statistics.bound import Bound
from mechanisms.rivals import (
    CusTextSpec,
    ExponentialSpec,
    GaussianSpec,
    MetricSpec,
    Points,
    RandomizedResponseSpec,
    RanTextSpec,
    SanTextSpec,
)
from mechanisms.rivals.randomized_response import WIDE
from mechanisms.spec import QuantizerSpec

UNBOUNDED = Bound(math.inf, math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class Figures:
    """The part of a guarantee that differs from mechanism to mechanism."""

    epsilon: Bound
    pure_epsilon: Bound
    total_variation: Bound
    reason: str
    claimed_epsilon: float | None = None
    within: Bound | None = None
    within_adjacency: str | None = None


def quantizer(spec: QuantizerSpec, delta: float, unit: Unit, tokens: int) -> Figures:
    figures = Accountant(spec).figures(unit, tokens)
    reason = "Exact: opposite vertices are the worst pair (theorem 1)."
    return Figures(figures.epsilon(delta), figures.pure_epsilon, figures.total_variation, reason)


def randomized_response(spec: RandomizedResponseSpec, delta: float, tokens: int) -> Figures:
    """Theorem 18: three losses a token, exact for any number of tokens."""
    one = math.log(spec.kept / spec.weight)
    pure = _around(tokens * one, 1e-14 * tokens)
    reason = "Exact: every pair of words has the same three losses (theorem 18)."
    if spec.kept == spec.weight:
        return Figures(Bound(0.0, 0.0, 0.0), pure, Bound(0.0, 0.0, 0.0), reason, one)
    if tokens == 1:
        odds = (spec.kept - Fraction(delta) * WIDE) / spec.weight
        epsilon = math.log(odds) if odds > 1 else 0.0
        variation = (spec.kept - spec.weight) / WIDE
        return Figures(_around(epsilon, 1e-13), pure, _around(variation, 1e-15, 1.0), reason, one)
    loss = np.array([-one, 0.0, one])
    share = np.array([spec.weight, spec.weight * (spec.words - 2), spec.kept], dtype=np.float64) / WIDE
    kept = share > 0
    composed = Composition([Losses(loss[kept], np.log(share[kept]), tokens)])
    return Figures(composed.epsilon(delta), pure, composed.delta(0.0), reason, one)


def gaussian(spec: GaussianSpec, delta: float, tokens: int) -> Figures:
    """Theorem 19: opposite corners of the clip, coordinate by coordinate."""
    noise = GridNoise.of(spec, tokens)
    reason = "Exact up to flooring: opposite corners dominate every pair, cell laws are known (theorem 19)."
    return Figures(noise.epsilon(delta), noise.pure_epsilon, noise.total_variation, reason)


def metric(spec: MetricSpec, whole: Any, delta: float, tokens: int) -> Figures:
    """Theorem 20: the farthest pair, at twice the radius or at the largest distance of two clipped public points.

    Raises UserError where eta times that distance is outside what the tails are verified for, [1e-6, 10^5] nats.
    """
    farthest = spec.diameter if whole is None else min(spec.diameter, Points(whole.points).diameter())
    distance = spec.eta * farthest * (1 + 1e-12)
    reason = (
        "The farthest two vectors dominate every pair and the grid is post-processing (theorem 20). Holds for real "
        "numbers; noise is drawn in doubles."
    )
    composed = Composition([_repeated(metric_losses(distance, spec.dim), tokens)])
    upper = min(composed.epsilon(delta * (1 - 1e-8)).upper, tokens * distance)
    variation = min(1.0, composed.delta(0.0).upper + 1e-8)
    return Figures(at_most(upper), at_most(tokens * distance), at_most(variation), reason)


def exponential(spec: ExponentialSpec, whole: Any, delta: float, tokens: int) -> Figures:
    """Theorem 21: the utility's sensitivity, or the exact extremes of each released word's probability."""
    if whole is None:
        pure = min(spec.epsilon * (1 + 1e-12) + 1e-9, of_any_weights(spec.words))
        reason = "Proved for any public points: sensitivity of the utility at most 1 (theorem 21)."
        return of_pure(at_most(pure), delta, tokens, reason, spec.epsilon)
    return of_rows(whole, worst_words(whole), delta, tokens, spec.epsilon)


def santext(spec: SanTextSpec, whole: Any, delta: float, tokens: int) -> Figures:
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


def custext(spec: CusTextSpec, whole: Any, delta: float, tokens: int) -> Figures:
    """Theorem 22: disjoint outputs between groups, the exponential mechanism inside."""
    reason = "A released word tells its group with certainty: no epsilon holds between groups (theorem 22)."
    text = "the same, each word that changes staying in its group"
    if whole is None:
        pure = min(spec.epsilon * (1 + 1e-12) + 1e-9, of_any_weights(spec.words))
        within = of_pure(at_most(pure), delta, tokens, "", spec.epsilon)
    else:
        within = of_rows(whole, within_groups(whole), delta, tokens, spec.epsilon)
        if (whole.groups == whole.groups[0]).all():
            return within
    certain = Bound(1.0, 1.0, 1.0)
    return Figures(UNBOUNDED, UNBOUNDED, certain, reason, spec.epsilon, within.epsilon, text)


def rantext(spec: RanTextSpec, whole: Any, delta: float, tokens: int) -> Figures:
    """Theorem 22: every word is released with at least the chance that the list is the whole vocabulary."""
    reason = (
        "The claimed epsilon holds only between words of one and the same list, which is random and made around the "
        "secret word; what holds is the chance that the list is the whole vocabulary (theorem 22)."
    )
    if whole is None:
        return Figures(UNBOUNDED, UNBOUNDED, at_most(1.0), f"{reason} It needs the public points.", spec.epsilon)
    return of_pure(at_most(rantext_pure_epsilon(whole)), delta, tokens, reason, spec.epsilon)


class _OnSensitive:
    """SanText+ given that the released word is sensitive, seen from every word."""

    def __init__(self, whole: Any) -> None:
        self.points, self.log_weight_error, self._whole = whole.points, whole.log_weight_error, whole

    def log_channel(self, words: Any) -> Any:
        rows = self._whole.log_channel(words)
        rows[:, ~self._whole.sensitive] = -np.inf
        return rows - np.logaddexp.reduce(rows, axis=1, keepdims=True)


def of_rows(whole: Any, worst: WorstWords, delta: float, tokens: int, claimed: float | None) -> Figures:
    """Returns figures from the exact pure epsilon over the vocabulary; the lower end is what the worst pair shows."""
    reason = "Exact pure epsilon over all pairs of words of this public vocabulary, composed as such (theorem 21)."
    pure = worst.pure_epsilon
    most = of_any_weights(whole.words)
    capped = Bound(min(pure.lower, most), min(pure.estimate, most), min(pure.upper, most))
    figures = of_pure(capped, delta, tokens, reason, claimed)
    lower = min(attained(whole, worst, delta, tokens), figures.epsilon.upper)
    epsilon = Bound(lower, figures.epsilon.upper, figures.epsilon.upper)
    return Figures(epsilon, figures.pure_epsilon, figures.total_variation, reason, claimed)


def of_pure(one: Bound, delta: float, tokens: int, reason: str, claimed: float | None = None) -> Figures:
    """Returns figures of tokens that are each pure epsilon-private: the worst such pair, composed (arXiv 1311.0776)."""
    pure = Bound(tokens * one.lower, tokens * one.estimate, tokens * one.upper)
    if one.upper == 0 or math.isinf(one.upper):
        return Figures(one, one, at_most(float(one.upper > 0)), reason, claimed)
    loss = np.array([-one.upper, one.upper])
    composed = Composition([Losses(loss, -np.logaddexp(0, -loss), tokens)])
    epsilon = at_most(min(pure.upper, composed.epsilon(delta).upper))
    return Figures(epsilon, pure, at_most(min(1.0, composed.delta(0.0).upper)), reason, claimed)


def _repeated(losses: Losses, times: int) -> Losses:
    return Losses(losses.loss, losses.log_mass, times)


def at_most(value: float) -> Bound:
    """Returns the bound of a figure of which no more is known than that it is at most this."""
    return Bound(0.0, value, value)


def _around(value: float, error: float, most: float = math.inf) -> Bound:
    """Returns the bound of a figure in [0, most], computed with this error, relative above 1."""
    slack = error * max(1.0, value)
    return Bound(max(0.0, value - slack), value, min(most, value + slack))
