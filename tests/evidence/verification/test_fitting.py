"""Fits reject what is planted and keep their level."""

import numpy as np
import pytest
from samples import corner_calls, draw, super_uniform, table

from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw
from del_audit.evidence.verification.design import Call
from del_audit.evidence.verification.fitting import fit, followed, values
from mechanisms.spec import QuantizerSpec

LAW = ClaimedLaw.of(QuantizerSpec.from_mu(4, 4, 0.05, 8.0))


def test_fits_keep_their_level():
    rng = np.random.default_rng(0)
    at_corners, between = [], []
    for _ in range(400):
        at_corners.append(fit(table(LAW, corner_calls(rng, 4, 30, 1), rng), "corners").p)
        levels = rng.integers(0, 255, (30, 4)).astype(np.uint8)
        between.append(fit(table(LAW, [Call("levels", levels)], rng), "levels").p)
    super_uniform(at_corners)
    super_uniform(between)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda counts: np.minimum(counts + 1, 15), "mean count"),
        (lambda counts: np.where(counts == 9, 8, counts), "count 9"),
        (lambda counts: 3 * (counts // 3), ""),
    ],
)
def test_fits_reject_what_is_planted(wrong, says):
    rng = np.random.default_rng(1)
    calls = corner_calls(rng, 4, 64, 6)
    part = fit(table(LAW, calls, rng, lambda levels: wrong(draw(LAW, levels, rng))), "planted")
    assert part.p < 1e-6
    assert says in part.text


def test_the_value_that_is_off_is_named():
    rng = np.random.default_rng(2)
    levels = np.full((400, 4), TOP_LEVEL, dtype=np.uint8)
    counts = draw(LAW, levels, rng)
    counts[:60, 0] = 2
    part = values(LAW, LAW.histogram(levels, counts), "planted")
    assert "count 2 came out" in part.text
    assert part.p < 1e-20


def test_following_a_sign_is_seen_and_kept_at_level():
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(300):
        sample = table(LAW, corner_calls(rng, 4, 40, 1), rng)
        p_values.append(followed(sample, np.roll(sample.signs, 1, axis=0), "row before").p)
    super_uniform(p_values)
    calls = corner_calls(rng, 4, 200, 1)

    def leaks(levels):
        before = np.roll(np.where(levels == TOP_LEVEL, 1, -1), 1, axis=0)
        return rng.binomial(15, LAW.chance[levels] + 0.05 * before)

    sample = table(LAW, calls, rng, leaks)
    assert followed(sample, np.roll(sample.signs, 1, axis=0), "row before").p < 1e-6
    assert followed(sample, np.zeros_like(sample.signs), "nothing").p == 1.0


def test_no_rows_show_nothing():
    rng = np.random.default_rng(4)
    assert fit(table(LAW, [], rng), "nothing").p == 1.0
