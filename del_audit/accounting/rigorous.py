"""Proved enclosures of every figure of a pair of binomials, by ball arithmetic (python-flint's arb). Theorem 2.

Each ball holds the true real number whatever was rounded, so its ends are proved. The precision is raised until the
ends are near enough to each other; an epsilon lies between two numbers at which delta is proved to be above, and below,
what was asked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from del_audit.accounting._search import first_at_most
from del_audit.accounting.log_tail import MAX_TRIALS, log_upper_tail
from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from flint import arb

RELATIVE_WIDTH = 1e-12
"""Every enclosure is at least this narrow, relative to its figure, unless the figure is 0 or below 1e-300."""

_PRECISIONS = (128, 256, 512, 1024, 2048, 4096)
_TINY = 1e-300
_NEAR_ONE = Fraction(999, 1000)


@dataclass(frozen=True)
class ProvedTradeOff:
    """Bin(trials, p) against Bin(trials, q), p >= q: the figures of TradeOff as Bounds whose ends are proved.

    trials: 1 to 10^10. p, q: exact, in (0, 1). Floats that are passed to the methods are taken as the binary numbers
    that they are. Raises UserError outside these ranges, and where python-flint is not installed.

    >>> ProvedTradeOff.of_vertices(1, Fraction(3, 4)).total_variation.kind
    'proved'
    """

    trials: int
    p: Fraction
    q: Fraction

    def __post_init__(self) -> None:
        """Raises UserError outside the ranges above, or without python-flint."""
        if not 1 <= self.trials <= MAX_TRIALS:
            raise UserError(f"Expected trials in 1..{MAX_TRIALS}, got trials={self.trials}.")
        if not 0 < self.q <= self.p < 1:
            raise UserError(f"Expected 0 < q <= p < 1, got q={self.q}, p={self.p}.")
        _flint()

    @classmethod
    def of_vertices(cls, trials: int, p: Fraction) -> "ProvedTradeOff":
        """Returns the worst pair of the quantizer: success with p against success with 1 - p (theorem 1)."""
        return cls(trials, p, 1 - p)

    @classmethod
    def of_centre(cls, trials: int, p: Fraction) -> "ProvedTradeOff":
        """Returns the pair of a vertex and the centre of the cube, which bounds attack success (theorem 6)."""
        return cls(trials, p, Fraction(1, 2))

    @property
    def reversed(self) -> "ProvedTradeOff":
        """The same pair with null and alternative exchanged, and successes counted as failures."""
        return ProvedTradeOff(self.trials, 1 - self.q, 1 - self.p)

    def delta(self, epsilon: float) -> Bound:
        """Returns the hockey-stick divergence at epsilon (nats, >= 0)."""
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon}.")
        return _narrow(lambda: self._delta(epsilon), ceiling=1.0)

    def epsilon(self, delta: float) -> Bound:
        """Returns the smallest epsilon >= 0 (nats) with delta(epsilon) <= delta, for delta in (0, 1)."""
        if not 0 < delta < 1:
            raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
        if self._sign(0.0, delta) < 0:
            return Bound(0.0, 0.0, 0.0, "proved")
        guess = float(TradeOff(self.trials, *self._offsets()).epsilon(delta))
        gap = max(guess * 2**-46, _TINY)
        while (low := max(0.0, guess - gap)) > 0 and self._sign(low, delta) <= 0:
            gap *= 16
        gap = max(guess * 2**-46, _TINY)
        while self._sign(high := guess + gap, delta) >= 0:
            gap *= 16
        while high - low > RELATIVE_WIDTH / 2 * high and high > _TINY:
            middle = (low + high) / 2
            low, high = (middle, high) if self._sign(middle, delta) > 0 else (low, middle)
        return Bound(low, min(max(guess, low), high), high, "proved")

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any test between the two laws, in [0, 1]."""
        return self.delta(0.0)

    @property
    def pure_epsilon(self) -> Bound:
        """The largest log-likelihood ratio, in nats: the epsilon that holds with delta = 0."""
        return _narrow(lambda: self.trials * (_ball(self.p) / _ball(self.q)).log())

    def beta(self, alpha: float) -> Bound:
        """Returns the least type II error of a test of the null at type I error alpha, for alpha in [0, 1]."""
        if not 0 <= alpha <= 1:
            raise UserError(f"Expected alpha in [0, 1], got alpha={alpha}.")
        return _narrow(lambda: self._beta(alpha), ceiling=1.0)

    def alpha(self, beta: float) -> Bound:
        """Returns the inverse of `beta`: the least type I error of a test with type II error beta, in [0, 1]."""
        if not 0 <= beta <= 1:
            raise UserError(f"Expected beta in [0, 1], got beta={beta}.")
        return self.reversed.beta(beta)

    def power(self, alpha: float) -> Bound:
        """Returns 1 - beta(alpha), the success of the best test at type I error alpha."""
        self.beta(alpha)  # checks alpha
        return _narrow(lambda: 1 - self._beta(alpha), ceiling=1.0)

    def advantage(self, alpha: float) -> Bound:
        """Returns 1 - alpha - beta(alpha): true less false positives of the best test at type I error alpha."""
        self.beta(alpha)  # checks alpha
        return _narrow(lambda: 1 - _ball(alpha) - self._beta(alpha), ceiling=1.0)

    def renyi(self, order: float) -> Bound:
        """Returns the Renyi divergence of P from Q in nats, for a finite order > 0; order 1 is Kullback-Leibler's."""
        if not (math.isfinite(order) and order > 0):
            raise UserError(f"Expected order to be a finite number > 0, got order={order}.")
        return _narrow(lambda: self._renyi(order))

    def _delta(self, epsilon: float) -> "arb":
        """Returns delta(epsilon) as a ball: the largest of P[X > x] - exp(epsilon) Q[X > x] near the step."""
        if self.p == self.q:
            return _ball(0)
        success, failure = self._steps()
        place = (_ball(epsilon) - self.trials * failure) / (success - failure)
        first, last = (int(end.floor().unique_fmpz()) for end in (place.lower(), place.upper()))
        weight = _ball(epsilon).exp()
        lines = [
            _upper(self.trials, x, self.p) - weight * _upper(self.trials, x, self.q)
            for x in range(max(first, -1), min(last, self.trials) + 1)
        ]
        return _largest(lines) if lines else _ball(0)

    def _sign(self, epsilon: float, delta: float) -> int:
        """Returns the sign of delta(epsilon) - delta, proved; 0 where no precision tells it."""
        for precision in _PRECISIONS:
            with _flint().ctx.workprec(precision):
                gap = self._delta(epsilon) - _ball(delta)
                if gap > 0 or gap < 0:
                    return 1 if gap > 0 else -1
        return 0

    def _beta(self, alpha: float) -> "arb":
        """Returns beta(alpha) as a ball: the largest of the polygon's lines in question."""
        if alpha in (0, 1):
            return _ball(1 - alpha)
        lines = []
        for x in self._counts(alpha):
            above, below = _upper(self.trials, x, self.q), _upper(self.trials, x - 1, self.q)
            share = (below - _ball(alpha)) / (below - above)
            lines.append((1 - share) * _lower(self.trials, x - 1, self.p) + share * _lower(self.trials, x, self.p))
        return _largest(lines)

    def _counts(self, alpha: float) -> list[int]:
        """Returns all counts x in [0, trials] not proved to violate Q[X > x] <= alpha <= Q[X > x - 1]."""
        log_alpha, trials, q = (
            np.asarray(value, dtype=np.float64) for value in (math.log(alpha), self.trials, float(self.q))
        )
        guess = first_at_most(log_alpha, lambda count: log_upper_tail(count, trials, *_parts(self.q)), trials, q)
        x, level = min(max(int(guess), 0), self.trials), _ball(alpha)
        while _upper(self.trials, x, self.q) > level:
            x += 1
        while _upper(self.trials, x - 1, self.q) < level:
            x -= 1
        counts = [x]
        if not _upper(self.trials, x, self.q) < level:
            counts.append(x + 1)
        if not _upper(self.trials, x - 1, self.q) > level:
            counts.append(x - 1)
        return [count for count in counts if 0 <= count <= self.trials]

    def _renyi(self, order: float) -> "arb":
        """Returns the Renyi divergence as a ball."""
        p = _ball(self.p)
        success, failure = self._steps()
        if order == 1:
            return self.trials * (p * success + (1 - p) * failure)
        tilt = _ball(order) - 1
        return self.trials * (p * (tilt * success).exp() + (1 - p) * (tilt * failure).exp()).log() / tilt

    def _steps(self) -> "tuple[arb, arb]":
        """Returns the log-likelihood ratio of one success and of one failure."""
        p, q = _ball(self.p), _ball(self.q)
        return (p / q).log(), ((1 - p) / (1 - q)).log()

    def _offsets(self) -> tuple[float, float, float, float]:
        """Returns the alternative and the null as TradeOff takes them: offsets from 1/2, then what floats leave out."""
        (p, p_low), (q, q_low) = (_parts(chance - Fraction(1, 2)) for chance in (self.p, self.q))
        return p, q, p_low, q_low


