"""The privacy curve of independent parts that differ: several quantizers, or coordinates with different ranges.

Losses log(P/Q) are split between the two neighbours on a grid so that both laws keep their mass: the pair on the grid
then dominates the true one, and its error is of second order in the step. Laws are tilted before they are convolved,
so that a delta of 1e-300 is as accurate as one of 1e-5 (docs/theory.md, theorem 14).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from del_audit.accounting._density import Extended, Floats, Wide, log_density
from del_audit.statistics.bound import Bound
from mechanisms.errors import UserError

Side = Literal["lower", "upper"]

_REACH = 45.0  # what lies outside a window has a tilted mass of at most exp(-45)
_RELATIVE_ERROR = 1e-10  # of the masses and of their generating function, for up to 10^10 trials
_LOG_TINY = -700.0
_LOG_TILTS = (-16.0, 12.0)
_UNIT = float(np.finfo(np.float64).eps)


class Part(Protocol):
    """An independent part of a release, seen under its worst pair (P, Q); theta tilts P by exp(theta loss)."""

    @property
    def times(self) -> int:
        """How many independent copies there are."""

    def log_mgf(self, theta: float) -> float:
        """Returns log E_P[exp(theta loss)] of one copy."""

    def ends(self) -> tuple[float, float]:
        """Returns the least and the largest loss of one copy, in nats."""

    def spread(self, theta: float) -> tuple[float, float, float]:
        """Returns mean, variance and the largest single step of the tilted loss of one copy, in nats."""

    def tilted(self, theta: float) -> tuple[Floats, Floats, Floats]:
        """Returns losses (points,) in nats, bounds on their rounding, and the tilted masses, which add up to 1."""


@dataclass(frozen=True, slots=True)
class Trials:
    """`count` equal trials, whose number of successes is seen: Bin(count, p) against Bin(count, q), p != q."""

    count: int
    p: float
    q: float
    times: int = 1

    def log_mgf(self, theta: float) -> float:
        """Returns log E_P[exp(theta loss)]."""
        return float(self.count * self._log_step(theta))

    def ends(self) -> tuple[float, float]:
        """Returns the least and the largest loss."""
        low, high = sorted(float(self.count * step) for step in self._steps())
        return low, high

    def spread(self, theta: float) -> tuple[float, float, float]:
        """Returns mean, variance and largest step of the tilted loss."""
        success, failure = self._steps()
        p, q = (float(chance) for chance in self._tilted_chances(theta))
        step = float(success - failure)
        return self.count * (float(failure) + p * step), self.count * p * q * step**2, abs(step)

    def tilted(self, theta: float) -> tuple[Floats, Floats, Floats]:
        """Returns losses, their rounding and masses of Bin(count, tilted p), without what is negligible."""
        success, failure = self._steps()
        p, q = self._tilted_chances(theta)
        mean, reach = float(self.count * p), _reach(float(self.count * p * q), 1.0)
        x = np.arange(max(0, math.floor(mean - reach)), min(self.count, math.ceil(mean + reach)) + 1)
        loss = (self.count * failure + x * (success - failure)).astype(np.float64)
        rounding = 4 * _UNIT * (np.abs(loss) + float(np.finfo(Extended).eps) / _UNIT * self.count * float(abs(success)))
        return loss, rounding, _masses(x.astype(Extended), self.count, p, q)

    def _steps(self) -> tuple[Extended, Extended]:
        """Returns the loss of one success and of one failure."""
        p, q = Extended(self.p), Extended(self.q)
        return np.log(p / q), np.log((1 - p) / (1 - q))

    def _log_step(self, theta: float) -> Extended:
        success, failure = self._steps()
        log_p, log_q = np.log(Extended(self.p)) + theta * success, np.log1p(-Extended(self.p)) + theta * failure
        return Extended(np.logaddexp(log_p, log_q))

    def _tilted_chances(self, theta: float) -> tuple[Extended, Extended]:
        """Returns the tilted probabilities of a success and of a failure, neither of them 0."""
        success, failure = self._steps()
        log_p, log_q = np.log(Extended(self.p)) + theta * success, np.log1p(-Extended(self.p)) + theta * failure
        total = np.logaddexp(log_p, log_q)
        return np.exp(np.maximum(log_p - total, _LOG_TINY)), np.exp(np.maximum(log_q - total, _LOG_TINY))


@dataclass(frozen=True, slots=True)
class Losses:
    """A pair given by its losses (points,) in nats and the logarithm of P's mass at each; nothing at infinity."""

    loss: Floats
    log_mass: Floats
    times: int = 1

    def log_mgf(self, theta: float) -> float:
        """Returns log E_P[exp(theta loss)]."""
        return float(np.logaddexp.reduce(self.log_mass + theta * self.loss))

    def ends(self) -> tuple[float, float]:
        """Returns the least and the largest loss."""
        return float(self.loss.min()), float(self.loss.max())

    def spread(self, theta: float) -> tuple[float, float, float]:
        """Returns mean, variance and largest step of the tilted loss."""
        _, _, mass = self.tilted(theta)
        mean = float(mass @ self.loss)
        return mean, float(mass @ (self.loss - mean) ** 2), float(np.ptp(self.loss))

    def tilted(self, theta: float) -> tuple[Floats, Floats, Floats]:
        """Returns losses, their rounding and the tilted masses."""
        mass = np.exp(self.log_mass + theta * self.loss - self.log_mgf(theta))
        return self.loss, 4 * _UNIT * np.abs(self.loss), mass


