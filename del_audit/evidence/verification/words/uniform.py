"""Whether the noise of outputs is uniform: exact tests of single numbers, and of buckets by a public hash."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp
from scipy.stats import hypergeom

from del_audit.evidence.verification.binomial import Counts, Floats, binomial_p, chernoff_p
from del_audit.evidence.verification.finding import Part, smallest
from del_audit.evidence.verification.words.sample import WordSample

BUCKETS = 16
_HASH = 2654435761  # a prime near 2^32 over the golden ratio (Knuth, 1973): numbers that are near are spread
_DENSE = 1 << 24
_BLOCK = 1 << 22
_NOTHING = Part(1.0, "Nothing to test: there is no noise of this kind.")


def uniform_part(sample: WordSample, inside: bool) -> Part:
    """Returns the tests of the noise of outputs inside, or outside, their word's support.

    Numbers are put in buckets as they are, and as distances from the true word.
    """
    rows = sample.where(sample.inside == inside)
    limit, size = rows.law.limits[inside], rows.law.sizes[inside]
    if not len(rows) or not size or limit == size:
        return _NOTHING
    parts = []
    for what, noise in (("numbers", rows.drawn), ("distances from the true word", rows.from_word)):
        numbers = noise[noise >= 0].reshape(len(rows), size)
        parts.append(_single(numbers, limit, what))
        parts += _in_buckets(numbers, limit, what)
    next_to = [int((numbers == number).sum()) for number in (0, limit - 1)]
    p = min(1.0, 2 * float(binomial_p(next_to, len(rows), size / limit).min()))
    text = f"the words next to the true one: {next_to[0]} and {next_to[1]} times in {len(rows)} outputs"
    parts.append(Part(p, f"{text}, where {len(rows) * size / limit:.1f} each are expected"))
    return smallest(parts)


def _single(numbers: NDArray[np.integer], limit: int, what: str) -> Part:
    """Returns the test of the numbers that came out most and least often, of all (Bonferroni)."""
    rows, size = numbers.shape
    if limit <= _DENSE:
        times = np.bincount(numbers.ravel(), minlength=limit)
        ends = np.array([times.min(), times.max()])
    else:
        ends = np.array([0, np.unique(numbers, return_counts=True)[1].max()])
    p = float(binomial_p(ends, rows, size / limit).min()) * limit
    text = f"{what}: single ones came out {ends[0]} to {ends[1]} times, where {rows * size / limit:.1f} are expected"
    return Part(min(1.0, p), text)


def _in_buckets(numbers: NDArray[np.integer], limit: int, what: str) -> list[Part]:
    """Returns the tests of how many numbers of each output fall in each bucket, one part for each way to part them.

    Their law is hypergeometric: its mean is tested, and its spread where an output has several numbers.
    """
    rows, size = numbers.shape
    parts = []
    for name, put, widths in _partitions(limit):
        step = max(1, _BLOCK // size)
        counts = np.concatenate([_counted(put(numbers[at : at + step]), len(widths)) for at in range(0, rows, step)])
        tests = []
        for bucket, width in enumerate(widths):
            mean = size * width / limit
            variance = max(mean * (1 - width / limit) * (limit - size) / max(1, limit - 1), 1e-300)
            centred = (np.arange(size + 1) - mean) / math.sqrt(variance)
            seen, law = np.bincount(counts[:, bucket], minlength=size + 1), _log_masses(limit, int(width), size)
            for which, worth in (("", centred), (" squared", centred**2 - 1))[: 1 + (size > 1)]:
                text = f"{what} by {name}: {int(counts[:, bucket].sum())} in bucket {bucket} of {len(widths)}{which}"
                tests.append(Part(_sum_p(seen, worth, law), f"{text}, where {rows * mean:.1f} are expected"))
        parts.append(smallest(tests))
        if size == 1:
            text = f"{what} by {name}: {rows} in {len(widths)} buckets, all of them together"
            parts.append(Part(_together_p(counts.sum(axis=0), widths / limit), text))
    return parts


def _together_p(counts: Counts, chances: Floats) -> float:
    """Returns a bound on the p-value of multinomial counts, by all of them as the chi-square statistic.

    The mean likelihood ratio of other chances, which have the Dirichlet law of as many rows around the claimed ones, is
    1 under the claim; so it is past x with a chance of 1 / x at most (Markov).
    """
    rows = int(counts.sum())
    ratio = gammaln(counts + rows * chances) - gammaln(rows * chances) - counts * np.log(chances)
    return math.exp(min(0.0, float(gammaln(2 * rows) - gammaln(rows) - ratio.sum())))


def _partitions(limit: int) -> Iterator[tuple[str, Callable[[NDArray[np.integer]], Counts], Counts]]:
    """Yields (name, bucket of each number, numbers in each bucket) for ranges, remainders and a hash."""
    buckets = min(BUCKETS, limit)
    ranges = np.diff(-(-np.arange(buckets + 1) * limit // buckets))
    factor = np.uint64(_HASH % limit)
    yield "range", lambda numbers: numbers.astype(np.int64) * buckets // limit, ranges
    yield (
        "remainder",
        lambda numbers: numbers.astype(np.int64) % buckets,
        (limit - 1 - np.arange(buckets)) // buckets + 1,
    )
    if math.gcd(_HASH, limit) == 1:  # then multiplying gives every number once
        yield (
            "hash",
            lambda numbers: (numbers.astype(np.uint64) * factor % np.uint64(limit)).astype(np.int64) * buckets // limit,
            ranges,
        )


def _counted(placed: Counts, buckets: int) -> Counts:
    """Returns how many numbers of each row are in each bucket, shape (rows, buckets)."""
    places = np.arange(len(placed))[:, None] * buckets + placed
    return np.bincount(places.ravel(), minlength=len(placed) * buckets).reshape(len(placed), buckets)


def _sum_p(seen: Counts, worth: Floats, log_masses: Floats) -> float:
    """Returns a bound on the p-value of a sum of worths, centred under the law, over all rows that were seen."""
    rows, total = int(seen.sum()), float(seen @ worth)
    variance = rows * float(np.exp(log_masses) @ worth**2)
    return chernoff_p(total, variance, lambda s: rows * float(logsumexp(s * worth + log_masses)))


@lru_cache(maxsize=64)
def _log_masses(limit: int, width: int, size: int) -> Floats:
    """Returns the log law of how many of `size` different numbers below the limit are among `width` given ones."""
    return np.asarray(hypergeom.logpmf(np.arange(size + 1), limit, width, size))


def overlap_p(common: Counts, limit: int, size: int) -> float:
    """Returns a bound on the p-value of how many numbers pairs of independent sets have in common, shape (pairs,)."""
    centred: Floats = np.arange(size + 1) - np.float64(size * size / limit)
    return _sum_p(np.bincount(common, minlength=size + 1), centred, _log_masses(limit, size, size))


def same_bucket_chance(limit: int) -> float:
    """Returns the chance that two independent numbers lie in one of the ranges."""
    return float(sum((width / limit) ** 2 for width in next(_partitions(limit))[2]))
