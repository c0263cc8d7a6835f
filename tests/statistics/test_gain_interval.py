"""The paired gain's lower end is above a gain of zero as seldom as it says, for skewed laws and few prompts too."""

import math

import numpy as np
import pytest
from scipy import stats

from del_audit.statistics.bootstrap import bootstrap_mean
from del_audit.statistics.gain_interval import HIGHEST, LOWEST, gain_mean, share_of_gain
from del_audit.statistics.intervals import unseen_ends
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

LAWS = {
    "normal": lambda g, shape: g.normal(0, 0.3, shape),
    "exponential": lambda g, shape: 0.3 * (g.exponential(1, shape) - 1),
    "minus exponential": lambda g, shape: -0.3 * (g.exponential(1, shape) - 1),
    "lognormal": lambda g, shape: 0.15 * (g.lognormal(0, 1, shape) - math.exp(0.5)),
    "minus lognormal": lambda g, shape: -0.15 * (g.lognormal(0, 1, shape) - math.exp(0.5)),
    "gamma": lambda g, shape: 0.35 * (g.gamma(0.5, 1, shape) - 0.5),
    "minus gamma": lambda g, shape: -0.35 * (g.gamma(0.5, 1, shape) - 0.5),
    "one loss in a hundred": lambda g, shape: np.where(g.random(shape) < 0.01, -0.9, 0.9 / 99),
    "one loss in twenty": lambda g, shape: np.where(g.random(shape) < 0.05, -0.9, 0.9 / 19),
}
"""Gains whose true mean is zero, mostly within 1 nat per token of it."""


def misses(law, prompts, runs):
    """Returns how often the interval of a gain of zero is above it, and below it."""
    values = LAWS[law](simulation_generator(1, "gain", law, str(prompts)), (prompts, runs))
    found = np.zeros(2)
    for start in range(0, runs, 200):
        part = values[:, start : start + 200]
        one, low, high = (
            np.ones(part.shape[1]),
            np.minimum(LOWEST, part.min(axis=0)),
            np.maximum(HIGHEST, part.max(axis=0)),
        )
        ends = np.stack([np.stack([low, one]), np.stack([high, one])])
        lower, upper = unseen_ends(np.stack([part, np.ones_like(part)]), ends, lambda s: s[0] / s[1], start)
        found += [(lower > 0).sum(), (upper < 0).sum()]
    return found


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("prompts", [3, 30, 96])
def test_a_gain_of_zero_seldom_passes(law, prompts):
    assert (misses(law, prompts, 200) <= stats.binom.isf(1e-6, 200, 0.025)).all()


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("prompts", [20, 30, 50, 96, 200])
def test_a_gain_of_zero_seldom_passes_in_full(law, prompts):
    assert (misses(law, prompts, 2_000) <= 2_000 * 0.025 + 3 * math.sqrt(2_000 * 0.025 * 0.975)).all()


@pytest.mark.parametrize(("prompts", "least"), [(3, 0.04), (30, 0.15)])
def test_a_bootstrap_would_pass_too_often(prompts, least):
    generator, passed = simulation_generator(2, "bootstrap"), 0
    for seed in range(60):
        values = LAWS["minus exponential" if prompts == 3 else "one loss in twenty"](generator, prompts)
        passed += bootstrap_mean(values + 1e-9 * generator.random(prompts), "u", "prompts", seed).lower > 0
    assert passed / 60 > least


def test_the_figure_is_the_interval_that_was_simulated_and_says_what_it_assumes():
    values = LAWS["normal"](simulation_generator(3, "one"), (40, 1))
    ends = np.array([[[LOWEST], [1.0]], [[HIGHEST], [1.0]]])
    lower, upper = unseen_ends(np.stack([values, np.ones_like(values)]), ends, lambda s: s[0] / s[1], 5)
    figure = gain_mean(values[:, 0], 5)
    assert (figure.lower, figure.value, figure.upper) == pytest.approx((lower[0], values.mean(), upper[0]), rel=1e-12)
    assert "unseen document at -1 or 3 nats per token" in figure.method
    assert (figure.sample, figure.documents, figure.sample_unit, figure.seed) == (40, 40, "prompts", 5)


def test_a_gain_beyond_the_range_moves_it():
    values = np.array([0.2] * 30 + [-4.0])
    assert gain_mean(values, 0).lower == gain_mean(values, 0, within=(-4.0, 3.0)).lower
    assert gain_mean(values, 0, within=(-6.0, 3.0)).lower < gain_mean(values, 0).lower


@pytest.mark.parametrize(("prompts", "most"), [(96, 0.055), (150, 0.040), (200, 0.033), (300, 0.026)])
def test_the_gain_of_the_example_stays_above_zero(prompts, most):
    """A gain of .055 with a scatter of .14 from prompt to prompt is shown by 96 prompts."""
    quantiles = stats.norm.ppf((np.arange(prompts) + 0.5) / prompts, 0.055, 0.14)
    figure = gain_mean(quantiles, 0)
    assert 0 < figure.value - figure.lower < most