def _upper(trials: int, x: int, p: Fraction) -> "arb":
    """Returns P[X > x] of Bin(trials, p) as a ball of small relative radius."""
    if x < 0 or x >= trials:
        return _ball(int(x < 0))
    precision = _flint().ctx.prec
    return _tail(trials, x, p, precision) if x >= trials * p else 1 - _tail(trials, trials - 1 - x, 1 - p, precision)


def _lower(trials: int, x: int, p: Fraction) -> "arb":
    """Returns P[X <= x] of Bin(trials, p) as a ball of small relative radius."""
    return _upper(trials, trials - 1 - x, 1 - p)


@lru_cache(maxsize=256)
def _tail(trials: int, x: int, p: Fraction, precision: int) -> "arb":
    """Returns P[X > x] of Bin(trials, p), 0 <= x < trials: the regularised incomplete beta function.

    Near p = 1 its ball may be far too wide, after a second; one less the other tail is narrow there unless tiny.
    """
    with _flint().ctx.workprec(precision):
        if p > _NEAR_ONE:
            rest = 1 - _ball(1 - p).beta_lower(_ball(trials - x), _ball(x + 1), regularized=True)
            if rest.rel_accuracy_bits() >= precision // 2:
                return rest
        return _ball(p).beta_lower(_ball(x + 1), _ball(trials - x), regularized=True)


