"""Tests of resending: the same values again get fresh noise, and are charged."""

import numpy as np

from del_audit.evidence.verification.binomial import ProductLaw
from del_audit.evidence.verification.finding import Measurement, Part, check, smallest
from del_audit.evidence.verification.pairing import any_two, calls_of, correlation, equal_counts, equal_rows, joined
from del_audit.evidence.verification.sample import Sample

MOST_CALLS = 1024
FRESH = (
    "The same text sent again does not get fresh noise: whoever sees two messages learns that their texts are equal, "
    "which no guarantee covers. Look for caches, and for seeds or hashes made of the input."
)
CHARGED = (
    "A session's epsilon counts every token that was sent, resent ones each time. A charge that is too low understates "
    "it; look for caches in front of the accountant."
)


def resending_tests(main: Sample, product: ProductLaw, charges: list[str] | None, calls: int) -> list[Measurement]:
    """Returns the tests on the standing block of rows, which is sent again and again, in order and out of it.

    charges: calls that were not charged as many tokens as they released, in words; None where charges are not known.
    """
    sent = main.of_kind("resend", "reordered")
    blocks = [block.where(np.argsort(block.standing)) for block in calls_of(sent)]
    largest = max((len(block) for block in blocks), default=0)
    whole = [block for block in blocks if len(block) == largest][:MOST_CALLS]
    tested = [
        Measurement("resending", "fresh noise", *_next(blocks, product), FRESH),
        Measurement("resending", "any two", *any_two(whole, product, "calls with the same values"), FRESH),
        Measurement("resending", "equal rows", *equal_rows(sent), FRESH),
    ]
    if charges is not None:
        right = f"each of {calls} calls was charged its number of tokens, resent ones as well"
        tested.append(check("resending", "charged", charges, right, CHARGED))
    return tested


def _next(blocks: list[Sample], product: ProductLaw) -> Part:
    """Returns the tests of the same rows in calls that follow one another; each call is in one pair."""
    pairs = [_common(*blocks[at : at + 2]) for at in range(0, len(blocks) - 1, 2)]
    pairs = [(one, other) for one, other in pairs if len(one)]
    if not pairs:
        return Part(1.0, "Nothing to test: no values were sent twice.")
    one, other = (joined(side) for side in zip(*pairs, strict=True))
    what = "the same values again"
    return smallest([correlation(one, other, product, what), equal_counts(one, other, what)])


def _common(one: Sample, other: Sample) -> tuple[Sample, Sample]:
    """Returns the rows of the standing block that are in both, in its order."""
    return one.where(np.isin(one.standing, other.standing)), other.where(np.isin(other.standing, one.standing))
