"""Other mechanisms that see the same person, as pairs of laws on a grid, so that a session can be composed with them.

A mechanism with a known privacy curve is replaced by a pair whose curve is at least as high at each grid point and a
chord between them. Privacy curves are convex in e^epsilon, so that pair dominates the mechanism and may be composed in
its place ("Connect the Dots", arXiv 2207.04380; docs/theory.md, theorem 14).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple, Protocol, get_args

import numpy as np
from scipy.special import erfcx, ndtr

from del_audit.accounting._density import Floats
from del_audit.accounting.composition import Losses, Side
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution

Direction = Literal["remove", "add"]
"""Whether the person is in the first of two neighbouring inputs, or in the second."""
DIRECTIONS: tuple[Direction, ...] = get_args(Direction)

MAX_RUNS = 100_000
"""Runs of one mechanism, and steps of one training, that can be composed."""

_POINTS = 4096
_RELATIVE_ERROR = 1e-9  # of the closed forms below (tested against 60 digits), and of the pairs made from them
_LEAST_STEP = 1e-6  # of a grid, relative to its losses
_ROOT_HALF = math.sqrt(0.5)


class Pair(NamedTuple):
    """A pair of laws in the place of one run: finite losses with their masses, and the mass of an infinite loss."""

    losses: Losses
    infinity: float


class Mechanism(Protocol):
    """`times` independent runs of one mechanism; symmetric: both directions have the same curve."""

    symmetric: ClassVar[bool]

    @property
    def times(self) -> int:
        """How many runs there are."""

    @property
    def pure_epsilon(self) -> float:
        """The epsilon (nats) of one run that holds with delta = 0; may be infinite."""

    def pair(self, direction: Direction, side: Side, floor: float) -> Pair:
        """Returns a pair that dominates one run (upper) or that it dominates (lower), near it down to delta = floor."""


@dataclass(frozen=True, slots=True)
class Gaussian:
    """`releases` releases with Gaussian noise, of standard deviation noise_multiplier times the L2 sensitivity.

    Raises UserError for a noise_multiplier outside [0.1, 10000], or releases outside 1..100000.
    """

    noise_multiplier: float
    releases: int = 1
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_noise(self.noise_multiplier)
        _check_whole("releases", self.releases)

    @property
    def times(self) -> int:
        """One: Gaussian releases are together one with less noise."""
        return 1

    @property
    def pure_epsilon(self) -> float:
        """Infinite."""
        return math.inf

    def pair(self, direction: Direction, side: Side, floor: float) -> Pair:
        """Returns a pair as Mechanism says, from the closed form (Balle and Wang, arXiv 1805.06530)."""
        loss, delta = _gaussian_curve(math.sqrt(self.releases) / self.noise_multiplier, floor)
        return connect_dots(loss, delta, side)


@dataclass(frozen=True, slots=True)
class DpSgd:
    """A training run: `steps` Gaussian releases of a batch that each example enters with probability sample_rate.

    Poisson sampling; one example more or less. noise_multiplier: standard deviation over the clipping norm. Raises
    UserError for a noise_multiplier outside [0.1, 10000], a sample_rate outside (0, 1], or steps outside 1..100000.
    """

    noise_multiplier: float
    sample_rate: float
    steps: int
    symmetric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _check_noise(self.noise_multiplier)
        _check_number("sample_rate", self.sample_rate, "in (0, 1]", lambda value: 0 < value <= 1)
        _check_whole("steps", self.steps)

    @property
    def times(self) -> int:
        """The steps."""
        return self.steps

    @property
    def pure_epsilon(self) -> float:
        """Infinite."""
        return math.inf

    def pair(self, direction: Direction, side: Side, floor: float) -> Pair:
        """Returns a pair as Mechanism says, from the closed form.

        Where the Gaussian release has delta g at loss x, the mixture of rate q has delta q g at y = ln(1 - q + q e^x)
        with the example in the first input. With it in the second, it has q g e^(z - x) at z = -ln(1 - q + q e^-x).
        """
        q = self.sample_rate
        x, delta = _gaussian_curve(1 / self.noise_multiplier, floor)
        if direction == "remove":
            return connect_dots(*_thinned(_mixed(x, q), q * delta), side)
        loss = -_mixed(-x, q)
        return connect_dots(*_thinned(loss, q * delta * np.exp(loss - x)), side)


@dataclass(frozen=True, slots=True)
class Guaranteed:
    """`times` uses of anything known to be (epsilon, delta)-private: randomised response or Laplace noise, for two.

    Stands for the one that composes worst of all with this guarantee (Kairouz, Oh and Viswanath, arXiv 1311.0776): a
    loss of plus or minus epsilon, and everything with probability delta. Raises UserError for an epsilon outside
    (0, 700], a delta outside [0, 1), or times outside 1..100000.
    """

    epsilon: float
    delta: float = 0.0
    times: int = 1
    symmetric: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_number("epsilon", self.epsilon, "in (0, 700]", lambda value: 0 < value <= 700)
        _check_number("delta", self.delta, "in [0, 1)", lambda value: 0 <= value < 1)
        _check_whole("times", self.times)

    @property
    def pure_epsilon(self) -> float:
        """Epsilon where delta is 0, else infinite."""
        return math.inf if self.delta else self.epsilon

    def pair(self, direction: Direction, side: Side, floor: float) -> Pair:
        """Returns the worst pair itself for both sides."""
        loss = np.array([-self.epsilon, self.epsilon])
        return Pair(Losses(loss, math.log1p(-self.delta) - np.logaddexp(0, -loss)), self.delta)


@dataclass(frozen=True, slots=True)
class PrivacyLoss:
    """`times` uses of a dp_accounting PrivacyLossDistribution, which must be a pessimistic estimate.

    pld: as dp_accounting made or composed it. error: a bound on what its delta may be short by, since dp_accounting
    does not account for the rounding of its transforms; no delta below times x error can be shown. Raises UserError
    for what is no such distribution, an error outside [0, 1), or times outside 1..100000.
    """

    pld: "PrivacyLossDistribution"
    times: int = 1
    error: float = 1e-11
    symmetric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("_pmf_remove", "_pmf_add"):
            if getattr(getattr(self.pld, name, None), "_pessimistic_estimate", None) is not True:
                raise UserError(
                    "Expected pld to be a dp_accounting PrivacyLossDistribution and a pessimistic estimate, got a "
                    f"{type(self.pld).__name__} that is none."
                )
        _check_number("error", self.error, "in [0, 1)", lambda value: 0 <= value < 1)
        _check_whole("times", self.times)

    @property
    def pure_epsilon(self) -> float:
        """Infinite: losses beyond the distribution's truncation are not known."""
        return math.inf

    def pair(self, direction: Direction, side: Side, floor: float) -> Pair:
        """Returns its masses, which dp_accounting shows in private fields only; for the lower side no loss at all."""
        if side == "lower":
            return Pair(Losses(np.zeros(1), np.zeros(1)), 0.0)
        law = getattr(self.pld, f"_pmf_{direction}").to_dense_pmf()
        loss = (law._lower_loss + np.arange(law.size)) * law._discretization
        return Pair(_positive(loss, np.asarray(law._probs)), float(law._infinity_mass) + self.error)


