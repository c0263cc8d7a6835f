"""What the claimed law says of sums of counts: exact binomial tails, and bounds that hold for any sum of known terms.

A battery judges at one in 100,000 a test, where a normal approximation is not good enough: no p-value rests on one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import betainc, logsumexp
from scipy.stats import binom

from mechanisms.levels import LEVELS
from mechanisms.quantizer import level_thresholds
from mechanisms.spec import WORD_BITS, QuantizerSpec

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Levels = NDArray[np.uint8]

TOP_LEVEL = LEVELS - 1
"""The level of +clip; that of -clip is 0."""
DULL = 2.0
DEGREES = 4
_TINY = 1e-150


def binomial_p(successes: ArrayLike, trials: ArrayLike, chance: ArrayLike) -> Floats:
    """Returns the exact two-sided p-values of binomial counts: twice the smaller tail, at most 1; arrays broadcast."""
    k, n, p = (np.asarray(value, dtype=np.float64) for value in (successes, trials, chance))
    smaller = np.minimum(at_most(k, n, p), at_least(k, n, p))
    both: Floats = np.minimum(1.0, 2 * smaller)
    return both


def at_least(successes: ArrayLike, trials: ArrayLike, chance: ArrayLike) -> Floats:
    """Returns P[Bin(trials, chance) >= successes]."""
    k, n, p = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (successes, trials, chance)))
    inner = betainc(np.maximum(k, 1), np.maximum(n - k + 1, 1), p)
    return np.where(k <= 0, 1.0, np.where(k > n, 0.0, inner))


def at_most(successes: ArrayLike, trials: ArrayLike, chance: ArrayLike) -> Floats:
    """Returns P[Bin(trials, chance) <= successes]."""
    k, n, p = (np.asarray(value, dtype=np.float64) for value in (successes, trials, chance))
    return at_least(n - k, n, 1 - p)


def chernoff_p(total: float, variance: float, log_mgf: Callable[[float], float]) -> float:
    """Returns a two-sided p-value of a centred sum: twice the bound on its tail from total on (Chernoff, 1952).

    log_mgf: of the sum, log E exp(s sum), centred. Any s gives a valid bound, so the search for the best one can only
    lose power. variance: of the sum, to know where to search; <= 0 says that nothing was summed. Within DULL standard
    deviations the bound says little, and 1 is returned.
    """
    if variance <= 0 or abs(total) < DULL * math.sqrt(variance):
        return 1.0
    sign, size = math.copysign(1.0, total), abs(total)
    start = size / variance
    found = minimize_scalar(
        lambda s: log_mgf(sign * s) - s * size,
        bounds=(0.0, 8 * start),
        method="bounded",
        options={"xatol": 0.02 * start},
    )
    exponent = float(found.fun)
    return min(1.0, 2 * math.exp(min(0.0, exponent))) if math.isfinite(exponent) else 1.0


@dataclass(frozen=True, eq=False)
class ClaimedLaw:
    """The law of a count at each of the 255 levels, as the spec claims it: Bin(u, threshold / 2^32).

    chance: shape (255,). masses: shape (255, u + 1). mean, deviation: of a count, shape (255,).
    smooth: polynomials of a count of degrees 1 to 4 that are orthonormal under each level's law, shape (4, 255, u + 1);
    all 0 where a count takes too few values for the degree. Sums of them tell a wrong mean, spread, skew and tails:
    Neyman's smooth tests of fit (1937).
    """

    spec: QuantizerSpec
    chance: Floats
    masses: Floats
    mean: Floats
    deviation: Floats
    smooth: Floats

    @classmethod
    def of(cls, spec: QuantizerSpec) -> "ClaimedLaw":
        """Returns the law that the accountant bounds."""
        chance, u = level_thresholds(spec) / float(1 << WORD_BITS), spec.trials
        masses = np.asarray(binom.pmf(np.arange(u + 1), u, chance[:, None]), dtype=np.float64)
        mean, deviation = u * chance, np.sqrt(u * chance * (1 - chance))
        return cls(spec, chance, masses, mean, deviation, _orthonormal(masses, mean, deviation))

    def residuals(self, levels: Levels, counts: Counts) -> Floats:
        """Returns counts less their mean, in standard deviations, of the levels' shape."""
        return np.asarray((counts - self.mean[levels]) / self.deviation[levels])

    def histogram(self, levels: Levels, counts: Counts) -> Counts:
        """Returns how often each count came out at each level, shape (255, u + 1)."""
        width = self.spec.trials + 1
        places = levels.astype(np.int64).ravel() * width + counts.ravel()
        return np.bincount(places, minlength=LEVELS * width).reshape(LEVELS, width).astype(np.int64)

    def sum_p(self, histogram: Counts, weights: Floats) -> float:
        """Returns a bound on the p-value of the sum of weights over all that was counted.

        weights: shape (255, u + 1), centred: their mean under the law is 0 at every level.
        """
        used = histogram.sum(axis=1) > 0
        seen, masses, worth = histogram[used], self.masses[used], weights[used]
        times = seen.sum(axis=1)
        variance = float(times @ (masses * worth**2).sum(axis=1))
        return chernoff_p(
            float((seen * worth).sum()),
            variance,
            lambda s: float(times @ logsumexp(s * worth, b=masses, axis=1)),
        )


@dataclass(frozen=True, eq=False)
class ProductLaw:
    """The law of the product of two independent counts at +clip, each less its mean and in standard deviations."""

    values: Floats
    log_masses: Floats

    @classmethod
    def of(cls, law: ClaimedLaw) -> "ProductLaw":
        """Returns it; equal products are put together."""
        scaled = (np.arange(law.spec.trials + 1) - law.mean[TOP_LEVEL]) / law.deviation[TOP_LEVEL]
        masses = law.masses[TOP_LEVEL]
        values, places = np.unique(np.outer(scaled, scaled).ravel(), return_inverse=True)
        sums = np.bincount(places.ravel(), weights=np.outer(masses, masses).ravel())
        kept = sums > 0
        return cls(values[kept], np.log(sums[kept]))

    def p_value(self, total: float, alike: int, opposite: int) -> float:
        """Returns a bound on the p-value of a sum of products of residuals at corners.

        alike, opposite: how many of the products are of two coordinates at the same end, and of opposite ends: there
        the product has the other sign, because the law at -clip is the mirror image of that at +clip.
        """

        def log_mgf(s: float) -> float:
            one, other = (float(logsumexp(sign * s * self.values + self.log_masses)) for sign in (1, -1))
            return alike * one + opposite * other

        return chernoff_p(total, float(alike + opposite), log_mgf)


def _orthonormal(masses: Floats, mean: Floats, deviation: Floats) -> Floats:
    """Returns ClaimedLaw.smooth: powers of the standardised count, orthogonal to all lower ones, and centred."""
    scaled = (np.arange(masses.shape[1]) - mean[:, None]) / deviation[:, None]
    degrees, roots = min(DEGREES, masses.shape[1] - 1), np.sqrt(masses)
    powers = np.stack([scaled**power for power in range(degrees + 1)], axis=2)
    basis, _ = np.linalg.qr(roots[:, :, None] * powers)
    smooth = np.zeros((DEGREES, *masses.shape))
    for degree in range(1, degrees + 1):
        values = np.divide(basis[:, :, degree], roots, out=np.zeros_like(roots), where=roots > _TINY)
        values *= np.sign((values * masses * scaled**degree).sum(axis=1, keepdims=True))
        smooth[degree - 1] = values - (values * masses).sum(axis=1, keepdims=True)
    return smooth
