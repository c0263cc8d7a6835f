"""The hint of how many more would decide: right for the interval that it stands beside, the same everywhere."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import integrate, stats

from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import gain_mean
from del_audit.statistics.intervals import clustered_rate, rate
from del_audit.statistics.planning import Asked, Assumed, certified, plan_prompts
from del_audit.statistics.sample_size import drawn_tail, samples_needed, scatter_of, weighted_tail
from mechanisms.randomness import simulation_generator


@pytest.mark.parametrize(
    ("hits", "trials", "limit"), [(140, 1_000, 0.15), (0, 12, 0.1), (20, 100, 0.15), (9, 10, 0.95)]
)
def test_clopper_pearsons_end_reaches_the_limit_there_and_not_before(hits, trials, limit):
    needed, value = samples_needed(rate(hits, trials, "share", "tokens"), limit), hits / trials

    def decides(n):  # value * n successes, whole or not
        if value < limit:
            return stats.beta.ppf(0.975, value * n + 1, n - value * n) <= limit
        return stats.beta.ppf(0.025, value * n, n - value * n + 1) >= limit

    assert decides(needed)
    assert not decides(needed - 10 ** max(0, len(str(needed)) - 3))  # the round number before


def document_figure(rate_of, between, documents, tokens=40):
    """Returns the figure of a sample whose value is moved to the true rate: the width is what a sample shows."""
    assumed = Assumed(rate_of, tokens, between)
    hits = assumed.hits(documents, 1, 11)[0]
    flags = np.concatenate([np.arange(tokens) < k for k in hits])
    figure = clustered_rate(flags, np.repeat(np.arange(documents), tokens), tokens, "share", "tokens", 0)
    below, above = figure.value - figure.lower, figure.upper - figure.value
    return assumed, replace(figure, value=rate_of, lower=rate_of - below, upper=rate_of + above)


@pytest.mark.parametrize(
    ("rate_of", "between", "documents", "limit"),
    [
        (0.15, 0.05, 128, 0.18),
        (0.15, 0.05, 128, 0.17),
        (0.15, 0.01, 128, 0.165),
        (0.02, 0.2, 64, 0.06),
        (0.15, 1.0, 128, 0.2),
    ],
)
def test_so_many_documents_certify_about_every_second_time(rate_of, between, documents, limit):
    assumed, figure = document_figure(rate_of, between, documents)
    needed = samples_needed(figure, limit) // 40
    assert needed > documents / 2

    def power(count):
        return certified(assumed.hits(count, 1_000, 12), 40, Asked(limit)).mean()

    assert 0.25 < power(needed) < 0.75  # one sample's width says how many; the value itself is held fixed
    assert power(round(0.55 * needed)) < 0.3
    assert power(2 * needed) > 0.8


def test_the_root_law_alone_would_mislead():
    assumed, figure = document_figure(0.15, 0.01, 128)
    root = figure.documents * ((figure.upper - 0.15) / 0.015) ** 2
    assert certified(assumed.hits(round(root), 500, 12), 40, Asked(0.165)).mean() > 0.9
    assert samples_needed(figure, 0.165) / 40 < 0.7 * root


@pytest.mark.parametrize(
    ("reach", "unseen", "spread"), [(3.0, 0.85, 1.2), (1.0, 0.1, 2.0), (4.0, 1.0, 0.05), (0.5, 0.3, 0.3)]
)
def test_the_law_of_weights_is_an_exponential_and_a_normal(reach, unseen, spread):
    expected, _ = integrate.quad(
        lambda e: math.exp(-e) * stats.norm.sf((reach - unseen * e) / spread),
        0,
        60,
        epsabs=1e-12,
        points=[reach / unseen],
    )
    assert weighted_tail(reach, unseen, spread) == pytest.approx(expected, rel=1e-7)


def test_the_law_of_weights_has_its_ends():
    assert weighted_tail(2.0, 0.0, 1.0) == pytest.approx(stats.norm.sf(2.0), rel=1e-12)
    assert weighted_tail(2.0, 0.5, 0.0) == pytest.approx(math.exp(-4.0), rel=1e-12)
    assert weighted_tail(1.0, 0.0, 0.0) == 0.0
    assert weighted_tail(0.02, 1e-9, 1.0) == pytest.approx(stats.norm.sf(0.02), rel=1e-6)


def test_the_tail_is_the_one_that_intervals_use():
    assert 0.025 - 4 * math.sqrt(0.025 * 0.975 / 10_000) < drawn_tail(0.95) < 0.025
    assert drawn_tail(0.95) == 203 / 10_000


def test_documents_read_whole_scatter_as_coins():
    _, figure = document_figure(0.15, 1.0, 400)
    assert scatter_of(figure, upward=True) == pytest.approx(math.sqrt(0.15 * 0.85), rel=0.12)


@pytest.mark.parametrize("threshold", [0.15, math.nan, math.inf])
def test_no_sample_decides_a_rate_at_its_limit(threshold):
    assert samples_needed(rate(15, 100, "share", "tokens"), threshold) is None


def test_other_intervals_shrink_with_the_root():
    gain = Figure(0.1, -0.1, 0.3, "nats a token", 100, "prompts", "percentile bootstrap over documents")
    assert samples_needed(gain, 0.0) == 401
    assert samples_needed(replace(gain, value=0.1 + 1e-12), 0.1) is None  # further than any sample goes


def test_hints_are_round_numbers_that_no_last_digit_moves():
    _, figure = document_figure(0.15, 0.05, 128)
    needed = samples_needed(figure, 0.16)
    nudged = [
        replace(figure, upper=figure.upper * (1 + k * 1e-15), value=figure.value * (1 - k * 1e-15)) for k in (-2, 1, 3)
    ]
    assert {samples_needed(each, 0.16) for each in nudged} == {needed}
    assert float(f"{needed / 40:.3g}") == needed / 40


@pytest.mark.parametrize("method", ["none: the attack stopped early", "delete-one-document jackknife", "Markov"])
def test_no_number_is_named_for_intervals_that_more_of_the_sample_may_not_narrow(method):
    assert samples_needed(Figure(0.2, 0.1, 0.4, "share", 100, "prompts", method), 0.3) is None


def test_a_gains_hint_is_where_its_own_interval_ends_at_the_limit():
    gains = simulation_generator(13, "gains").normal(0.0, 0.14, 2_000)
    gains += 0.055 - gains.mean()
    figure = gain_mean(gains[:96] - gains[:96].mean() + 0.055, 0)
    needed = samples_needed(figure, 0.03)
    sample = np.tile((gains[:96] - gains[:96].mean()), 20)[:needed]
    assert gain_mean(sample - sample.mean() + 0.055, 0).lower == pytest.approx(0.03, abs=0.002)
    assert plan_prompts(figure, 0.03, 0.5) == needed
    assert plan_prompts(figure, 0.03, 0.9) > 1.2 * needed


def test_a_planned_gain_is_shown_with_about_the_power_asked_for():
    generator = simulation_generator(14, "planned gain")
    figure = gain_mean(generator.normal(0.055, 0.14, 96), 0)
    figure = replace(figure, value=0.055, lower=figure.lower + 0.055 - figure.value, upper=figure.upper)
    needed = plan_prompts(figure, 0.0, 0.9)
    shown = [gain_mean(generator.normal(0.055, 0.14, needed), seed).lower > 0 for seed in range(100)]
    assert 0.8 < np.mean(shown) <= 1
