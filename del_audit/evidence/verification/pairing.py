"""Whether the noise of two sets of rows goes together: correlation, equal counts, equal rows."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw, ProductLaw, binomial_p
from del_audit.evidence.verification.finding import Part
from del_audit.evidence.verification.sample import Sample

MOST_PAIRS = 3
"""Only the largest correlations of many are bounded: the others are counted as tests and taken to show nothing."""


def calls_of(sample: Sample) -> list[Sample]:
    """Returns the rows of each call, in order of release."""
    changes = np.flatnonzero(np.diff(sample.call)) + 1
    return [sample.where(rows) for rows in np.split(np.arange(len(sample)), changes) if len(rows)]


def joined(samples: Iterable[Sample]) -> Sample:
    """Returns the rows of all, one after the other; of one sample at least."""
    every = list(samples)
    names = [name for name in every[0].__dataclass_fields__ if name != "law"]
    return Sample(every[0].law, **{name: np.concatenate([getattr(s, name) for s in every]) for name in names})


def correlation(one: Sample, other: Sample, product: ProductLaw, what: str) -> Part:
    """Returns whether the noise of paired rows goes together. Both at corners, of one shape; no row is in two pairs."""
    total, number = float((one.residuals * other.residuals).sum()), one.levels.size
    alike = int((one.levels == other.levels).sum())
    text = f"{what}: correlation {total / max(number, 1):+.4f} over {number} pairs of counts"
    return Part(product.p_value(total, alike, number - alike), text)


def any_two(blocks: Sequence[Sample], product: ProductLaw, what: str) -> Part:
    """Returns the largest correlations of two blocks of equal shape, of all pairs (Bonferroni)."""
    if len(blocks) < 2:
        return Part(1.0, f"Nothing to test: there are fewer than two full {what}.")
    noise = np.stack([block.residuals.ravel() for block in blocks])
    totals = noise @ noise.T
    first, second = np.triu_indices(len(blocks), 1)
    largest = np.argsort(-np.abs(totals[first, second]))[:MOST_PAIRS]
    parts = []
    for j, k in zip(first[largest], second[largest], strict=True):
        part = correlation(blocks[j], blocks[k], product, f"{what} {j} and {k}")
        parts.append(Part(min(1.0, part.p * len(first)), f"{part.text}; the largest of {len(first)} pairs"))
    return min(parts)


def match_chance(law: ClaimedLaw) -> float:
    """Returns the chance that two independent counts of one corner are equal."""
    return float((law.masses[TOP_LEVEL] ** 2).sum())


def equal_counts(one: Sample, other: Sample, what: str) -> Part:
    """Returns the exact test of how many counts of paired rows are equal; rows as for correlation, each pair alike."""
    same, number = int((one.counts == other.counts).sum()), one.counts.size
    chance = match_chance(one.law)
    text = f"{what}: {same} of {number} counts are equal where {number * chance:.1f} are expected"
    return Part(float(binomial_p(same, number, chance)), text)


def equal_rows(corners: Sample) -> Part:
    """Returns whether more rows of one corner came out equal than chance allows; a bound by Markov's inequality."""
    if not len(corners):
        return Part(1.0, "Nothing to test: no rows at corners were released.")
    pairs = _pairs(corners.levels)
    found = _pairs(np.concatenate([corners.levels, corners.counts.astype(np.uint8)], axis=1))
    expected = pairs * match_chance(corners.law) ** corners.counts.shape[1]
    text = f"{found} pairs of rows are equal, of {pairs} pairs of one corner, where {expected:.3g} are expected"
    return Part(min(1.0, expected / found) if found else 1.0, text)


def _pairs(rows: NDArray[np.uint8]) -> int:
    """Returns how many pairs of equal rows there are."""
    packed = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1] * rows.itemsize))).ravel()
    times = np.unique(packed, return_counts=True)[1].astype(np.int64)
    return int((times * (times - 1) // 2).sum())