@dataclass(frozen=True, slots=True)
class Composition:
    """The pair of all parts together: epsilon and delta, each enclosed.

    parts: at least one. points: of the grid at least, a power of two; the lower end is short by about 10 parts / points
    standard deviations of the loss, the upper end long by far less. The bounds hold in float arithmetic with its errors
    accounted for. Raises UserError for no parts. Theorem 14.

    >>> half = Trials(135, 0.5612, 0.4388)
    >>> whole = Composition([Trials(270, 0.5612, 0.4388)])
    >>> abs(Composition([half, half]).epsilon(1e-5).upper / whole.epsilon(1e-5).upper - 1) < 1e-6
    True
    """

    parts: Sequence[Part]
    points: int = 1 << 16

    def __post_init__(self) -> None:
        """Raises UserError where there is nothing to compose."""
        if not self.parts:
            raise UserError("Expected at least one part to compose, got parts=[].")

    def epsilon(self, delta: float) -> Bound:
        """Returns the smallest epsilon >= 0 (nats) with delta(epsilon) <= delta, for delta in (0, 1)."""
        if not 0 < delta < 1:
            raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
        log_delta, ceiling = math.log(delta), min(self.renyi_epsilon(delta), self.pure_epsilon)
        theta = self._tilt_to(log_delta)
        below, above = self._curve(theta, "lower"), self._curve(theta, "upper")
        gap = 256 * above.step
        estimate = _least(lambda epsilon: above.log_delta(epsilon)[1] <= log_delta, ceiling, gap)
        upper = _least(lambda epsilon: above.log_delta(epsilon)[2] <= log_delta, ceiling, gap)
        lower = _greatest(lambda epsilon: below.log_delta(epsilon)[0] > log_delta, estimate, below.step)
        return Bound(lower, estimate, upper)

    def delta(self, epsilon: float) -> Bound:
        """Returns the hockey-stick divergence at epsilon (nats, >= 0)."""
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon}.")
        theta = self._tilt(lambda theta: self._log_chernoff(theta) - theta * epsilon)
        lower = math.exp(self._curve(theta, "lower").log_delta(epsilon)[0])
        _, estimate, upper = (min(1.0, math.exp(end)) for end in self._curve(theta, "upper").log_delta(epsilon))
        return Bound(min(lower, estimate), estimate, upper)

    @property
    def pure_epsilon(self) -> float:
        """The epsilon (nats) that holds with delta = 0, from its safe side."""
        return max(0.0, math.fsum(part.times * part.ends()[1] for part in self.parts)) * (1 + 1e-12)

    def renyi_epsilon(self, delta: float) -> float:
        """Returns the epsilon (nats) at delta that follows from the best Renyi divergence: cheap, valid, not tight."""
        theta = self._tilt(lambda theta: (self._log_chernoff(theta) - math.log(delta)) / theta)
        return max(0.0, (self._log_chernoff(theta) - math.log(delta)) / theta) * (1 + _RELATIVE_ERROR)

    def _log_chernoff(self, theta: float) -> float:
        """Returns log c with delta(epsilon) <= c exp(-theta epsilon): theorem 15."""
        return sum(part.times * part.log_mgf(theta) for part in self.parts) + _log_peak(theta)

    def _tilt(self, height: Callable[[float], float]) -> float:
        """Returns theta > 0 at which the height is about smallest; accuracy, not validity, depends on it."""
        from scipy.optimize import minimize_scalar  # a quarter of a second, which one quantizer's figures do not need

        found = minimize_scalar(lambda log: height(math.exp(log)), bounds=_LOG_TILTS, method="bounded")
        return math.exp(float(found.x))

    def _tilt_to(self, log_delta: float) -> float:
        """Returns theta > 0 whose tilted mean is about the epsilon in question: P[loss > mean] is about delta there.

        Where the largest loss alone is likelier than delta, most of the tilted mass lies there, and no more tilt helps.
        """

        def rate(theta: float) -> float:
            return sum(part.times * (part.log_mgf(theta) - theta * part.spread(theta)[0]) for part in self.parts)

        low, high = _LOG_TILTS
        target = max(log_delta, 0.5 * rate(math.exp(high)))
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if rate(math.exp(middle)) > target else (low, middle)
        return math.exp(low)

    def _curve(self, theta: float, side: Side) -> "_Curve":
        """Returns the tilted law of the sum on a grid around its mean."""
        spreads = [(part.times, *part.spread(theta)) for part in self.parts]
        mean = math.fsum(times * m for times, m, _, _ in spreads)
        variance = math.fsum(times * v for times, _, v, _ in spreads)
        reach = 1.1 * _reach(variance, max(step for *_, step in spreads))  # a tenth for what the grid adds
        lowest, highest = (math.fsum(part.times * part.ends()[i] for part in self.parts) for i in (0, 1))
        copies = sum(part.times for part in self.parts)
        points = max(self.points, 1 << math.ceil(math.log2(8 * copies)))
        low, width = mean - reach, 2 * reach
        if 1.3 * (highest - lowest) < width:  # the whole range fits, with room for what the grid moves
            low, width = lowest - 0.15 * (highest - lowest), 1.3 * (highest - lowest)
        step = max(width, 1e-9) / points
        spectrum = np.ones(points // 2 + 1, dtype=np.complex128)
        log_mgf = 0.0
        for part in self.parts:
            cells, excess = _on_grid(part, theta, step, side, points)
            spectrum *= np.fft.rfft(cells) ** part.times
            log_mgf += part.times * (part.log_mgf(theta) + excess)
        first = math.floor(low / step)
        mass = np.roll(np.fft.irfft(spectrum, points), -(first % points))
        transform_error = 8 * (copies + 1) * _UNIT * math.log2(points)
        lost = 4 * (copies + 1) * math.exp(-_REACH)
        return _Curve(theta, step, first, mass, log_mgf, transform_error, lost)


@dataclass(frozen=True, slots=True)
class _Curve:
    """A tilted law on the grid (first + i) step, and what is known of its errors."""

    theta: float
    step: float
    first: int
    mass: Floats
    log_mgf: float
    transform_error: float
    lost: float

    def log_delta(self, epsilon: float) -> tuple[float, float, float]:
        """Returns log delta(epsilon) of the grid's pair: the value less its error, the value, and with its error."""
        above = (self.first + np.arange(len(self.mass))) * self.step - epsilon
        above, mass = above[above > 0], self.mass[above > 0]
        log_lost = math.log(self.lost) + _log_peak(self.theta)
        shift = self.log_mgf - self.theta * epsilon
        if not len(above):
            return -math.inf, -math.inf, log_lost + shift
        log_weight = np.log(-np.expm1(-above)) - self.theta * above
        scale = float(log_weight.max())
        weight = np.exp(log_weight - scale)
        value = float(weight @ mass)
        relative = _RELATIVE_ERROR + 4 * _UNIT * (abs(self.log_mgf) + self.theta * abs(epsilon))  # of `shift`
        error = self.transform_error * float(np.linalg.norm(weight)) + relative * value
        error += math.exp(min(log_lost - scale, 700.0))
        ends = (value - error, value, value + error)
        low, middle, high = (math.log(end) + scale + shift if end > 0 else -math.inf for end in ends)
        return low, middle, high


def _least(holds: Callable[[float], bool], ceiling: float, gap: float) -> float:
    """Returns an epsilon >= 0 that holds, next to one that does not, down from a ceiling that does; 0 where that holds.

    From above, since far below the window of a tilted law its errors hide what it says.
    """
    high = ceiling
    while high > 0 and holds(low := max(0.0, high - gap)):
        high, gap = low, 1.2 * gap
    if high == 0:
        return 0.0
    while low < (middle := (low + high) / 2) < high and high - low > 4 * _UNIT * high:
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _greatest(holds: Callable[[float], bool], ceiling: float, gap: float) -> float:
    """Returns an epsilon > 0 below the ceiling that holds, or 0."""
    epsilon = ceiling
    while epsilon > 0 and not holds(epsilon):
        epsilon, gap = max(0.0, epsilon - gap), 1.5 * gap
    return epsilon


def _on_grid(part: Part, theta: float, step: float, side: Side, points: int) -> tuple[Floats, float]:
    """Returns the tilted masses of one copy on the grid, modulo its length, adding up to 1; and log of their true sum.

    upper: each loss goes to both neighbours, so that P and Q keep their masses: a pair that dominates. lower: each
    goes to the neighbour below, which lowers delta at every epsilon.
    """
    loss, rounding, mass = part.tilted(theta)
    shift = rounding if side == "upper" else -rounding
    loss, mass = loss + shift, mass * np.exp(theta * shift)  # P keeps its mass where the loss moves
    index = np.floor(loss / step)
    rest = np.clip(loss - index * step, 0, step)
    share = np.expm1(-rest) / math.expm1(-step) if side == "upper" else np.zeros_like(rest)
    below, above = mass * (1 - share) * np.exp(-theta * rest), mass * share * np.exp(theta * (step - rest))
    place = (index % points).astype(np.intp)
    cells = np.bincount(place, below, points) + np.bincount((place + 1) % points, above, points)
    total = float(cells.sum())
    return cells / total, math.log(total)


def _masses(x: Wide, n: int, p: Extended, q: Extended) -> Floats:
    """Returns P[X = x] of Bin(n, p), q = 1 - p."""
    inner = np.minimum(x, n - 1)
    trials, chance, rest = (np.full(x.shape, value, dtype=Extended) for value in (n, p, q))
    with np.errstate(all="ignore"):
        log_mass = log_density(inner, trials, chance, rest, inner - n * p) - np.log((n - inner) / q)
        log_mass = np.where(x == 0, n * np.log(q), np.where(x == n, n * np.log(p), log_mass))
        masses: Floats = np.exp(log_mass).astype(np.float64)
    return masses


def _reach(variance: float, step: float) -> float:
    """Returns a distance from the mean that a sum of independent steps passes with probability 2 exp(-45) at most.

    Bernstein's inequality, for steps that are each within `step` of their mean.
    """
    linear = _REACH * step / 3
    return linear + math.sqrt(linear**2 + 2 * _REACH * variance)


def _log_peak(theta: float) -> float:
    """Returns log of the largest exp(-theta z) (1 - exp(-z)) over z > 0."""
    return theta * math.log(theta) - (1 + theta) * math.log1p(theta)
