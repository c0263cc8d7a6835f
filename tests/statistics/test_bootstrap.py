"""Intervals over documents cover what they claim, where intervals over prompts do not."""

import numpy as np
import pytest
from scipy import stats

from del_audit.statistics import bootstrap
from del_audit.statistics.bootstrap import ASSUMED, bootstrap_mean, bootstrap_ratio, group
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 400


def correlated(generator, documents, skewed=False):
    """Returns values of mean 0 and their documents: 1 to 7 prompts a document, half of the variance between them."""
    clusters = np.repeat(np.arange(documents), generator.integers(1, 8, documents))
    between = generator.exponential(1, documents) - 1 if skewed else generator.normal(0, 1, documents)
    return between[clusters] + generator.normal(0, 1, len(clusters)), clusters


def coverage(documents, clustered, skewed=False):
    generator, covered = simulation_generator(11, "coverage"), 0
    for seed in range(RUNS):
        values, clusters = correlated(generator, documents, skewed)
        figure = bootstrap_mean(values, "u", "prompts", seed, clusters=clusters if clustered else None)
        covered += figure.lower <= 0 <= figure.upper
    return covered / RUNS


@pytest.fixture
def fewer_resamples(monkeypatch):
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)


@pytest.mark.parametrize(("documents", "skewed"), [(4, False), (8, False), (20, False), (80, False)])
def test_intervals_over_documents_cover_correlated_prompts(fewer_resamples, documents, skewed):
    assert coverage(documents, clustered=True, skewed=skewed) >= 0.92


def test_intervals_over_prompts_do_not(fewer_resamples):
    assert coverage(80, clustered=False) < 0.85


def test_percentile_intervals_would_be_too_short_for_few_documents(fewer_resamples, monkeypatch):
    monkeypatch.setattr(bootstrap, "FEW_DOCUMENTS", 2)
    assert coverage(8, clustered=True) < 0.91


def test_bootstrap_mean_covers_and_is_repeatable():
    generator, missed = simulation_generator(3, "coverage"), 0
    for seed in range(300):
        figure = bootstrap_mean(generator.normal(0.05, 0.2, 100), "nats a token", "prompts", seed)
        missed += not figure.lower <= 0.05 <= figure.upper
    assert missed <= stats.binom.isf(1e-6, 300, 0.06)  # percentile intervals of 100 documents are slightly short
    values = generator.normal(size=60)
    assert bootstrap_mean(values, "u", "s", 5) == bootstrap_mean(values, "u", "s", 5)
    assert bootstrap_mean(values, "u", "s", 5) != bootstrap_mean(values, "u", "s", 6)


@pytest.mark.parametrize("clusters", [None, [f"document {i}" for i in range(90, 0, -1)]])
def test_one_prompt_a_document_is_the_plain_percentile_bootstrap(clusters):
    values = simulation_generator(6, "plain").normal(size=90)
    drawn = simulation_generator(7, "bootstrap").integers(0, 90, (10_000, 90))
    expected = np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    figure = bootstrap_mean(values, "u", "prompts", 7, clusters=clusters)
    assert (figure.value, figure.lower, figure.upper) == pytest.approx((values.mean(), *expected), rel=1e-12)
    assert (figure.method, figure.documents, figure.seed) == (f"percentile bootstrap over documents, {ASSUMED}", 90, 7)


def test_whole_documents_are_resampled():
    values, clusters = correlated(simulation_generator(8, "whole"), 60)
    rows = [values[clusters == document] for document in range(60)]
    drawn = simulation_generator(0, "bootstrap").integers(0, 60, (10_000, 60))
    means = [np.concatenate([rows[document] for document in draw]).mean() for draw in drawn]
    figure = bootstrap_mean(values, "u", "prompts", 0, clusters=clusters)
    assert (figure.lower, figure.upper) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), rel=1e-12)
    assert (figure.sample, figure.documents, figure.value) == (len(values), 60, pytest.approx(values.mean()))


def test_bootstrap_ratio_resamples_both_means_together():
    values = simulation_generator(4, "ratio").uniform(1, 2, 60)
    figure = bootstrap_ratio(0.25 * values, values, "share", "prompts", 0, clusters=np.arange(60) // 4)
    assert (figure.lower, figure.value, figure.upper) == pytest.approx((0.25, 0.25, 0.25))
    assert figure.documents == 15


def test_bootstrap_ratio_covers_few_documents(fewer_resamples):
    generator, covered = simulation_generator(12, "ratio"), 0
    for seed in range(RUNS):
        values, clusters = correlated(generator, 12)
        under = 4 + generator.normal(size=len(values))
        figure = bootstrap_ratio(0.5 * under + values, under, "share", "prompts", seed, clusters=clusters)
        covered += figure.lower <= 0.5 <= figure.upper
    assert covered / RUNS >= 0.92


def test_students_interval_for_a_handful_of_documents():
    values = np.array([0.1, 0.7, 0.4, 0.3])
    figure = bootstrap_mean(values, "u", "prompts", 0)
    half = stats.t.ppf(0.975, 3) * stats.sem(values)
    assert (figure.lower, figure.upper) == pytest.approx((values.mean() - half, values.mean() + half))
    assert figure.method == f"Student's t over documents, {ASSUMED}"


def test_an_interval_stays_within_what_values_can_be():
    figure = bootstrap_mean([0.1, 0.9], "cosine", "prompts", 0, within=(-1.0, 1.0))
    assert (figure.lower, figure.upper) == (-1.0, 1.0)
    assert bootstrap_mean([0.1, 0.9], "cosine", "prompts", 0).upper > 1


@pytest.mark.parametrize("count", [3, 8, 60])
def test_values_that_agree_have_an_interval_of_no_width(count):
    figure = bootstrap_mean([0.3] * count, "u", "prompts", 0)
    assert (figure.lower, figure.value, figure.upper) == pytest.approx((0.3, 0.3, 0.3))


def test_documents_are_numbered_as_they_appear():
    grouped = group(["b", "a", "b", "c"], 4)
    assert (grouped.numbers.tolist(), grouped.documents) == ([0, 1, 0, 2], 3)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [[1.0, 2.0]]])
def test_bootstrap_refuses(values):
    with pytest.raises(UserError, match="finite values"):
        bootstrap_mean(values, "u", "s", 0)


def test_bootstrap_refuses_what_says_nothing():
    with pytest.raises(UserError, match="two documents"):
        bootstrap_mean([1.0, 2.0, 3.0], "u", "s", 0, clusters=["a", "a", "a"])
    with pytest.raises(UserError, match="one document id for each of 2 values, got 3"):
        bootstrap_mean([1.0, 2.0], "u", "s", 0, clusters=[1, 2, 3])
    with pytest.raises(UserError, match=r"under the ratio > 0, got -0\.5"):
        bootstrap_ratio([1.0, 2.0], [0.0, -1.0], "u", "s", 0)
    with pytest.raises(UserError, match=r"confidence in \(0, 1\)"):
        bootstrap_mean([1.0, 2.0], "u", "s", 0, confidence=1.0)