def connect_dots(loss: Floats, delta: Floats, side: Side = "upper") -> Pair:
    """Returns the pair whose privacy curve connects the dots (loss, delta), or one that the same dots dominate.

    loss: shape (points,), nats, rising. delta: the curve there, within 10^-9 of it, falling. upper: between two losses
    the curve is straight in e^epsilon, so above any privacy curve through the dots. lower: each loss goes one grid
    point lower, which is below where any part of it came from; none is infinite.
    """
    step = -np.expm1(-np.diff(loss))
    doubt = 2 * _RELATIVE_ERROR * delta
    above = (delta[:-1] - (1 - step) * delta[1:]) / step  # P[loss >= the right end of each step]
    if side == "lower":
        tail = _falling(np.append(above - doubt[:-1] / step, delta[-1] - doubt[-1]))
        return Pair(_positive(loss, -np.diff(tail, append=0.0)), 0.0)
    tail = _falling(np.append(above, delta[-1]))
    mass = -np.diff(tail, prepend=1.0)
    return Pair(_positive(loss, mass * (1 + 2 * _RELATIVE_ERROR)), float(tail[-1]) * (1 + 2 * _RELATIVE_ERROR))


def _falling(tail: Floats) -> Floats:
    """Returns the least falling sequence at or above the given one, held within [0, 1]."""
    falling: Floats = np.clip(np.maximum.accumulate(tail[::-1])[::-1], 0, 1)
    return falling


