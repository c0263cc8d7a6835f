"""k-ary randomised response: the least weight for an epsilon. Its figures are those of three losses (theorem 18)."""

import math
from fractions import Fraction

from del_audit.accounting.rivals.three_losses import figures
from mechanisms.errors import UserError
from mechanisms.rivals._draws import WIDE
from mechanisms.rivals.randomized_response import RandomizedResponseSpec


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
