"""The exact privacy curve of two binomial laws: delta, epsilon, total variation and the trade-off function."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.accounting._density import Extended, Floats, Wide
from del_audit.accounting._one_pair import one_epsilon
from del_audit.accounting._pair import WIDE_UNIT, Pair, numbers
from del_audit.accounting._renyi import renyi_divergence
from del_audit.accounting._search import first_at_most, largest_epsilon
from del_audit.accounting.log_tail import MAX_TRIALS, tails
from mechanisms.errors import UserError

MAX_VERTICES = 1_000_000
Value = float | Floats
"""A float where all that it is computed from are scalars, else an array."""
_Real = TypeVar("_Real", bound=np.floating)


class Enclosure(NamedTuple):
    """Arrays of one shape: lower and upper ends that hold the truth, and the estimate between."""

    lower: Floats
    estimate: Floats
    upper: Floats


@dataclass(frozen=True)
class TradeOff:
    """Bin(trials, 1/2 + alternative) against Bin(trials, 1/2 + null): every figure of the pair, array in, array out.

    trials: whole numbers, 1 to 10^10. null <= alternative: offsets from 1/2, inside (-1/2, 1/2); each may have a
    `_low` part below its own resolution. All five may be arrays, broadcast with each query. Scalars in, floats out.
    Raises UserError outside these ranges. Theorem 2.

    >>> round(TradeOff.of_vertices(1, 0.25).total_variation, 12)
    0.5
    """

    trials: ArrayLike
    alternative: ArrayLike
    null: ArrayLike
    alternative_low: ArrayLike = 0.0
    null_low: ArrayLike = 0.0
    _pair: Pair = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raises UserError for values outside the ranges above, and prepares the arithmetic of the pair."""
        n, alternative, null = (numbers(v) for v in (self.trials, self.alternative, self.null))
        if not ((n >= 1) & (n <= MAX_TRIALS) & (n == np.floor(n))).all():
            raise UserError(f"Expected trials to be a whole number in 1..{MAX_TRIALS}, got trials={n}.")
        for name, value in (("alternative", alternative), ("null", null)):
            if not (np.abs(value) < 0.5).all():
                raise UserError(f"Expected {name} in (-0.5, 0.5), got {name}={value}.")
        if not (null <= alternative).all():
            raise UserError(f"Expected null <= alternative={alternative}, got null={null}.")
        pair = Pair.of_offsets(n, alternative, self.alternative_low, null, self.null_low)
        object.__setattr__(self, "_pair", pair)

    @classmethod
    def of_vertices(cls, trials: ArrayLike, offset: ArrayLike, offset_low: ArrayLike = 0.0) -> "TradeOff":
        """Returns the worst pair of the quantizer: two opposite vertices of the cube (theorem 1)."""
        return cls(trials, offset, -np.asarray(offset), offset_low, -np.asarray(offset_low))

    @classmethod
    def of_centre(cls, trials: ArrayLike, offset: ArrayLike, offset_low: ArrayLike = 0.0) -> "TradeOff":
        """Returns the pair of a vertex and the centre of the cube, which bounds attack success (theorem 6)."""
        return cls(trials, offset, 0.0, offset_low, 0.0)

    def delta(self, epsilon: ArrayLike) -> Value:
        """Returns the hockey-stick divergence at epsilon (nats, >= 0): a float, or an array for arrays."""
        return _plain(np.exp(self.enclose_log_delta(epsilon).estimate))

    def log_delta(self, epsilon: ArrayLike) -> Value:
        """Returns the logarithm of delta(epsilon), in nats; -inf from the pure epsilon on."""
        return _plain(self.enclose_log_delta(epsilon).estimate)

    def epsilon(self, delta: ArrayLike) -> Value:
        """Returns the smallest epsilon >= 0 (nats) with delta(epsilon) <= delta, for delta in (0, 1)."""
        return _plain(self.enclose_epsilon(delta).estimate)

    @property
    def total_variation(self) -> Value:
        """The best advantage of any test between the two laws: delta(0)."""
        return self.delta(0.0)

    @property
    def pure_epsilon(self) -> Value:
        """The largest log-likelihood ratio, in nats: the epsilon that holds with delta = 0."""
        return _plain((self._pair.n * self._pair.slope + self._pair.shift).astype(np.float64))

    def enclose_log_delta(self, epsilon: ArrayLike) -> Enclosure:
        """Returns log delta(epsilon) with its error bound; arguments and errors as of `delta`."""
        epsilon = np.asarray(epsilon, dtype=np.float64)
        if not (np.isfinite(epsilon) & (epsilon >= 0)).all():
            raise UserError(f"Expected epsilon to be a finite number >= 0, got epsilon={epsilon}.")
        wide = epsilon.astype(Extended)
        with np.errstate(all="ignore"):
            gain, log_null, close, error, error_null = self._pair.gain_at(self._pair.step(wide))
            factor = np.where(close, np.log(-np.expm1(-wide)), 0) + wide
            share = np.exp(factor + log_null - gain)
            slack = error + share * (error_null + 4 * WIDE_UNIT * (1 + wide))
            ends = [gain + np.log(np.maximum(1 - share + shift, 0)) for shift in (-slack, np.zeros_like(slack), slack)]
        nothing = (self._pair.span == 0) | np.isneginf(gain)
        return _enclose(*(np.where(nothing, -np.inf, np.minimum(end, 0)) for end in ends))

    def enclose_epsilon(self, delta: ArrayLike) -> Enclosure:
        """Returns epsilon(delta) with its error bound; arguments and errors as of `epsilon`.

        epsilon(delta) is the largest over counts x of log((P[X > x] - delta) / Q[X > x]), which rises up to one count
        and falls from there. The count is bracketed from a guess.
        """
        delta = np.asarray(delta, dtype=np.float64)
        if not ((delta > 0) & (delta < 1)).all():
            raise UserError(f"Expected delta in (0, 1), got delta={delta}.")
        shape = np.broadcast_shapes(delta.shape, *(field.shape for field in self._pair))
        if not shape and (found := one_epsilon(self._pair, np.log(Extended(delta)))):
            return _enclose_number(*found)
        pair = self._pair.select(lambda field: _flat(field, shape))
        log_delta = _flat(np.log(delta.astype(Extended)), shape)
        with np.errstate(all="ignore"):
            best, error = largest_epsilon(pair, log_delta)
        best, error = best.reshape(shape), error.reshape(shape)
        return _enclose(np.maximum(best - error, 0), best, best + error)

    def beta(self, alpha: ArrayLike) -> Value:
        """Returns the least type II error of a test of the null at type I error alpha, in [0, 1] (Neyman-Pearson).

        Piecewise linear between the vertices (Q[X > x], P[X <= x]). Tiny values keep their relative precision.
        """
        alpha = np.asarray(alpha, dtype=np.float64)
        if not ((alpha >= 0) & (alpha <= 1)).all():
            raise UserError(f"Expected alpha in [0, 1], got alpha={alpha}.")
        n, p, p_low, r, r_low = self._pair[:5]
        with np.errstate(all="ignore"):
            log_alpha, n, r, _ = np.broadcast_arrays(np.log(alpha), n, r, p)
            x = first_at_most(log_alpha, lambda count: tails(count, n, r, r_low)[0].astype(np.float64), n, r)
            above, below = (np.exp(tails(count, n, r, r_low)[0]) for count in (x, x - 1))
            share = np.where(below > above, np.clip((below - alpha) / (below - above), 0, 1), 1)
            more, less = (np.exp(tails(count, n, p, p_low)[1]) for count in (x, x - 1))
        return _plain(((1 - share) * less + share * more).astype(np.float64))

    def alpha(self, beta: ArrayLike) -> Value:
        """Returns the inverse of `beta`: the least type I error of a test with type II error beta, in [0, 1]."""
        beta = np.asarray(beta, dtype=np.float64)
        if not ((beta >= 0) & (beta <= 1)).all():
            raise UserError(f"Expected beta in [0, 1], got beta={beta}.")
        return self.reversed.beta(beta)

    def advantage(self, alpha: ArrayLike) -> Value:
        """Returns 1 - alpha - beta(alpha): true less false positives of the best test at type I error alpha.

        Its largest value is the total variation. Absolute error 1e-15.
        """
        return _plain(np.maximum(1 - np.asarray(alpha, dtype=np.float64) - self.beta(alpha), 0))

    def bayes_error(self, prior: ArrayLike) -> Value:
        """Returns the least error probability of whoever guesses the law, where the alternative has this prior.

        prior: in [0, 1]. At most min(prior, 1 - prior), the error of a guess without looking.
        """
        prior = np.asarray(prior, dtype=np.float64)
        if not ((prior >= 0) & (prior <= 1)).all():
            raise UserError(f"Expected prior in [0, 1], got prior={prior}.")
        n, p, p_low, r, r_low = self._pair[:5]
        with np.errstate(all="ignore"):
            odds = np.log1p(-prior.astype(Extended)) - np.log(prior.astype(Extended))
            x = np.where(self._pair.span > 0, self._pair.step(odds), np.where(odds > 0, n, -1))
            false, missed = np.exp(tails(x, n, r, r_low)[0]), np.exp(tails(x, n, p, p_low)[1])
        return _plain(((1 - prior) * false + prior * missed).astype(np.float64))

    def renyi(self, order: ArrayLike) -> Value:
        """Returns the Renyi divergence of the alternative from the null in nats, for orders > 0.

        Order 1 is the Kullback-Leibler divergence.
        """
        order = np.asarray(order, dtype=np.float64)
        if not (np.isfinite(order) & (order > 0)).all():
            raise UserError(f"Expected order to be a finite number > 0, got order={order}.")
        return _plain(renyi_divergence(self._pair, order.astype(Extended)).astype(np.float64))

    @property
    def zcdp_rho(self) -> Value:
        """The smallest rho with renyi(order) <= rho order for every order > 1, in nats: zero-concentrated DP.

        Of the worst pair it is the Kullback-Leibler divergence, in both directions (theorem 16); of any other pair the
        largest of 400 orders, refined, from the alternative to the null only.
        """
        if (np.asarray(self.null) == -np.asarray(self.alternative)).all():
            return self.renyi(1.0)
        log_excess = np.linspace(-20, 20, 400)
        wide = TradeOff(*(np.asarray(value)[..., None] for value in self._fields()))
        for _ in range(4):
            ratio = wide.renyi(1 + np.exp(log_excess)) / (1 + np.exp(log_excess))
            best = np.take_along_axis(np.broadcast_to(log_excess, ratio.shape), ratio.argmax(-1)[..., None], -1)
            width = (log_excess[..., 1] - log_excess[..., 0])[..., None]
            log_excess = best + width * np.linspace(-1, 1, 41)
        return _plain(np.maximum(ratio.max(-1), self.renyi(1.0)))

    @property
    def reversed(self) -> "TradeOff":
        """The same pair with null and alternative exchanged, and successes counted as failures."""
        trials, alternative, null, alternative_low, null_low = (np.asarray(value) for value in self._fields())
        return TradeOff(trials, -null, -alternative, -null_low, -alternative_low)

    def _fields(self) -> tuple[ArrayLike, ...]:
        return self.trials, self.alternative, self.null, self.alternative_low, self.null_low

    def vertices(self) -> tuple[Floats, Floats]:
        """Returns the corners (alpha, beta) of the trade-off function, alpha falling from 1 to 0: arrays (trials + 2,).

        Raises UserError for array fields and for more than 10^6 trials.
        """
        n, p, p_low, r, r_low = self._pair[:5]
        if n.ndim or p.ndim or r.ndim or n > MAX_VERTICES:
            raise UserError(f"Expected one pair of at most {MAX_VERTICES} trials, got trials={n}.")
        x = np.arange(-1, int(n) + 1)
        with np.errstate(all="ignore"):
            alpha, beta = np.exp(tails(x, n, r, r_low)[0]), np.exp(tails(x, n, p, p_low)[1])
        return alpha.astype(np.float64), beta.astype(np.float64)


