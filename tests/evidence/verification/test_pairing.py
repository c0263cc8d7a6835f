"""Shared noise is seen, independent noise is not."""

import numpy as np
import pytest
from samples import corner_calls, draw, super_uniform, table

from del_audit.evidence.verification.binomial import ClaimedLaw, ProductLaw
from del_audit.evidence.verification.independence import independence_tests
from del_audit.evidence.verification.pairing import (
    any_two,
    calls_of,
    correlation,
    equal_counts,
    equal_rows,
    joined,
    match_chance,
)
from mechanisms.spec import QuantizerSpec

LAW = ClaimedLaw.of(QuantizerSpec.from_mu(4, 4, 0.05, 8.0))
PRODUCT = ProductLaw.of(LAW)


def shared(rng, ones):
    """Returns a release that takes the given share of its uniforms from one stream."""
    stream = np.random.default_rng(9).random((15, 200, 4))

    def release(levels):
        fresh = rng.random((15, *levels.shape))
        taken = np.where(rng.random(levels.shape) < ones, stream[:, : len(levels)], fresh)
        return (taken < LAW.chance[levels]).sum(axis=0)

    return release


def test_independent_rows_keep_their_level():
    rng = np.random.default_rng(0)
    p_values = {"correlation": [], "counts": [], "any": [], "rows": []}
    for _ in range(300):
        sample = table(LAW, corner_calls(rng, 4, 20, 6), rng)
        calls = calls_of(sample)
        p_values["correlation"].append(correlation(calls[0], calls[1], PRODUCT, "").p)
        same = table(LAW, [corner_calls(rng, 4, 20, 1)[0]] * 2, rng)
        p_values["counts"].append(equal_counts(*calls_of(same), "").p)
        p_values["any"].append(any_two(calls, PRODUCT, "calls").p)
        p_values["rows"].append(equal_rows(same).p)
    for found in p_values.values():
        super_uniform(found)


def test_all_independence_tests_keep_their_level():
    rng = np.random.default_rng(5)
    found = {}
    for _ in range(150):
        calls = [*corner_calls(rng, 4, 16, 5), *corner_calls(rng, 4, 16, 3, "resend")]
        for tested in independence_tests(table(LAW, calls, rng), PRODUCT):
            found.setdefault(tested.name, []).append(tested.p_value)
    assert len(found) == 6
    for p_values in found.values():
        super_uniform(p_values)


@pytest.mark.parametrize(("share", "rows"), [(1.0, 20), (0.6, 180)])
def test_shared_noise_is_seen_at_other_values(share, rows):
    rng = np.random.default_rng(1)
    calls = calls_of(table(LAW, corner_calls(rng, 4, rows, 5), rng, shared(rng, share)))
    assert correlation(calls[0], calls[1], PRODUCT, "").p < 1e-6
    assert any_two(calls, PRODUCT, "calls").p < 1e-6


def test_equal_counts_and_rows_are_counted():
    rng = np.random.default_rng(2)
    call = corner_calls(rng, 4, 50, 1)[0]
    counts = draw(LAW, call.levels, rng)
    sample = table(LAW, [call, call], rng, lambda levels: counts)
    part = equal_counts(*calls_of(sample), "again")
    assert "200 of 200" in part.text
    assert part.p == pytest.approx(2 * match_chance(LAW) ** 200, rel=1e-9)
    found = equal_rows(sample)
    naive = sum(
        (sample.levels[i] == sample.levels[j]).all() and (sample.counts[i] == sample.counts[j]).all()
        for i in range(100)
        for j in range(i)
    )
    pairs = sum((sample.levels[i] == sample.levels[j]).all() for i in range(100) for j in range(i))
    assert found.text.startswith(f"{naive} pairs of rows are equal, of {pairs} pairs")
    assert found.p == pytest.approx(min(1.0, pairs * match_chance(LAW) ** 4 / naive), rel=1e-12)


def test_match_chance_is_the_sum_of_squares():
    from scipy.stats import binom

    p = LAW.spec.threshold_high / 2**32
    assert match_chance(LAW) == pytest.approx(float((binom.pmf(np.arange(16), 15, p) ** 2).sum()), rel=1e-12)


def test_joined_rows_keep_all_columns():
    rng = np.random.default_rng(3)
    sample = table(LAW, corner_calls(rng, 4, 7, 3), rng)
    again = joined(calls_of(sample))
    for name in ("levels", "counts", "call", "place", "size", "kind", "standing", "corner"):
        assert (getattr(again, name) == getattr(sample, name)).all()
