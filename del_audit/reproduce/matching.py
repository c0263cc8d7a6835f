"""Finds the noise at which an attack succeeds so often, no more sharply than its tokens can tell."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from del_audit.statistics.intervals import clopper_pearson
from mechanisms.errors import UserError
from mechanisms.validation import at_least

NARROW = 1e-4
"""Relative width of the bracket below which bisection stops: there the rate jumps."""


@dataclass(frozen=True, slots=True)
class Match:
    """Where the attack's rate, hits / tokens, is nearest to the target, and how near that is.

    knob: there. lower, upper: the last bracket; ends: the rates at its two ends. tolerance: what so many tokens can
    resolve; reached: whether the rate is within it of the target.
    """

    target: float
    knob: float
    lower: float
    upper: float
    ends: tuple[float, float]
    hits: int
    tokens: int
    tolerance: float
    evaluations: int

    @property
    def rate(self) -> float:
        """The attack's measured success at the knob."""
        return self.hits / self.tokens

    @property
    def reached(self) -> bool:
        """Whether the measured success is within the tolerance of the target."""
        return abs(self.rate - self.target) <= self.tolerance


def resolution(target: float, tokens: int) -> float:
    """Returns half the width of the Clopper-Pearson interval at the target: rates nearer cannot be told apart.

    Raises UserError for a target outside (0, 1) and for fewer than one token.

    >>> round(resolution(0.02, 2000), 4)
    0.0064
    """
    if not 0 < target < 1:
        raise UserError(f"Expected an attack success in (0, 1), got target={target}.")
    at_least("tokens", tokens, 1)
    lower, upper = clopper_pearson(round(target * tokens), tokens)
    return (upper - lower) / 2


def bisect_rate(hits: Callable[[float], int], target: float, tokens: int, low: float, high: float) -> Match:
    """Returns where in [low, high] the attack hits a share target of the tokens, by bisection of the logarithm.

    hits: of a knob; it rises with it up to sampling noise. Stops where the rates at the bracket's ends differ by no
    more than `resolution`, and gives the end that is nearer to the target; an end of [low, high] where the target is
    beyond it. Raises UserError as resolution does, and for a bracket out of order.
    """
    tolerance = resolution(target, tokens)
    if not 0 < low < high:
        raise UserError(f"Expected 0 < low < high, got low={low} and high={high}.")
    below, above, evaluations = hits(low), hits(high), 2
    wanted = target * tokens
    while below < wanted <= above and (above - below) / tokens > tolerance and math.log(high / low) > NARROW:
        middle = math.sqrt(low * high)
        found, evaluations = hits(middle), evaluations + 1
        if found < wanted:
            low, below = middle, found
        else:
            high, above = middle, found
    nearer_low = abs(below - wanted) <= abs(above - wanted)
    knob, count = (low, below) if nearer_low else (high, above)
    return Match(target, knob, low, high, (below / tokens, above / tokens), count, tokens, tolerance, evaluations)
