"""k-ary randomised response: three losses a token (theorem 18), and the least weight for an epsilon."""

import math
from fractions import Fraction

import numpy as np

from del_audit.accounting.composition import Composition, Losses
from del_audit.accounting.rivals.figures import Figures, around
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError
from mechanisms.rivals.randomized_response import WIDE, RandomizedResponseSpec


def figures(spec: RandomizedResponseSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorem 18: three losses a token, exact for any number of tokens."""
    one = math.log(spec.kept / spec.weight)
    pure = around(tokens * one, 1e-14 * tokens)
    reason = "Exact: every pair of words has the same three losses (theorem 18)."
    if spec.kept == spec.weight:
        return Figures(Bound(0.0, 0.0, 0.0), pure, Bound(0.0, 0.0, 0.0), reason, one)
    if tokens == 1:
        odds = (spec.kept - Fraction(delta) * WIDE) / spec.weight
        epsilon = math.log(odds) if odds > 1 else 0.0
        variation = (spec.kept - spec.weight) / WIDE
        return Figures(around(epsilon, 1e-13), pure, around(variation, 1e-15, 1.0), reason, one)
    loss = np.array([-one, 0.0, one])
    share = np.array([spec.weight, spec.weight * (spec.words - 2), spec.kept], dtype=np.float64) / WIDE
    kept = share > 0
    composed = Composition([Losses(loss[kept], np.log(share[kept]), tokens)])
    return Figures(composed.epsilon(delta), pure, composed.delta(0.0), reason, one)


def calibrated(epsilon: float, delta: float, words: int) -> RandomizedResponseSpec:
    """Returns the least weight w with (kept - 2^64 delta) / w <= e^epsilon, where kept = 2^64 - (words - 1) w."""
    odds = Fraction(math.exp(min(epsilon, 60.0)) * (1 - 2**-30))
    weight = max(1, math.ceil(WIDE * (1 - Fraction(delta)) / (odds + words - 1)))
    if weight > WIDE // words:
        weight = WIDE // words
    spec = RandomizedResponseSpec(words, weight)
    achieved = figures(spec, None, delta, 1).epsilon.upper
    if achieved > epsilon:
        raise UserError(f"Expected epsilon >= {achieved!r} for {words} words, got epsilon={epsilon}.")
    return spec
