"""Proved figures of many tokens with the same three losses, by ball arithmetic (python-flint's arb). Theorem 24."""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from del_audit.accounting.rigorous import _ball, _flint, _largest, _narrow
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from flint import arb

LARGEST_PROVED = 1 << 16
"""Tokens; the time is proportional to them: a tenth of a second for so many."""


@dataclass(frozen=True)
class ProvedLosses:
    """`tokens` losses, each e with probability p, -e with probability q, else 0, under the first neighbour.

    e = ln(p / q). Under the second neighbour p and q are exchanged. tokens: 1 to LARGEST_PROVED. p, q: exact, q <= p.
    Raises UserError outside these ranges, and where python-flint is not installed.

    >>> ProvedLosses(1, Fraction(3, 4), Fraction(1, 4)).total_variation.estimate
    0.5
    """

    tokens: int
    p: Fraction
    q: Fraction

    def __post_init__(self) -> None:
        """Raises UserError outside the ranges above, or without python-flint."""
        if not 1 <= self.tokens <= LARGEST_PROVED:
            raise UserError(f"Expected tokens in 1..{LARGEST_PROVED}, got tokens={self.tokens}.")
        if not 0 < self.q <= self.p or self.p + self.q > 1:
            raise UserError(f"Expected 0 < q <= p <= 1 - q, got q={self.q}, p={self.p}.")
        _flint()

    def delta(self, epsilon: float) -> Bound:
        """Returns the hockey-stick divergence at epsilon (nats, >= 0)."""
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon}.")
        return _narrow(lambda: self._delta(epsilon), ceiling=1.0)

    def epsilon(self, delta: float) -> Bound:
        """Returns the smallest epsilon >= 0 (nats) with delta(epsilon) <= delta, for delta in (0, 1)."""
        if not 0 < delta < 1:
            raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
        return _narrow(lambda: self._epsilon(delta))

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any test between the two laws, in [0, 1]."""
        return self.delta(0.0)

    @property
    def pure_epsilon(self) -> Bound:
        """The largest loss, in nats: the epsilon that holds with delta = 0."""
        return _narrow(lambda: self.tokens * self._step())

    def _step(self) -> "arb":
        """Returns e as a ball."""
        return _ball(self.p / self.q).log()

    def _line(self, least: int, weight: "arb") -> "arb":
        """Returns P[D > least] - weight Q[D > least] for the sum D of the losses over e."""
        first, second = _tails(self.tokens, self.p, self.q, _flint().ctx.prec)
        return first[least] - weight * second[least]

    def _delta(self, epsilon: float) -> "arb":
        """Returns delta(epsilon) as a ball: the line of the losses above epsilon, of several where that is open."""
        if self.p == self.q:
            return _ball(0)
        place = _ball(epsilon) / self._step()
        first, last = (int(end.floor().unique_fmpz()) for end in (place.lower(), place.upper()))
        weight = _ball(epsilon).exp()
        lines = [self._line(least, weight) for least in range(max(first, 0), min(last, self.tokens - 1) + 1)]
        return _largest(lines) if lines else _ball(0)

    def _epsilon(self, delta: float) -> "arb":
        """Returns epsilon(delta) as a ball.

        No line gives more than epsilon, and that of the least d with delta(e (d + 1)) <= delta gives it: it is found
        between a d that is proved to be too small and one that is proved to be large enough.
        """
        if self.p == self.q:
            return _ball(0)
        low, high = -1, self.tokens - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._gap(middle, delta) <= 0 else (middle, high)
        low = high - 1
        while low >= 0 and not self._gap(low, delta) > 0:
            low -= 1
        first, second = _tails(self.tokens, self.p, self.q, _flint().ctx.prec)
        lines = [((first[d] - _ball(delta)) / second[d]).max(_ball(1)) for d in range(low + 1, high + 1)]
        return _largest(lines).log()

    def _gap(self, d: int, delta: float) -> "arb":
        """Returns delta(e (d + 1)) - delta as a ball."""
        last = min(d + 1, self.tokens - 1)
        return self._line(last, _ball(self.p / self.q) ** (d + 1)) - _ball(delta)


@lru_cache(maxsize=4)
def _tails(tokens: int, p: Fraction, q: Fraction, precision: int) -> "tuple[list[arb], list[arb]]":
    """Returns P[D > d] and Q[D > d] for d = 0..tokens - 1, as balls of small relative radius.

    f_m = P[D = tokens - m] is a coefficient of (p + c z + q z^2)^tokens, c = 1 - p - q. The power's derivative times
    the base is tokens times the base's derivative times the power, so p (m + 1) f_(m+1) = (tokens - m) c f_m +
    (2 tokens - m + 1) q f_(m-1). For m below tokens nothing is subtracted: the relative radius grows with m only.
    """
    with _flint().ctx.workprec(precision):
        stay, back, odds = _ball((1 - p - q) / p), _ball(q / p), _ball(p / q)
        before, mass = _ball(0), _ball(p) ** tokens
        share = _ball(q) ** tokens  # Q[D = d] = P[D = d] (q / p)^d
        weight = share / mass
        first, second = [mass], [share]
        for m in range(tokens - 1):
            before, mass = mass, ((tokens - m) * stay * mass + (2 * tokens - m + 1) * back * before) / (m + 1)
            weight *= odds
            first.append(first[-1] + mass)
            second.append(second[-1] + mass * weight)
        return first[::-1], second[::-1]
