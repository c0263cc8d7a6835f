"""Intervals cover what they claim to cover, and meet the textbook's values."""

import numpy as np
import pytest
from scipy import stats

from del_audit.evidence.intervals import balanced_rate, clopper_pearson, rate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 2_000
MISSES_ALLOWED = int(stats.binom.isf(1e-6, RUNS, 0.05))
"""Misses of a 95% interval in RUNS seeded runs that a correct interval exceeds once in a million."""


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 50), (3, 10), (50, 50), (113, 2_000), (1, 1)])
@pytest.mark.parametrize("confidence", [0.95, 0.9999])
def test_clopper_pearson_equals_an_independent_computation(successes, trials, confidence):
    expected = stats.binomtest(successes, trials).proportion_ci(confidence, method="exact")
    assert clopper_pearson(successes, trials, confidence) == pytest.approx((expected.low, expected.high), rel=1e-12)


@pytest.mark.parametrize("arguments", [(1, 0), (-1, 5), (6, 5), (1, 5, 0.0), (1, 5, 1.0)])
def test_clopper_pearson_refuses(arguments):
    with pytest.raises(UserError, match="Expected"):
        clopper_pearson(*arguments)


@pytest.mark.parametrize("truth", [0.02, 0.3])
def test_clopper_pearson_covers(truth):
    counts = simulation_generator(1, "coverage").binomial(150, truth, RUNS)
    missed = sum(not low <= truth <= high for low, high in (clopper_pearson(int(k), 150) for k in counts))
    assert missed <= MISSES_ALLOWED


def test_balanced_rate_of_one_class_is_clopper_pearson():
    figure = balanced_rate([7], [40], seed=0)
    assert (figure.lower, figure.upper) == pytest.approx(clopper_pearson(7, 40), abs=0.004)
    assert figure.value == 7 / 40


@pytest.mark.parametrize("truth", [(0.9, 0.4, 0.1), (0.5, 0.5, 0.5), (1.0, 0.0, 0.02)])
def test_balanced_rate_covers(truth):
    generator, sizes = simulation_generator(2, "coverage"), (76, 25, 11)
    missed = 0
    for seed in range(500):
        figure = balanced_rate(generator.binomial(sizes, truth).tolist(), sizes, seed)
        missed += not figure.lower <= np.mean(truth) <= figure.upper
    assert missed <= stats.binom.isf(1e-6, 500, 0.05)


def test_a_rate_states_what_it_is():
    figure = rate(3, 10, "share of tokens read", "tokens").to_dict()
    assert figure["value"] == 0.3
    assert (figure["unit"], figure["sample"], figure["sample_unit"]) == ("share of tokens read", 10, "tokens")
    assert (figure["method"], figure["confidence"]) == ("Clopper-Pearson", 0.95)
    assert "estimated" in figure["kind"]


def test_a_mapped_figure_keeps_its_interval():
    figure = rate(30, 100, "share", "tokens").mapped(lambda x: 10 * x, "tenths")
    assert figure.value == pytest.approx(3.0)
    assert (figure.lower, figure.upper) == pytest.approx(tuple(10 * end for end in clopper_pearson(30, 100)))
    assert figure.unit == "tenths"
