"""How epsilon spreads over the pairs of a vocabulary, from a sample of them: an estimate, never a guarantee."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr

from del_audit.accounting._density import Floats
from del_audit.accounting._pairs import pair_parts
from del_audit.accounting._tilted import renyi_epsilons
from del_audit.accounting.composition import Composition
from del_audit.statistics.bound import Bound
from mechanisms.canonical_json import Json
from mechanisms.spec import WORD_BITS
from mechanisms.validation import whole_at_least

LEVELS = (0.5, 0.9, 0.99)
_LEAST_SAMPLES = 1000
_MISSED = 0.025  # chance that one end of an interval lies on the wrong side
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Profile:
    """How epsilon spreads over pairs of words: an estimate for metric privacy, never a guarantee.

    quantiles: epsilon (nats) at delta of one token, by level, with 95% intervals. samples: ordered pairs of two words,
    drawn uniformly from all of them with this seed.
    """

    delta: float
    samples: int
    seed: int
    quantiles: dict[float, Bound]

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields, with the kind of the figures and what they are not."""
        return {
            "kind": "estimated",
            "note": "quantiles over random pairs of words: information, not a guarantee",
            "delta": self.delta,
            "samples": self.samples,
            "seed": self.seed,
            "quantiles": {f"{level:g}": bound.to_dict() for level, bound in self.quantiles.items()},
        }


def sample_profile(thresholds: NDArray[np.uint32], trials: int, delta: float, samples: int, seed: int) -> Profile:
    """Returns the profile of words (words, dim); arguments and errors as of `Vocabulary.profile`.

    The sampled pairs are ordered by their Renyi bounds, and the curves at the ranks in question are computed.
    """
    from mechanisms.randomness import simulation_generator

    whole_at_least("samples", samples, _LEAST_SAMPLES)
    draw, words = simulation_generator(seed, "vocabulary profile"), len(thresholds)
    first = draw.integers(0, words, samples)
    second = (first + draw.integers(1, words, samples)) % words
    order = np.argsort(_rough(thresholds, trials, delta, first, second), kind="stable")

    def at(rank: int) -> Bound:
        pair = order[rank - 1]
        parts = pair_parts(thresholds[first[pair]], thresholds[second[pair]], trials)
        return Composition(parts).epsilon(delta) if parts else Bound(0.0, 0.0, 0.0)

    return Profile(delta, samples, seed, {level: _quantile(level, samples, at) for level in LEVELS})


def interval_ranks(level: float, samples: int) -> tuple[int, int, int]:
    """Returns the ranks, 1 to samples, of the lower end, the estimate and the upper end of a quantile.

    Whatever the law, each end is on the wrong side in at most 2.5% of samples. For at least 1000 samples.

    >>> interval_ranks(0.5, 1000)
    (469, 500, 532)
    """
    below = bdtr(np.arange(samples + 1.0), samples, level)  # of how many samples are at most the quantile
    lower = int(np.searchsorted(below, _MISSED, side="right"))
    return lower, math.ceil(level * samples), int(np.searchsorted(below, 1 - _MISSED)) + 1


def _quantile(level: float, samples: int, at: Callable[[int], Bound]) -> Bound:
    """Returns a quantile with its interval; `at` gives the enclosed value at a rank."""
    lower, middle, upper = (at(rank) for rank in interval_ranks(level, samples))
    estimate = middle.estimate
    return Bound(min(lower.lower, estimate), estimate, max(upper.upper, estimate), "estimated")


def _rough(
    thresholds: NDArray[np.uint32], trials: int, delta: float, first: NDArray[np.int64], second: NDArray[np.int64]
) -> Floats:
    """Returns the Renyi bound of each sampled pair, in blocks."""
    chances = thresholds / (1 << WORD_BITS)
    blocks = math.ceil(first.size * chances.shape[1] / _CHUNK)
    sides = zip(np.array_split(first, blocks), np.array_split(second, blocks), strict=True)
    return np.concatenate([renyi_epsilons(chances[a], chances[b], trials, delta) for a, b in sides])