def _narrow(compute: "Callable[[], arb]", floor: float = 0.0, ceiling: float = math.inf) -> Bound:
    """Returns the enclosure of a ball at the first precision at which it is narrow; held within floor and ceiling."""
    bound = Bound(floor, floor, ceiling, "proved")
    for precision in _PRECISIONS:
        with _flint().ctx.workprec(precision):
            ball = compute()
            low, high = max(floor, _outward(ball.lower(), -math.inf)), min(ceiling, _outward(ball.upper(), math.inf))
        bound = Bound(low, (low + high) / 2, high, "proved")
        if high - low <= RELATIVE_WIDTH * low or high <= _TINY:
            break
    return bound


def _outward(end: "arb", towards: float) -> float:
    """Returns a float beyond the end of a ball, unless the end is that float."""
    value = float(end)
    return value if _ball(value) == end else math.nextafter(value, towards)


def _largest(balls: "Sequence[arb]") -> "arb":
    """Returns a ball that holds the largest of the true values."""
    largest = balls[0]
    for ball in balls[1:]:
        largest = largest.max(ball)
    return largest


def _ball(value: "Fraction | float") -> "arb":
    """Returns the value as a ball: exact for whole numbers and floats that the precision holds, else its smallest."""
    flint = _flint()
    if isinstance(value, Fraction):
        return flint.arb(flint.fmpq(value.numerator, value.denominator))
    return flint.arb(value)


def _parts(value: Fraction) -> tuple[float, float]:
    """Returns the nearest float, and the float nearest to what it leaves out."""
    high = float(value)
    return high, float(value - Fraction(high))


def _flint() -> ModuleType:
    """Returns the module flint; raises UserError with the extra's name where it is not installed."""
    try:
        import flint
    except ImportError:
        raise UserError(
            "Expected python-flint to be installed for proved figures, got none: pip install 'del-audit[proved]'."
        ) from None
    module: ModuleType = flint
    return module
