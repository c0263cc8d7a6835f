"""Tests of the law: every count is Bin(u, threshold / 2^32) of its own value, whatever its place and time."""

import numpy as np

from del_audit.evidence.verification.binomial import TOP_LEVEL, Counts, binomial_p
from del_audit.evidence.verification.finding import Measurement, Part, smallest
from del_audit.evidence.verification.fitting import fit, followed, shapes, slopes, sums, values
from del_audit.evidence.verification.sample import Sample
from del_audit.statistics.intervals import clopper_pearson

SCALE_WEIGHT = 60.0
"""The scale's share of alpha, relative to any other test: more than half of all, since the scale is what the guarantee
rests on, and an error in it is the smallest that matters."""
SEGMENTS = 8
PLACES = 4

_CENTRED = "Counts do not have the law that the guarantee is computed from, so no epsilon or delta of it holds."
_SCALE = (
    "The noise is not of the claimed scale. A smaller scale is a larger epsilon than claimed; compare the scale, clip "
    "and number of trials that the client runs with the spec."
)


def law_tests(main: Sample) -> list[Measurement]:
    """Returns the tests of the law on the rows of the main design."""
    corners = main.corners
    return [
        _scale(corners),
        _tested("each end", smallest(_ends(corners)), "Look for comparisons with <= for <, and biased random numbers."),
        _tested("shape", smallest(_shape(corners)), "Look at how trials are drawn: shared, rounded or left out."),
        _tested("each coordinate", _each_coordinate(corners), "One coordinate is treated unlike the others."),
        _tested("own coordinate", _own_coordinate(corners), "Coordinates are moved, or mix with others."),
        _tested("zero", fit(main.of_kind("zero"), "values of zero"), "Look for values of zero taken for padding."),
        _tested("levels", smallest(_levels(main)), "Look for rounding above a threshold, and tables of probabilities."),
        _tested(
            "place in the call", smallest(_places(main)), "The first or last token of a call is treated unlike others."
        ),
        _tested(
            "over time", smallest(_segments(main)), "The noise changes while the client runs: warm-up, modes, errors."
        ),
    ]


def _tested(name: str, part: Part, look: str) -> Measurement:
    return Measurement("law", name, part.p, part.text, f"{_CENTRED} {look}")


def _scale(corners: Sample) -> Measurement:
    """Returns the exact test of the number of successes at corners: no test of the scale has more power."""
    law = corners.law
    successes, trials = int(corners.aligned.sum()), corners.counts.size * law.spec.trials
    if not trials:
        return Measurement("law", "scale", 1.0, "Nothing to test: no corners were released.", _SCALE, SCALE_WEIGHT)
    claimed = float(law.chance[TOP_LEVEL])
    p = float(binomial_p(successes, trials, claimed))
    low, high = clopper_pearson(successes, trials)
    share = successes / trials
    ratio = (2 * claimed - 1) / (2 * share - 1) - 1 if share > 0.5 else float("inf")
    text = (
        f"at corners {share:.5f} of {trials} trials came out on the corner's side, 95% interval [{low:.5f}, "
        f"{high:.5f}], where {claimed:.5f} is claimed: as of a scale {100 * ratio:+.2f}% from the claim's"
    )
    return Measurement("law", "scale", p, text, _SCALE, SCALE_WEIGHT)


def _ends(corners: Sample) -> list[Part]:
    return sums(corners.law, corners.histogram, "one end")


def _shape(corners: Sample) -> list[Part]:
    """Returns shape tests with both ends taken together, as if all were at +clip."""
    if not len(corners):
        return []
    aligned = corners.law.histogram(np.full_like(corners.levels, TOP_LEVEL), corners.aligned)
    return [*shapes(corners.law, aligned, "corners"), values(corners.law, aligned, "corners, seen from +clip")]


def _each_coordinate(corners: Sample) -> Part:
    """Returns the smallest of sums and values over coordinates and ends, all of them exact."""
    parts = []
    for column in range(corners.counts.shape[1]):
        histogram = corners.law.histogram(corners.levels[:, column], corners.counts[:, column])
        if histogram.any():
            parts.append(_column(corners, histogram, f"coordinate {column}"))
    return smallest(parts)


def _column(corners: Sample, histogram: Counts, what: str) -> Part:
    return smallest([*sums(corners.law, histogram, what), values(corners.law, histogram, what)])


def _own_coordinate(corners: Sample) -> Part:
    """Returns whether counts follow the sign of the coordinate before or after theirs in the row."""
    mixed = corners.of_kind("corners", "resend", "reordered")
    if mixed.counts.shape[1] < 2:
        return Part(1.0, "There is one coordinate only: it has no neighbour.")
    signs = mixed.signs
    sides = {
        "coordinate before theirs": np.roll(signs, 1, axis=1),
        "coordinate after theirs": np.roll(signs, -1, axis=1),
    }
    return smallest(followed(mixed, towards, what) for what, towards in sides.items())


def _levels(main: Sample) -> list[Part]:
    """Returns the tests of values between the ends."""
    between = main.of_kind("levels")
    histogram = between.histogram
    if not histogram.any():
        return []
    law = main.law
    each = smallest(sums(law, histogram, "values between the ends"))
    return [
        each,
        *slopes(law, histogram, "values between the ends"),
        *shapes(law, histogram, "values between the ends"),
    ]


def _places(main: Sample) -> list[Part]:
    """Returns the fit of the first rows of calls, the last one, and even and odd ones."""
    last, several = main.place == main.size - 1, main.size > 1
    groups = {f"row {place} of calls": main.place == place for place in range(PLACES)}
    groups |= {"last row of calls": last & several, "even rows": main.place % 2 == 0, "odd rows": main.place % 2 == 1}
    groups |= {"later half of calls": (2 * main.place >= main.size) & several}
    corners = main.corners
    return [fit(corners.where(mask[main.corner]), name) for name, mask in groups.items() if mask[main.corner].any()]


def _segments(main: Sample) -> list[Part]:
    """Returns the fit of the first call and of each eighth of the calls."""
    corners = main.corners
    if not len(corners):
        return []
    segment = (corners.call * SEGMENTS) // (int(main.call.max()) + 1)
    parts = [
        fit(corners.where(segment == part), f"part {part + 1} of {SEGMENTS} of the run")
        for part in range(SEGMENTS)
        if (segment == part).any()
    ]
    return [*parts, fit(corners.where(corners.call == corners.call[0]), "first call")]
