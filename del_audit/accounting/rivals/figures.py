"""What the figures of a mechanism are, and what several mechanisms make them from."""

import math
from dataclasses import dataclass

import numpy as np

from del_audit.accounting._word_rows import WordRows, WorstWords, attained, of_any_weights
from del_audit.accounting.composition import Composition, Losses
from del_audit.statistics.bound import Bound

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


def of_rows(whole: WordRows, worst: WorstWords, delta: float, tokens: int, claimed: float | None) -> Figures:
    """Returns figures from the exact pure epsilon over the vocabulary; the lower end is what the worst pair shows."""
    reason = "Exact pure epsilon over all pairs of words of this public vocabulary, composed as such (theorem 21)."
    pure = worst.pure_epsilon
    most = of_any_weights(whole.points.words)
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


def repeated(losses: Losses, times: int) -> Losses:
    """Returns the losses as those of so many independent runs."""
    return Losses(losses.loss, losses.log_mass, times)


def at_most(value: float) -> Bound:
    """Returns the bound of a figure of which no more is known than that it is at most this."""
    return Bound(0.0, value, value)


def around(value: float, error: float, most: float = math.inf) -> Bound:
    """Returns the bound of a figure in [0, most], computed with this error, relative above 1."""
    slack = error * max(1.0, value)
    return Bound(max(0.0, value - slack), value, min(most, value + slack))
