"""The projective space that tells a server most about a word at a given epsilon."""

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, xlogy

from mechanisms.randomness import simulation_generator
from mechanisms.rivals._decoding import checked_prior
from mechanisms.rivals._description import whole
from mechanisms.rivals._message import MAX_BITS
from mechanisms.rivals._projective import number_of_points, points_of
from mechanisms.rivals._supports import BLOCK_ROWS
from mechanisms.rivals.projective_geometry import ProjectiveGeometry, ProjectiveGeometrySpec
from mechanisms.rivals.randomized_response import MAX_WORDS

EXACT_PAIRS = 1 << 26
"""Points times words up to which every point is looked at."""
SAMPLED_POINTS = 512
_APART = 1.03
"""Neighbouring orders of one dimension that are looked at differ by this factor at least."""


def best_geometry(
    words: int, epsilon: float, prior: NDArray[np.float64] | None = None, delta: float = 0.0
) -> ProjectiveGeometrySpec:
    """Returns the spec of this token epsilon (nats) at delta whose release carries most nats about a word.

    prior: of the words, shape (words,); uniform if left out, which takes milliseconds; with a prior each of about a
    hundred spaces is looked at, a tenth of a second each for 49,152 words. Raises UserError for words, a prior or an
    epsilon out of range.
    """
    whole("words", words, 2, MAX_WORDS)
    weights = None if prior is None else np.exp(checked_prior(prior, words))

    def carried(spec: ProjectiveGeometrySpec) -> float:
        return uniform_information(spec) if weights is None else information(spec, weights)

    specs = [ProjectiveGeometrySpec.from_epsilon(words, epsilon, *space, delta) for space in spaces(words)]
    return max(specs, key=carried)


def spaces(words: int) -> Iterator[tuple[int, int]]:
    """Yields (order, dimension): the least dimension with a point for each word, for primes that lie apart.

    One order alone has two dimensions: more points would only make each word's support smaller.
    """
    last, order = 0, 0.0
    for prime in _primes(2 * words):
        dimension = next(t for t in range(2, MAX_BITS) if number_of_points(t, prime) >= words)
        near = dimension == last and prime < _APART * order
        if near or number_of_points(dimension, prime) > 1 << MAX_BITS:
            continue
        yield prime, dimension
        if dimension == 2:
            return
        last, order = dimension, prime


def uniform_information(spec: ProjectiveGeometrySpec) -> float:
    """Returns about how many nats a release carries about uniform words.

    The capacity less what is lost since points lie on unequally many of the words' hyperplanes: exact where every point
    is a word, and otherwise as if the words were drawn from the points without replacement.
    """
    words, points, plane = spec.words, spec.points, number_of_points(spec.dimension - 1, spec.order)
    mean = words * float(spec.share)
    reach = 12 * math.sqrt(mean) + 12
    least, most = max(0, words - (points - plane)), min(words, plane)
    count = np.arange(max(least, math.floor(mean - reach)), min(most, math.ceil(mean + reach)) + 1)
    log_law = _log_choices(plane, count) + _log_choices(points - plane, words - count)
    law = np.exp(log_law - log_law.max())
    return spec.capacity - float(law @ _lost(spec, count / words)) / float(law.sum())


def information(spec: ProjectiveGeometrySpec, prior: NDArray[np.float64], seed: int = 0) -> float:
    """Returns the nats that a release carries about words of this prior, shape (words,), adding up to 1.

    The mean over all points, or over SAMPLED_POINTS of them where points times words exceed EXACT_PAIRS.
    """
    ranks = np.arange(spec.points) if spec.points * spec.words <= EXACT_PAIRS else None
    if ranks is None:
        ranks = simulation_generator(seed, "points").integers(0, spec.points, SAMPLED_POINTS)
    mechanism, lost = ProjectiveGeometry(spec), []
    for start, stop in pairwise([*range(0, len(ranks), BLOCK_ROWS), len(ranks)]):
        points = points_of(ranks[start:stop], spec.dimension, spec.order).T
        lost.append(_lost(spec, mechanism.supports(points) @ prior))
    return spec.capacity - float(np.concatenate(lost).mean())


def _lost(spec: ProjectiveGeometrySpec, held: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns r ln r for points on hyperplanes of so much of the prior, r their probability over the uniform one."""
    chance, share = spec.chance, spec.share
    odds = float(chance / share) * held + float((1 - chance) / (1 - share)) * (1 - held)
    return np.asarray(xlogy(odds, odds))


def _log_choices(among: int, count: NDArray[np.int64]) -> NDArray[np.float64]:
    """Returns ln of the number of sets of `count` out of so many."""
    return np.asarray(-betaln(among - count + 1.0, count + 1.0) - math.log1p(among))


def _primes(below: int) -> list[int]:
    """Returns the primes below a number of at least 4."""
    sieve = np.ones(max(below, 4), dtype=np.bool_)
    sieve[:2] = False
    for factor in range(2, math.isqrt(len(sieve)) + 1):
        sieve[factor * factor :: factor] = False
    return [int(prime) for prime in sieve.nonzero()[0]]