def test_documents_of_several_prompts_weigh_as_one():
    values = simulation_generator(4, "clusters").normal(0.1, 0.2, 40)
    one, repeated = gain_mean(values, 0), gain_mean(np.repeat(values, 3), 0, np.repeat(np.arange(40), 3), 3)
    assert (repeated.lower, repeated.upper) == pytest.approx((one.lower, one.upper), rel=1e-12)
    longer = gain_mean(np.repeat(values, 3), 0, np.repeat(np.arange(40), 3), 6)
    assert longer.lower < one.lower
    assert longer.upper > one.upper


def share_misses(prompts, runs, share):
    """Returns how often the interval of the ratio is above the true share, and below it, and how often there is one."""
    generator, found = simulation_generator(5, "share", str(prompts), str(share)), np.zeros(3)
    for seed in range(runs):
        clean = 0.6 + 0.3 * (generator.exponential(1, prompts) - 1)
        gains = share * clean - 0.3 * (generator.exponential(1, prompts) - 1)
        if gain_mean(clean, seed).lower > 0:
            figure = share_of_gain(gains, clean, seed)
            assert figure.lower <= figure.value <= figure.upper < math.inf
            found += [figure.lower > share, figure.upper < share, 1]
    return found


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("prompts", [30, 96])
def test_the_share_of_the_clean_gain_is_covered(prompts, share):
    above, below, there = share_misses(prompts, 60, share)
    assert there == 60
    assert max(above, below) <= stats.binom.isf(1e-6, 60, 0.025)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("prompts", [20, 30, 50, 96, 200])
def test_the_share_of_the_clean_gain_is_covered_in_full(prompts, share):
    above, below, _ = share_misses(prompts, 400, share)
    assert max(above, below) <= 400 * 0.025 + 3 * math.sqrt(400 * 0.025 * 0.975)


def test_the_shares_ends_have_the_clean_gain_that_is_worse_for_each():
    """Against the definition, written out: a loss is a smaller share of a smaller clean gain."""
    generator = simulation_generator(6, "ends")
    clean, gains = generator.normal(1.0, 0.3, 30), generator.normal(-0.02, 0.3, 30)
    figure = share_of_gain(gains, clean, 0)
    weights = simulation_generator(0, "unseen document").standard_exponential((10_000, 31))
    top = weights[:, :-1] @ gains + weights[:, -1] * LOWEST
    bottom = weights[:, :-1] @ clean + weights[:, -1] * np.where(top > 0, HIGHEST, LOWEST)
    beyond = int(250 - 3 * np.sqrt(250 * 0.975))
    assert figure.lower == pytest.approx(np.sort(top / bottom)[beyond], rel=1e-12)
    assert figure.value == gains.mean() / clean.mean()


def test_the_share_of_documents_of_several_prompts_weighs_each_document_as_one():
    generator, documents = simulation_generator(8, "share of clusters"), np.repeat(np.arange(40), 3)
    clean, gains = generator.normal(1.0, 0.3, 40), generator.normal(0.3, 0.3, 40)
    one = share_of_gain(gains, clean, 0)
    repeated = share_of_gain(np.repeat(gains, 3), np.repeat(clean, 3), 0, documents, 3)
    assert (repeated.lower, repeated.upper) == pytest.approx((one.lower, one.upper), rel=1e-12)
    assert repeated.documents == 40


def test_a_clean_gain_that_an_unseen_loss_would_undo_has_no_share():
    """The range that is allowed for unseen counts for the clean gain, too."""
    clean = np.full(30, 0.5) + 0.01 * np.arange(30)
    assert share_of_gain(clean / 2, clean, 0).lower > 0
    with pytest.raises(UserError, match="lower end is above 0"):
        share_of_gain(clean / 2, clean, 0, within=(-50.0, 3.0))


@pytest.mark.parametrize("confidence", [0.8, 0.99])
def test_a_gain_states_the_confidence_of_its_interval(confidence):
    clean = 0.5 + 0.01 * np.arange(30)
    gain, share = gain_mean(clean, 0, confidence=confidence), share_of_gain(clean / 2, clean, 0, confidence=confidence)
    assert gain.confidence == share.confidence == confidence
    assert (gain.upper - gain.lower < gain_mean(clean, 0).upper - gain_mean(clean, 0).lower) == (confidence < 0.95)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: gain_mean([0.1], 0), "two documents or more"),
        (lambda: gain_mean([], 0), "two documents or more"),
        (lambda: gain_mean([0.1, 0.2], 0, ["x", "x"], 2), "two documents or more"),
        (lambda: gain_mean([0.1, math.nan], 0), "finite"),
        (lambda: gain_mean([0.1, 0.2, 0.3], 0, ["x", "x", "y"]), "more than longest=1"),
        (lambda: gain_mean([0.1, 0.2], 0, within=(1.0, 1.0)), "within"),
        (lambda: gain_mean([0.1, 0.2], 0, confidence=1.0), "confidence"),
        (lambda: share_of_gain([0.1, 0.2], [0.1, 0.2, 0.3], 0), "clean gain for each of 2"),
        (lambda: share_of_gain([0.1] * 9, [0.1] * 9, 0), "lower end is above 0"),
    ],
)
def test_gains_that_do_not_fit_are_refused(call, said):
    with pytest.raises(UserError, match=said):
        call()
