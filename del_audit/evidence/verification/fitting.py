"""Exact goodness of fit of counts to the claimed law: their sum, their shape, each value a count can take."""

import numpy as np

from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw, Counts, binomial_p
from del_audit.evidence.verification.finding import Part, smallest
from del_audit.evidence.verification.sample import Sample

FEW_LEVELS = 3
"""Up to here each level's sum and each of its values is tested; with more levels, sums over all of them."""
SHAPES = {2: "spread", 3: "skew", 4: "tails"}


def fit(sample: Sample, what: str) -> Part:
    """Returns whether a group of rows has its law: sums, shapes and values, each of them a part (Bonferroni)."""
    histogram = sample.histogram
    used = np.flatnonzero(histogram.sum(axis=1))
    parts = shapes(sample.law, histogram, what)
    if 0 < len(used) <= FEW_LEVELS:
        parts += [*sums(sample.law, histogram, what), values(sample.law, histogram, what)]
    elif len(used):
        parts += [*slopes(sample.law, histogram, what), smallest(sums(sample.law, histogram, what))]
    return smallest(parts)


def sums(law: ClaimedLaw, histogram: Counts, what: str) -> list[Part]:
    """Returns the exact test of each level's sum: so many successes in u trials a count."""
    used = np.flatnonzero(histogram.sum(axis=1))
    times = histogram[used].sum(axis=1)
    totals = histogram[used] @ np.arange(law.spec.trials + 1)
    p_values = binomial_p(totals, times * law.spec.trials, law.chance[used])
    return [
        Part(
            float(p),
            f"{what}: mean count {total / n:.4f} where {law.mean[level]:.4f} is claimed ({n} counts of level {level})",
        )
        for p, total, n, level in zip(p_values, totals, times, used, strict=True)
    ]


def shapes(law: ClaimedLaw, histogram: Counts, what: str) -> list[Part]:
    """Returns the tests of spread, skew and tails."""
    number = int(histogram.sum())
    parts = []
    for degree, name in SHAPES.items():
        if degree <= law.spec.trials and number:
            weights = law.smooth[degree - 1]
            size = float((histogram * weights).sum()) / number**0.5
            text = f"{what}: {name} of {number} counts is {size:+.1f} standard deviations from the claim's"
            parts.append(Part(law.sum_p(histogram, weights), text))
    return parts


def slopes(law: ClaimedLaw, histogram: Counts, what: str) -> list[Part]:
    """Returns the tests of how counts follow their value: all too high, too steep, too steep away from zero."""
    number = np.arange(law.spec.trials + 1) - law.mean[:, None]
    value = np.linspace(-1, 1, len(law.mean))[:, None]
    variance = (law.deviation[:, None]) ** 2
    marks = {
        "counts are too high": number / variance,
        "counts follow values too steeply": value * number / variance,
        "counts far from zero are too high": np.abs(value) * number / variance,
        "counts far from zero are too far out": value**3 * number / variance,
    }
    parts = []
    for text, weights in marks.items():
        spread = float((histogram.sum(axis=1) @ (law.masses * weights**2).sum(axis=1)) ** 0.5)
        size = float((histogram * weights).sum()) / spread if spread else 0.0
        parts.append(Part(law.sum_p(histogram, weights), f"{what}: {text} by {size:+.1f} standard deviations"))
    return parts


def values(law: ClaimedLaw, histogram: Counts, what: str) -> Part:
    """Returns the exact test of how often each count came out at each level (binomial, Bonferroni over cells)."""
    used = np.flatnonzero(histogram.sum(axis=1))
    times, masses = histogram[used].sum(axis=1, keepdims=True), law.masses[used]
    p_values = np.asarray(binomial_p(histogram[used], times, masses))
    row, count = np.unravel_index(int(p_values.argmin()), p_values.shape)
    expected = float(times[row, 0] * masses[row, count])
    text = (
        f"{what}: count {count} came out {histogram[used][row, count]} times where {expected:.4g} are expected "
        f"({times[row, 0]} counts of level {used[row]})"
    )
    return Part(min(1.0, float(p_values.min()) * p_values.size), text)


def followed(corners: Sample, towards: Counts, what: str) -> Part:
    """Returns whether counts of corners are drawn towards a sign that is not their own's business.

    towards: -1, 0 or 1, shape (rows, dim), of what must not matter, such as the sign of a neighbour; 0 is left out.
    """
    law, used = corners.law, towards != 0
    if not used.any():
        return Part(1.0, f"Nothing to test of the {what}.")
    aligned, agree = corners.aligned[used], (towards * corners.signs)[used] == 1
    levels = np.where(agree, TOP_LEVEL, 0).astype(np.uint8)
    histogram = law.histogram(levels, np.where(agree, aligned, law.spec.trials - aligned))
    residuals = law.smooth[0]
    size = float((histogram * residuals).sum()) / histogram.sum() ** 0.5
    text = f"counts follow the sign of the {what} by {size:+.1f} standard deviations ({int(used.sum())} counts)"
    return Part(law.sum_p(histogram, residuals), text)
