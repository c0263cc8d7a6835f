"""Mechanisms whose every two words have the same three losses: e, -e and 0 (theorems 18 and 24)."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting.composition import Composition, Losses
from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.proved_losses import LARGEST_PROVED, ProvedLosses
from del_audit.accounting.rigorous import ProvedTradeOff, _parts
from del_audit.accounting.risk import success_bound
from del_audit.accounting.rivals.figures import Figures, around
from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound
from mechanisms.rivals._supports import SupportSpec

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ThreeLosses:
    """One token's losses: e with probability p, -e with probability q, 0 otherwise; e = ln(p / q), p >= q > 0."""

    p: Fraction
    q: Fraction

    @classmethod
    def of(cls, spec: SupportSpec) -> "ThreeLosses":
        """Returns those of any two words that are told apart: an output of one's support alone, or the other's."""
        share, apart = spec.share, 1 - spec.common
        return cls(spec.chance * apart, (1 - spec.chance) * share * apart / (1 - share))

    def figures(self, delta: float, tokens: int, reason: str) -> Figures:
        """Returns the computed figures, exact for one token and composed on a grid for more (theorem 14)."""
        one = math.log(self.p / self.q)
        pure, nothing = around(tokens * one, 1e-14 * tokens), Bound(0.0, 0.0, 0.0)
        if self.p == self.q:
            return Figures(nothing, pure, nothing, reason, one)
        if tokens == 1:
            odds = (self.p - Fraction(delta)) / self.q
            epsilon = math.log(odds) if odds > 1 else 0.0
            return Figures(around(epsilon, 1e-13), pure, around(float(self.p - self.q), 1e-15, 1.0), reason, one)
        share = np.array([self.q, 1 - self.p - self.q, self.p], dtype=np.float64)
        kept = share > 0
        composed = Composition([Losses(np.array([-one, 0.0, one])[kept], np.log(share[kept]), tokens)])
        return Figures(composed.epsilon(delta), pure, composed.delta(0.0), reason, one)

    def proved(self, delta: float, tokens: int, reason: str) -> Figures:
        """Returns the figures, proved by ball arithmetic for up to LARGEST_PROVED tokens and computed beyond."""
        if tokens > LARGEST_PROVED:
            return self.figures(delta, tokens, reason)
        losses = ProvedLosses(tokens, self.p, self.q)
        claimed = math.log(self.p / self.q)
        return Figures(losses.epsilon(delta), losses.pure_epsilon, losses.total_variation, reason, claimed)

    def corners(self, tokens: int) -> tuple[Floats, Floats]:
        """Returns the corners (alpha, beta) of the trade-off curve of so many tokens, alpha rising: float64 each.

        The best tests reject above a sum of losses; the law of the sum is convolved, and has 2 tokens + 1 values. The
        second neighbour's law is the first one's turned round, so the curve is its own mirror image.
        """
        one = np.array([float(self.q), float(1 - self.p - self.q), float(self.p)])
        law = np.ones(1)
        for _ in range(tokens):
            law = np.convolve(law, one)
        power = np.concatenate([[0.0], np.cumsum(law[::-1])])  # P[sum >= d], d falling; the first neighbour's
        size = np.concatenate([[0.0], np.cumsum(law)])  # the second neighbour's of the same sums
        return np.minimum(size, 1.0), np.maximum(1 - power, 0.0)


def figures(spec: SupportSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorem 24: three losses a token, exact for any number of tokens."""
    return ThreeLosses.of(spec).figures(delta, tokens, reason_of(spec))


def proved(spec: SupportSpec, whole: object, delta: float, tokens: int) -> Figures:
    """Theorems 18 and 24, proved; raises UserError without python-flint."""
    return ThreeLosses.of(spec).proved(delta, tokens, reason_of(spec))


def reason_of(spec: SupportSpec) -> str:
    """Returns why the figures hold."""
    if spec.kind == "coarse words":
        return (
            "Exact for words of different symbols: every such pair has the same three losses (theorem 24). Words of "
            "one symbol are not told apart at all: their loss is 0."
        )
    return f"Exact: every pair of words has the same three losses (theorem {18 if not spec.common else 24})."


def response_success_bound(spec: SupportSpec, kappa: float, tokens: int = 1, proved: bool = False) -> Bound:
    """Returns the most that an attacker with a prior succeeds on words that such a mechanism released, in [kappa, 1].

    kappa: the sum of the m largest prior probabilities (of tuples, where the secret spans several tokens), for an
    attacker who names m guesses; in (0, 1]. It is the power at level kappa of the best test of the uniform release
    against the word's: whether each output lies in the word's support. For one token and a kappa up to the support's
    share that is kappa e^epsilon outputs / Z (theorem 24). Raises UserError for kappa or tokens out of range.
    """
    if proved:
        return success_bound(ProvedTradeOff(tokens, spec.chance, spec.share), kappa)
    (p, p_low), (q, q_low) = (_parts(chance - Fraction(1, 2)) for chance in (spec.chance, spec.share))
    return success_bound(ComputedTradeOff(TradeOff(tokens, p, q, p_low, q_low)), kappa)
