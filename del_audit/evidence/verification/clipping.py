"""Tests of the range: values outside it are released as its ends, and what is no number is refused."""

from collections.abc import Sequence

from del_audit.evidence.verification.binomial import ClaimedLaw
from del_audit.evidence.verification.design import FACTORS, corners
from del_audit.evidence.verification.driving import Answer, Driver
from del_audit.evidence.verification.finding import Measurement, check
from del_audit.evidence.verification.fitting import fit
from del_audit.evidence.verification.sample import Sample
from mechanisms.levels import from_levels
from mechanisms.randomness import Generator

BAD_VALUES = (float("nan"), float("inf"), float("-inf"))
BAD_BATCH = 8
_ENDS = (
    "A value outside the range is not released as the range's end, so a trial's chance leaves the interval that the "
    "guarantee is computed from: epsilon is larger than claimed, or infinite. Look at where values are clipped."
)
_REFUSED = (
    "Something that is no number was released as if it were one. What comes out then follows no claimed law, and tells "
    "that something went wrong. Refuse such values before any noise is drawn."
)


def clipping_tests(answers: Sequence[Answer], law: ClaimedLaw, released: Sequence[str]) -> list[Measurement]:
    """Returns the fit of values outside the range to the law of its ends, one test a factor, and the refusals.

    released: what bad values were answered instead of being refused, in words.
    """
    sample = Sample.of(answers, law, outside=True)
    tested = []
    for factor in FACTORS:
        label = f"{factor:g} times the clip"
        part = fit(sample.where(sample.label == label), label)
        tested.append(Measurement("clipping", label, *part, _ENDS))
    right = f"NaN and both infinities were refused, alone and in a batch of {BAD_BATCH}"
    return [*tested, check("clipping", "refused", released, right, _REFUSED)]


def released_bad_values(driver: Driver, rng: Generator) -> list[str]:
    """Returns which bad values were released, in words: alone, and in one place of a batch of good ones."""
    found = []
    for bad in BAD_VALUES:
        for rows in (1, BAD_BATCH):
            values = from_levels(corners(rng, rows, driver.spec.dim), driver.spec.clip)
            values[rng.integers(rows), rng.integers(driver.spec.dim)] = bad
            if not driver.refuses(values):
                found.append(f"{bad} in one of {rows} rows was released")
    return found
