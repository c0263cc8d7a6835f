"""Words drawn by a language model's clipped logits: what a whole document costs (theorem 25), and the temperature."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import TypeVar

from del_audit.accounting._bounded_range import BoundedRange
from del_audit.accounting.accountant import count
from del_audit.accounting.rivals.figures import Figures, at_most
from del_audit.accounting.rivals.search import least
from mechanisms.errors import UserError
from mechanisms.rivals._rewriting import RewritingSpec

Spec = TypeVar("Spec", bound=RewritingSpec)
_WIDEST, _NARROWEST = 50.0, 1e-9
"""Nats of (high - low) / temperature between which calibration looks; wider, whole weights hold no more than 43."""
_SLACK = 1e-12
"""Of a place's nats: rounding of logarithms, and a draw's 2^-64 (mechanisms.rivals._draws)."""


def figures(spec: RewritingSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorem 25, for any language model: tokens is how many words of the output depend on the unit."""
    ratio = Fraction(spec.most_weight, spec.least_weight)
    reason = (
        f"Proved for any language model: each of the {count(tokens, 'word')} of the output is a draw by clipped logits "
        "and depends on every token of the document, so one token that changes costs as much as the whole document "
        "(theorem 25)."
    )
    claimed = 2 * (spec.high - spec.low) / spec.temperature
    if ratio == 1:
        return Figures(at_most(0.0), at_most(0.0), at_most(0.0), reason, claimed)
    eta = 2 * math.log(ratio) + _SLACK
    draws, pure = BoundedRange(eta, tokens), tokens * (_pure_epsilon(ratio, spec.words) + _SLACK)
    epsilon = min(pure, draws.epsilon(delta) + tokens * _SLACK)
    return Figures(at_most(epsilon), at_most(pure), at_most(min(1.0, draws.total_variation + _SLACK)), reason, claimed)


def _pure_epsilon(ratio: Fraction, words: int) -> float:
    """Returns the largest log-ratio of one draw, nats: a word of the largest weight alone, or of the least alone.

    ln(ratio (1 + (words - 1) ratio) / (ratio + words - 1)): below 2 ln ratio, and below ln ratio + ln(words - 1).
    """
    return math.log(ratio) + math.log((1 + (words - 1) * ratio) / (ratio + words - 1))


def cooled(made: Callable[[float], Spec], low: float, high: float, epsilon: float, delta: float) -> Spec:
    """Returns the spec of about the least temperature whose longest document meets the epsilon, to four digits.

    made: the spec of a temperature. Raises UserError for a clip that is none.
    """
    if not low < high:
        raise UserError(f"Expected low < high={high}, the ends of the clip, got low={low}.")

    def at(log_temperature: float) -> Spec:
        return made((high - low) * math.exp(log_temperature))

    def achieved(log_temperature: float) -> float:
        spec = at(log_temperature)
        return figures(spec, None, delta, spec.tokens).epsilon.upper

    return at(least(achieved, epsilon, -math.log(_WIDEST), -math.log(_NARROWEST)))
