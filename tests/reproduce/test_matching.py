"""Bisection to an attack success: against a known law with binomial noise, and no sharper than the sample allows."""

import math

import numpy as np
import pytest

from del_audit.reproduce.matching import bisect_rate, resolution
from del_audit.statistics.intervals import clopper_pearson
from mechanisms.errors import UserError

TOKENS = 2000


def success(knob):
    """A known success rate of an attack: 0.01 at knob 1, one half at knob 30."""
    return 1 / (1 + (30 / knob) ** 1.35)


def inverse(rate):
    return 30 * (rate / (1 - rate)) ** (1 / 1.35)


@pytest.mark.parametrize("target", [0.02, 0.10, 0.15, 0.20])
def test_exact_rates_are_bisected_to_the_resolution(target):
    found = bisect_rate(lambda knob: round(TOKENS * success(knob)), target, TOKENS, 0.1, 1000)
    assert found.reached
    assert abs(found.rate - target) <= resolution(target, TOKENS)
    assert found.lower <= inverse(target) * 1.001
    assert found.upper >= inverse(target) * 0.999
    assert found.evaluations < 20


@pytest.mark.parametrize("target", [0.02, 0.10, 0.20])
@pytest.mark.parametrize("common", [True, False], ids=["the same draws at each knob", "fresh draws"])
def test_noisy_rates_are_met_as_sharply_as_the_tokens_allow(target, common):
    for seed in range(20):
        generator = np.random.default_rng(seed)
        uniforms = generator.random(TOKENS)
        found = bisect_rate(
            lambda knob, uniforms=uniforms, generator=generator: int(
                ((uniforms if common else generator.random(TOKENS)) < success(knob)).sum()
            ),
            target,
            TOKENS,
            0.1,
            1000,
        )
        assert found.reached
        # the truth at the knob: within the tolerance of bisection and that of the sample, at a false alarm of 1e-6
        low, high = clopper_pearson(found.hits, TOKENS, 1 - 1e-6 if common else 1 - 1e-9)
        assert low <= success(found.knob) <= high


def test_the_tolerance_is_half_the_interval_at_the_target():
    low, high = clopper_pearson(40, TOKENS)
    assert resolution(0.02, TOKENS) == pytest.approx((high - low) / 2, rel=1e-12)
    assert resolution(0.02, 100 * TOKENS) < resolution(0.02, TOKENS) / 9
    assert resolution(0.02, TOKENS) < 0.01, "the tolerance seen in public code is coarser than the sample's"


def test_fewer_tokens_stop_earlier():
    few, many = (
        bisect_rate(lambda knob, n=n: round(n * success(knob)), 0.1, n, 0.1, 1000).evaluations for n in (100, 100_000)
    )
    assert few < many


def test_a_target_beyond_the_bracket_is_not_reached():
    above = bisect_rate(lambda knob: round(TOKENS * success(knob)), 0.5, TOKENS, 0.1, 5)
    assert (above.knob, above.reached, above.evaluations) == (5, False, 2)
    below = bisect_rate(lambda knob: round(TOKENS * success(knob)), 0.02, TOKENS, 100, 1000)
    assert (below.knob, below.reached) == (100, False)


def test_a_jump_over_the_target_ends_and_is_not_called_reached():
    found = bisect_rate(lambda knob: 0 if knob < 7 else 1000, 0.2, TOKENS, 0.1, 1000)
    assert not found.reached
    assert found.lower < 7 <= found.upper
    assert math.log(found.upper / found.lower) < 1e-3
    assert found.ends == (0.0, 0.5)


@pytest.mark.parametrize("target", [0.0, 1.0, -0.1, math.nan])
def test_targets_that_are_no_rate_are_refused(target):
    with pytest.raises(UserError, match="in \\(0, 1\\)"):
        bisect_rate(lambda knob: 0, target, TOKENS, 1, 2)


def test_brackets_and_samples_are_checked():
    with pytest.raises(UserError, match="tokens >= 1"):
        resolution(0.1, 0)
    with pytest.raises(UserError, match="0 < low < high"):
        bisect_rate(lambda knob: 0, 0.1, TOKENS, 2, 2)