def _enclose(lower: Wide, estimate: Wide, upper: Wide) -> Enclosure:
    """Returns the three as doubles, the ends rounded outwards; zero and -inf stay themselves."""
    low, middle, high = (np.asarray(end, dtype=np.float64) for end in (lower, estimate, upper))
    exact = (lower == upper) & ((upper == 0) | np.isinf(upper))
    down, up = np.nextafter(low, np.where(low > 0, 0.0, -np.inf)), np.nextafter(high, np.inf)
    return Enclosure(np.where(exact, low, down), middle, np.where(exact, high, up))


def _enclose_number(estimate: Extended, error: Extended) -> Enclosure:
    """Returns what `_enclose` does of one estimate > 0 and an error > 0, with a lower end of at least 0."""
    low, high = max(float(estimate - error), 0.0), float(estimate + error)
    ends = math.nextafter(low, 0.0 if low > 0 else -math.inf), float(estimate), math.nextafter(high, math.inf)
    return Enclosure(*(np.array(end) for end in ends))


def _flat(field: NDArray[_Real], shape: tuple[int, ...]) -> NDArray[_Real]:
    """Returns the field broadcast to the shape, without axes."""
    return field.reshape(-1) if field.shape == shape else np.broadcast_to(field, shape).ravel()


def _plain(value: Floats) -> Value:
    """Returns a float for an array without axes, else the array."""
    return float(value) if value.ndim == 0 else value
