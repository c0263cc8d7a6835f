"""The guarantee of all that a client sends: prompts of several lengths, resent or not, through several quantizers.

All parts are at their worst pairs at once where the sessions are opposite vertices of their cubes, so the composed
curve is the exact one; trials of equal thresholds add up (docs/theory.md, theorems 1, 4 and 14).
"""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Self

import numpy as np

from del_audit.accounting.composition import Composition, Side, Trials
from del_audit.accounting.computed import ComputedTradeOff
from del_audit.accounting.log_tail import MAX_TRIALS
from del_audit.accounting.other_mechanisms import DIRECTIONS, Direction, Mechanism, connect_dots
from del_audit.accounting.trade_off import TradeOff
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError
from mechanisms.spec import WORD_BITS, QuantizerSpec
from mechanisms.validation import whole_at_least

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

_POINTS_WITH_OTHERS = 1 << 18
_NEGLIGIBLE = 1e-7  # of delta: what is given away to losses beyond the grids of other mechanisms
_LEAST_FLOOR = 1e-280
_CELLS = 1 << 20  # of a dp_accounting distribution
_BLOCK = 1 << 14  # losses whose exact curve is computed at once, which takes about 2 kB each
_TRUNCATED = 1e-18  # delta beyond the losses of such a distribution


@dataclass(frozen=True, slots=True)
class Part:
    """`tokens` tokens through one quantizer, each of them sent `sends` times with fresh noise.

    Raises UserError unless both are whole numbers >= 1.
    """

    spec: QuantizerSpec
    tokens: int
    sends: int = 1

    def __post_init__(self) -> None:
        for name in ("tokens", "sends"):
            value = getattr(self, name)
            whole_at_least(name, value, 1)

    @property
    def trials(self) -> int:
        """Trials that depend on the tokens: tokens x sends x dim x (2^bits - 1)."""
        return self.tokens * self.sends * self.spec.dim * self.spec.trials


