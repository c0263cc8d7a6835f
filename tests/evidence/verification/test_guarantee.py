"""Games and lower limits of epsilon: below the truth for right mechanisms, above the claim for broken ones."""

import math

import numpy as np
import pytest
from samples import super_uniform, table
from scipy.stats import binom

from del_audit.accounting import Accountant
from del_audit.evidence.verification.binomial import TOP_LEVEL, ClaimedLaw
from del_audit.evidence.verification.design import Call, corners
from del_audit.evidence.verification.guarantee import epsilon_evidence, guarantee_tests
from del_audit.evidence.verification.one_run import one_run_limit, one_run_p
from mechanisms.levels import ZERO_LEVEL
from mechanisms.spec import QuantizerSpec

SPEC = QuantizerSpec.from_mu(2, 3, 0.05, 1.5)
LAW = ClaimedLaw.of(SPEC)


def sample(rng, rows=400, law=LAW, actual=LAW):
    sides = [np.repeat(TOP_LEVEL * rng.integers(0, 2, (rows, 1)), 3, axis=1).astype(np.uint8)]
    calls = [Call("pair", sides[0]), Call("corners", corners(rng, rows, 3))]
    calls.append(Call("zero", np.full((rows // 4, 3), ZERO_LEVEL, dtype=np.uint8)))
    return table(law, calls, rng, lambda levels: rng.binomial(3, actual.chance[levels]))


def loops(tokens, guesses, right, epsilon, delta):
    """Returns the p-value of Steinke et al. (2023), theorem 5.2, by the sums as they stand there."""
    q = 1 / (1 + math.exp(-epsilon))
    mass = [math.comb(guesses, k) * q**k * (1 - q) ** (guesses - k) for k in range(guesses + 1)]
    beta = sum(mass[right:])
    alpha = max((sum(mass[right - i : right]) / i for i in range(1, right + 1)), default=0.0)
    return min(1.0, beta + 2 * tokens * delta * alpha)


@pytest.mark.parametrize(
    "case", [(100, 100, 80, 1.0, 0.0), (100, 60, 55, 1.0, 1e-3), (50, 50, 0, 0.0, 1e-2), (40, 40, 40, 2, 1e-4)]
)
def test_one_run_p_values_are_those_of_the_theorem(case):
    assert one_run_p(*case) == pytest.approx(loops(*case), rel=1e-10)


def test_one_run_limits_cover_randomised_response():
    rng, epsilon, runs, tokens = np.random.default_rng(0), 1.0, 400, 200
    rights = rng.binomial(tokens, 1 / (1 + math.exp(-epsilon)), runs)
    limits = [one_run_limit(tokens, tokens, int(right), 0.0, 0.95).value for right in rights]
    misses = sum(limit > epsilon for limit in limits)
    assert misses <= binom.isf(1e-6, runs, 0.05)
    assert np.median(limits) > 0.6
    assert one_run_limit(100, 100, 40, 1e-5, 0.95).value == 0.0


def test_right_mechanisms_keep_the_level_and_the_limits():
    rng = np.random.default_rng(1)
    found, over = {}, 0
    truth = Accountant(SPEC).epsilon(1e-5).estimate
    for _ in range(50):
        drawn = sample(rng)
        for tested in guarantee_tests(drawn):
            found.setdefault(tested.name, []).append(tested.p_value)
        evidence = epsilon_evidence(drawn)
        assert evidence.claimed.estimate == truth
        over += evidence.two_samples.value > truth
        over += evidence.one_run.value > truth
    for p_values in found.values():
        super_uniform(p_values)
    assert over <= binom.isf(1e-6, 100, 0.05)


def test_a_mechanism_with_a_larger_epsilon_is_proved_to_have_one():
    rng = np.random.default_rng(2)
    actual = ClaimedLaw.of(QuantizerSpec.from_mu(2, 3, 0.05, 5.0))
    drawn = sample(rng, 4000, actual=actual)
    p_values = {tested.name: tested.p_value for tested in guarantee_tests(drawn)}
    assert p_values["opposite corners"] < 1e-6
    assert p_values["zero or corner"] < 1e-6
    assert p_values["one coordinate"] < 1e-6
    assert p_values["one run of tokens"] < 1e-6
    assert p_values["one run of coordinates"] < 1e-6
    evidence = epsilon_evidence(drawn)
    assert evidence.one_run.value > Accountant(SPEC).epsilon(0.5).estimate
    assert evidence.two_samples.value > evidence.one_run.value
    assert evidence.two_samples.value < Accountant(actual.spec).epsilon(1e-5).upper


def test_a_leak_that_no_law_of_counts_has_is_learned():
    rng = np.random.default_rng(3)

    def leaks(levels):
        counts = rng.binomial(3, LAW.chance[levels])
        counts[:, -1] = 2 * (counts[:, -1] // 2) + (levels[:, 0] == TOP_LEVEL)
        return counts

    calls = [Call("corners", corners(rng, 3000, 3))]
    p_values = {t.name: t.p_value for t in guarantee_tests(table(LAW, calls, rng, leaks))}
    assert p_values["one coordinate"] < 1e-6
    assert p_values["one run of coordinates"] > 1e-3


def test_no_rows_show_nothing():
    rng = np.random.default_rng(4)
    assert all(tested.p_value == 1.0 for tested in guarantee_tests(table(LAW, [], rng)))