def _positive(loss: Floats, mass: Floats) -> Losses:
    """Returns the losses whose mass is above 0."""
    kept = mass > 0
    return Losses(loss[kept], np.log(mass[kept]))


def _gaussian_curve(mu: float, floor: float) -> tuple[Floats, Floats]:
    """Returns losses of both signs and delta there, for two normal laws whose means differ by mu standard deviations.

    Up to where delta is the floor. At -epsilon it is 1 - e^-epsilon + e^-epsilon delta(epsilon).
    """
    x = np.linspace(0, 40, _POINTS + 1)
    reach = x[np.argmax(_gaussian_delta(mu * (mu / 2 + x), mu) <= max(floor, 1e-290))]
    loss = mu * (mu / 2 + reach) * np.linspace(0, 1, _POINTS + 1)
    delta = _gaussian_delta(loss, mu)
    mirrored = delta * np.exp(-loss) - np.expm1(-loss)
    return np.append(-loss[:0:-1], loss), np.append(mirrored[:0:-1], delta)


def _gaussian_delta(epsilon: Floats, mu: float) -> Floats:
    """Returns Phi(mu/2 - epsilon/mu) - e^epsilon Phi(-mu/2 - epsilon/mu) without cancellation, for epsilon >= 0."""
    x = epsilon / mu - mu / 2
    density = np.exp(-x * x / 2) / 2
    first = np.where(x < 0, ndtr(-x), density * erfcx(np.maximum(x, 0) * _ROOT_HALF))
    delta: Floats = first - density * erfcx((x + mu) * _ROOT_HALF)
    return delta


def _mixed(x: Floats, q: float) -> Floats:
    """Returns ln(1 - q + q e^x) to full relative precision."""
    change = q * np.expm1(x)
    with np.errstate(divide="ignore"):
        mixed: Floats = np.where(change > -0.5, np.log1p(change), np.logaddexp(np.log1p(-q), math.log(q) + x))
    return mixed


def _thinned(loss: Floats, delta: Floats) -> tuple[Floats, Floats]:
    """Returns the dots without those that stand too near to the next for their distance to be exact."""
    kept = np.append(np.diff(loss) > _LEAST_STEP * np.abs(loss[1:]), True)
    return loss[kept], delta[kept]


def _check_noise(value: object) -> None:
    _check_number("noise_multiplier", value, "in [0.1, 10000]", lambda value: 0.1 <= value <= 10_000)


def _check_number(name: str, value: object, allowed: str, holds: Callable[[float], bool]) -> None:
    """Raises UserError for what is no number, or not within what is allowed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not holds(value):
        raise UserError(f"Expected {name} to be a number {allowed}, got {name}={value!r}.")


def _check_whole(name: str, value: object) -> None:
    """Raises UserError for what is no whole number of runs."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_RUNS:
        raise UserError(f"Expected {name} to be a whole number in 1..{MAX_RUNS}, got {name}={value!r}.")