@dataclass(frozen=True, slots=True)
class Session:
    """All parts of one session, and other mechanisms that the same change touches.

    Any two sessions with the same numbers of tokens are told apart no better than this. others: the caller vouches that
    their guarantee is about the same change, in the same direction: the person is in the first input of all, or of
    none. Raises UserError for no parts and for more than 10^10 trials.

    >>> spec = QuantizerSpec.from_mu(bits=4, dim=18, clip=0.05, mu=2)
    >>> Session.of_prompts(spec, [3, 5], sends=2).trials == 16 * 18 * 15
    True
    """

    parts: tuple[Part, ...]
    others: tuple[Mechanism, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        object.__setattr__(self, "others", tuple(self.others))
        if not self.parts:
            raise UserError("Expected a session of at least one part, got parts=().")
        if self.trials > MAX_TRIALS:
            raise UserError(
                f"Expected at most {MAX_TRIALS} trials (tokens x sends x dim x (2^bits - 1), over all parts), got "
                f"{self.trials}."
            )

    @classmethod
    def of_prompts(cls, spec: QuantizerSpec, lengths: Iterable[int], sends: int = 1) -> Self:
        """Returns the session of prompts of these lengths in tokens, each prompt sent `sends` times."""
        return cls(tuple(Part(spec, length, sends) for length in lengths))

    @property
    def tokens(self) -> int:
        """Tokens of all parts, each counted as often as it is sent."""
        return sum(part.tokens * part.sends for part in self.parts)

    @property
    def trials(self) -> int:
        """Trials of all parts."""
        return sum(part.trials for part in self.parts)

    @property
    def exact(self) -> bool:
        """Whether all parts share one threshold and nothing else is composed: then the closed form holds."""
        return len(self._thresholds()) == 1 and not self.others

    @property
    def adjacency(self) -> str:
        """Between whom the guarantee holds."""
        text = f"any two sessions in which {self.tokens} tokens are sent, resent ones counted each time"
        return f"{text}, and the same person's data in the other mechanisms" if self.others else text

    def epsilon(self, delta: float) -> Bound:
        """Returns epsilon (nats) at delta, for delta in (0, 1).

        With other mechanisms it takes seconds, and raises UserError for a delta that their own failure reaches.
        """
        if isinstance(delta, bool) or not isinstance(delta, (int, float)) or not 0 < delta < 1:
            raise UserError(f"Expected delta in (0, 1), got delta={delta!r}.")
        if self.exact:
            return self._closed_forms()[0].epsilon(delta)
        if not self.others:
            return Composition(self._trials()).epsilon(delta)
        floor = _NEGLIGIBLE * delta / self._runs()
        above = {direction: self._epsilon_above(delta, direction, floor) for direction in self._directions()}
        worst = max(above, key=lambda direction: above[direction].upper)
        below, _ = self._composed(worst, "lower", floor)
        estimate = above[worst].estimate
        return Bound(min(estimate, below.epsilon(delta).lower), estimate, above[worst].upper)

    def delta(self, epsilon: float) -> Bound:
        """Returns delta at epsilon (nats, >= 0); with other mechanisms it takes seconds."""
        if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 <= epsilon < math.inf:
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon!r}.")
        if self.exact:
            return self._closed_forms()[0].delta(epsilon)
        if not self.others:
            return Composition(self._trials()).delta(epsilon)
        above = {direction: self._delta_above(epsilon, direction) for direction in self._directions()}
        worst = max(above, key=lambda direction: above[direction][0].upper)
        bound, floor = above[worst]
        below, _ = self._composed(worst, "lower", floor)
        return Bound(min(bound.estimate, below.delta(epsilon).lower), bound.estimate, bound.upper)

    @property
    def total_variation(self) -> Bound:
        """The best advantage of any distinguisher, in [0, 1]."""
        return self.delta(0.0)

    @property
    def pure_epsilon(self) -> Bound:
        """The epsilon (nats) that holds with delta = 0; infinite where another mechanism has none."""
        ends = [curve.pure_epsilon for curve in self._closed_forms()]
        rest = sum(other.times * other.pure_epsilon for other in self.others)
        lower, upper = math.fsum(end.lower for end in ends) + rest, math.fsum(end.upper for end in ends) + rest
        return Bound(math.nextafter(lower, 0), (lower + upper) / 2, math.nextafter(upper, math.inf))

    def privacy_loss_distribution(self, interval: float | None = None) -> "tuple[PrivacyLossDistribution, float]":
        """Returns the quantizers' dp_accounting PrivacyLossDistribution, without others, and its interval (nats).

        A pessimistic estimate for compositions inside dp_accounting, from the exact curve; losses beyond a delta of
        1e-18 are infinite. interval: of the losses; left out, 1e-3 or what 2^20 cells a part need. Several thresholds
        are composed by dp_accounting, whose rounding is not accounted for. Raises UserError for an interval that is not
        above 0 or needs more cells, and where dp-accounting is not installed.
        """
        try:
            from dp_accounting.pld import pld_pmf
            from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
        except ImportError:
            raise UserError(
                "Expected dp-accounting to be installed for its distributions, got none: pip install 'del-audit[dp]'."
            ) from None
        curves = self._closed_forms()
        ends = [curve.epsilon(_TRUNCATED).upper for curve in curves]
        least = max(1e-9, 2.01 * max(ends) / _CELLS)
        interval = max(1e-3, least) if interval is None else interval
        if not interval >= least:
            raise UserError(f"Expected interval >= {least:.3g}, got interval={interval}.")
        laws = []
        for curve, end in zip(curves, ends, strict=True):
            last = math.ceil(end / interval) + 1
            loss = interval * np.arange(last + 1)
            blocks = np.array_split(loss, 1 + len(loss) // _BLOCK)
            delta = np.exp(np.concatenate([curve.curve.enclose_log_delta(block).upper for block in blocks]))
            mirrored = delta * np.exp(-loss) - np.expm1(-loss)
            pair = connect_dots(np.append(-loss[:0:-1], loss), np.append(mirrored[:0:-1], delta))
            mass = np.zeros(2 * last + 1)
            mass[np.rint(pair.losses.loss / interval).astype(int) + last] = np.exp(pair.losses.log_mass)
            laws.append(PrivacyLossDistribution(pld_pmf.DensePLDPmf(interval, -last, mass, pair.infinity, True)))
        return reduce(lambda first, second: first.compose(second), laws), interval

    def _thresholds(self) -> Counter[int]:
        """Returns the trials of each upper threshold, in units of 2^-32."""
        trials: Counter[int] = Counter()
        for part in self.parts:
            trials[part.spec.threshold_high] += part.trials
        return trials

    def _closed_forms(self) -> list[ComputedTradeOff]:
        """Returns the exact curve of all trials of each threshold."""
        offsets = {threshold / 2**WORD_BITS - 0.5: count for threshold, count in self._thresholds().items()}
        return [ComputedTradeOff(TradeOff.of_vertices(count, offset)) for offset, count in offsets.items()]

    def _trials(self) -> list[Trials]:
        """Returns the quantizers as parts of a composition, without those that release nothing."""
        chances = {threshold / 2**WORD_BITS: count for threshold, count in self._thresholds().items()}
        return [Trials(count, p, 1 - p) for p, count in chances.items() if p > 0.5]

    def _runs(self) -> int:
        """Returns how many runs the other mechanisms have together."""
        return sum(other.times for other in self.others)

    def _directions(self) -> tuple[Direction, ...]:
        """Returns the directions that differ."""
        return DIRECTIONS[:1] if all(other.symmetric for other in self.others) else DIRECTIONS

    def _composed(self, direction: Direction, side: Side, floor: float) -> tuple[Composition, float]:
        """Returns all finite losses together, and the probability that any of them is infinite."""
        pairs = [(other.pair(direction, side, floor), other.times) for other in self.others]
        losses = [replace(pair.losses, times=times) for pair, times in pairs]
        finite = math.fsum(times * math.log1p(-min(pair.infinity, 1 - 2**-53)) for pair, times in pairs)
        return Composition([*self._trials(), *losses], _POINTS_WITH_OTHERS), -math.expm1(finite)

    def _epsilon_above(self, delta: float, direction: Direction, floor: float) -> Bound:
        """Returns epsilon at delta of a pair that dominates the session in one direction."""
        composed, infinite = self._composed(direction, "upper", floor)
        left = math.nextafter(delta - infinite * (1 + 1e-9), 0)
        if left <= 0:
            raise UserError(
                f"Expected delta > {infinite:.3g}, with which the other mechanisms may fail, got delta={delta}."
            )
        return composed.epsilon(left)

    def _delta_above(self, epsilon: float, direction: Direction) -> tuple[Bound, float]:
        """Returns delta at epsilon of a pair that dominates the session in one direction, and where its grids end."""
        floor = 1e-12
        while True:
            composed, infinite = self._composed(direction, "upper", floor)
            finite = composed.delta(epsilon)
            enough = max(_LEAST_FLOOR, _NEGLIGIBLE * finite.upper / self._runs())
            if floor <= enough:
                estimate, upper = (min(1.0, end + infinite * (1 + 1e-9)) for end in (finite.estimate, finite.upper))
                return Bound(finite.lower, estimate, upper), floor
            floor = enough
