"""Intervals cover what they claim to cover, and meet the textbook's values."""

import itertools

import mpmath
import numpy as np
import pytest
from scipy import stats

from del_audit.statistics.intervals import (
    UNSEEN,
    balanced_rate,
    clopper_pearson,
    clustered_mean,
    clustered_rate,
    clustered_rates,
    rate,
    unseen_ends,
)
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


def test_more_confidence_is_a_wider_balanced_rate_that_says_so():
    wide, usual = balanced_rate([7, 3], [40, 9], 0, 0.99), balanced_rate([7, 3], [40, 9], 0)
    assert wide.lower < usual.lower < usual.upper < wide.upper
    assert (wide.confidence, usual.confidence) == (0.99, 0.95)
    assert (wide.sample, wide.sample_unit, wide.unit, wide.seed) == (49, "documents", "mean recall over classes", 0)


def test_a_rate_states_what_it_is():
    figure = rate(3, 10, "share of tokens read", "tokens").to_dict()
    assert figure["value"] == 0.3
    assert (figure["unit"], figure["sample"], figure["sample_unit"]) == ("share of tokens read", 10, "tokens")
    assert (figure["method"], figure["confidence"]) == ("Clopper-Pearson", 0.95)
    assert "estimated" in figure["kind"]


def test_a_clustered_mean_states_what_it_is():
    one_each = clustered_rate([True, False, False], None, 1, "share", "documents", 5, 0.9)
    assert (one_each.method, one_each.sample, one_each.sample_unit) == ("Clopper-Pearson", 3, "documents")
    several = clustered_rate([True, False, False], ["a", "a", "b"], 2, "share", "tokens", 5, 0.9)
    assert (several.method, several.sample, several.sample_unit) == (UNSEEN, 3, "tokens")
    assert (several.documents, several.seed) == (2, 5)
    assert (one_each.unit, one_each.confidence) == (several.unit, several.confidence) == ("share", 0.9)


def test_a_mapped_figure_keeps_its_interval():
    figure = rate(30, 100, "share", "tokens").mapped(lambda x: 10 * x, "tenths")
    assert figure.value == pytest.approx(3.0)
    assert (figure.lower, figure.upper) == pytest.approx(tuple(10 * end for end in clopper_pearson(30, 100)))
    assert figure.unit == "tenths"


def documents_of(kind, documents, truth, runs, generator):
    """Returns hits and trials of documents, shape (documents, runs): strongly alike within a document, or not at all.

    beta: half of a trial's variance is between documents. all: a document is read as a whole or not at all.
    few: one document in twenty leaks most of what leaks. alike: all trials are independent.
    """
    shape, trials = (documents, runs), generator.integers(20, 65, (documents, runs))
    if kind == "beta":
        rates = generator.beta(truth, 1 - truth, shape)
    elif kind == "all":
        rates = (generator.random(shape) < truth).astype(float)
    elif kind == "few":
        high = min(1.0, (truth - 0.95 * 0.2 * truth) / 0.05)
        rates = np.where(generator.random(shape) < 0.05, high, (truth - 0.05 * high) / 0.95)
    else:
        rates = np.full(shape, truth)
    return generator.binomial(trials, rates), trials


def unseen(hits, trials, longest=64):
    """Returns the ends of clustered_rate for every run."""
    chunks = [slice(start, start + 250) for start in range(0, hits.shape[1], 250)]
    parts = []
    for chunk in chunks:
        sums = np.stack([hits[:, chunk], trials[:, chunk]]).astype(float)
        full = np.full(sums.shape[2], float(longest))
        ends = np.stack([np.stack([0 * full, full]), np.stack([full, full])])
        parts.append(unseen_ends(sums, ends, lambda s: s[0] / s[1], 0))
    return np.concatenate([low for low, _ in parts]), np.concatenate([high for _, high in parts])


def korn_graubard(hits, trials):
    documents, total, value = len(hits), trials.sum(axis=0), hits.sum(axis=0) / trials.sum(axis=0)
    variance = ((hits - value * trials) ** 2).sum(axis=0) * documents / (documents - 1) / total**2
    inside = (value > 0) & (value < 1)
    effective = np.where(inside, value * (1 - value) / np.where(inside, variance, 1), documents)
    effective = np.minimum(total, effective * (stats.t.ppf(0.975, total - 1) / stats.t.ppf(0.975, documents - 1)) ** 2)
    right = value * effective
    low, high = stats.beta.ppf(0.025, right, effective - right + 1), stats.beta.ppf(0.975, right + 1, effective - right)
    return np.where(value > 0, low, 0), np.where(value < 1, high, 1)


def percentile(hits, trials):
    weights = simulation_generator(0, "plain").multinomial(len(hits), np.full(len(hits), 1 / len(hits)), 2_000)
    return np.quantile((weights @ hits) / (weights @ trials), [0.025, 0.975], axis=0)


def clustered_coverage(method, kind, documents, truth, runs):
    generator = simulation_generator(7, "clustered", kind, str(documents), str(truth))
    low, high = method(*documents_of(kind, documents, truth, runs, generator))
    return float(((low <= truth) & (truth <= high)).mean())


@pytest.mark.parametrize("kind", ["beta", "few"])
@pytest.mark.parametrize(("documents", "truth"), [(10, 0.13), (30, 0.01), (30, 0.97)])
def test_a_clustered_rate_covers(kind, documents, truth):
    assert 300 * (1 - clustered_coverage(unseen, kind, documents, truth, 300)) <= stats.binom.isf(1e-6, 300, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["beta", "all", "few", "alike"])
@pytest.mark.parametrize("documents", [10, 30, 100])
@pytest.mark.parametrize("truth", [0.01, 0.13, 0.5, 0.97])
def test_a_clustered_rate_covers_in_full(kind, documents, truth):
    assert clustered_coverage(unseen, kind, documents, truth, RUNS) >= 0.95


@pytest.mark.parametrize("method", [korn_graubard, percentile])
@pytest.mark.parametrize(("kind", "documents", "truth"), [("beta", 30, 0.01), ("few", 30, 0.01)])
def test_shorter_intervals_would_not(method, kind, documents, truth):
    assert clustered_coverage(method, kind, documents, truth, 300) < 0.9


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.01, 0.13, 0.5, 0.97])
@pytest.mark.parametrize("trials", [30, 640])
def test_clopper_pearson_covers_in_full(truth, trials):
    counts = simulation_generator(1, "full coverage", str(trials)).binomial(trials, truth, RUNS)
    limits = {k: clopper_pearson(k, trials) for k in set(counts.tolist())}
    assert np.mean([limits[k][0] <= truth <= limits[k][1] for k in counts.tolist()]) >= 0.95


def test_the_simulated_ends_are_those_of_the_figure():
    hits, trials = documents_of("beta", 12, 0.3, 3, simulation_generator(9, "ends"))
    low, high = unseen(hits, trials)
    for run in range(3):
        flags = np.concatenate([np.arange(n) < k for k, n in zip(hits[:, run], trials[:, run], strict=True)])
        figure = clustered_rate(flags, np.repeat(np.arange(12), trials[:, run]), 64, "u", "tokens", 0)
        assert (figure.lower, figure.upper) == pytest.approx((low[run], high[run]), rel=1e-12)
        assert figure.value == pytest.approx(hits[:, run].sum() / trials[:, run].sum(), rel=1e-12)
        assert (figure.documents, figure.sample, figure.method) == (12, len(flags), UNSEEN)


def spacings_below(values, level):
    """Returns P(sum of D_i z_i <= level), D uniform on the simplex, for distinct z, by its closed form in 60 digits."""
    with mpmath.workdps(60):
        z = [mpmath.mpf(float(value)) for value in values]
        terms = [
            max(a - mpmath.mpf(float(level)), 0) ** (len(z) - 1)
            / mpmath.fprod(a - b for other, b in enumerate(z) if other != index)
            for index, a in enumerate(z)
        ]
        return float(1 - mpmath.fsum(terms))


def test_ends_are_gaffkes_bounds_rounded_outward():
    shares = np.array([0.0625, 0.125, 0.1875, 0.375, 0.5, 0.6875, 0.9375])
    hits = np.concatenate([np.arange(16) < 16 * share for share in shares])
    figure = clustered_rate(hits, np.repeat(np.arange(7), 16), 16, "u", "tokens", 3)
    above, below = (
        spacings_below([*shares, 1.0], figure.upper),
        spacings_below([*shares, 0.0], figure.lower),
    )
    assert 0.975 < above < 0.986  # three standard errors of 10,000 draws beyond the tail, and up to three more
    assert 0.014 < below < 0.025


@pytest.mark.parametrize("read", [0, 3, 10])
def test_documents_read_whole_have_the_interval_of_independent_trials(read):
    hits = np.repeat(np.arange(10) < read, 64)
    figure = clustered_rate(hits, np.repeat(np.arange(10), 64), 64, "u", "tokens", 0)
    inner, outer = clopper_pearson(read, 10), clopper_pearson(read, 10, 0.97)
    assert outer[0] <= figure.lower <= inner[0]
    assert inner[1] <= figure.upper <= outer[1]
    assert figure.lower < figure.upper


def test_one_trial_a_document_is_clopper_pearson():
    figure = clustered_rate(np.arange(40) < 7, np.arange(40), 1, "u", "tokens", 0)
    assert (figure.lower, figure.upper) == clopper_pearson(7, 40)
    assert clustered_rate(np.arange(40) < 7, None, 1, "u", "tokens", 0) == figure


def test_a_mean_within_other_bounds_is_the_same_interval_moved():
    generator = simulation_generator(5, "bounded")
    values, clusters = generator.random(60), np.arange(60) // 3
    unit = clustered_mean(values, clusters, 3, "u", "prompts", 0)
    moved = clustered_mean(2 * values - 1, clusters, 3, "u", "prompts", 0, within=(-1.0, 1.0))
    expected = [2 * end - 1 for end in (unit.lower, unit.value, unit.upper)]
    assert [moved.lower, moved.value, moved.upper] == pytest.approx(expected, rel=1e-12)


def test_more_confidence_is_a_wider_interval():
    hits, clusters = np.arange(400) % 9 == 0, np.arange(400) // 20
    figures = [clustered_rate(hits, clusters, 20, "u", "tokens", 0, c) for c in (0.8, 0.95, 0.99, 0.9998)]
    assert all(a.lower > b.lower and a.upper < b.upper for a, b in itertools.pairwise(figures))


def test_clustered_intervals_refuse():
    with pytest.raises(UserError, match="two documents or more for an interval, got 3 tokens of one"):
        clustered_rate(np.array([True, False, True]), ["a", "a", "a"], 3, "u", "tokens", 0)
    with pytest.raises(UserError, match="at least one value"):
        clustered_rate(np.array([], dtype=bool), None, 1, "u", "tokens", 0)
    with pytest.raises(UserError, match="true or false"):
        clustered_rate([0.5, 1.0], None, 1, "u", "tokens", 0)
    with pytest.raises(UserError, match=r"all in \[0, 1\]"):
        clustered_mean([0.5, 1.5], None, 1, "u", "tokens", 0)
    with pytest.raises(UserError, match=r"all in \[0, 1\]"):
        clustered_mean([0.5, float("nan")], None, 1, "u", "tokens", 0)
    for confidence in (0.0, 1.0, 0.99999):
        with pytest.raises(UserError, match="confidence"):
            clustered_mean([0.5, 0.2], None, 1, "u", "tokens", 0, confidence)


def rare_long_documents(documents, runs, generator, longest=64):
    """Returns hits and trials of documents that are short and not read, but for one in a hundred, long and read whole.

    The long ones make most of what is read: the true rate is .01 longest / (.99 + .01 longest).
    """
    long = generator.random((documents, runs)) < 0.01
    trials = np.where(long, longest, 1)
    return np.where(long, longest, 0), trials, 0.01 * longest / (0.99 + 0.01 * longest)


@pytest.mark.parametrize("documents", [20, 60, 100])
def test_rare_long_documents_are_covered_with_a_length_known_beforehand(documents):
    hits, trials, truth = rare_long_documents(documents, 400, simulation_generator(11, "rare", str(documents)))
    _, upper = unseen(hits, trials)
    assert (upper < truth).sum() <= stats.binom.isf(1e-6, 400, 0.025)


@pytest.mark.parametrize("documents", [20, 60, 100])
def test_the_longest_document_seen_would_not_cover_them(documents):
    hits, trials, truth = rare_long_documents(documents, 100, simulation_generator(11, "rare", str(documents)))
    ends = [unseen(hits[:, [run]], trials[:, [run]], trials[:, run].max())[1][0] for run in range(100)]
    assert np.mean(np.array(ends) < truth) > 0.25


def test_one_trial_from_each_document_is_not_clopper_pearson_where_longer_ones_may_be_unseen():
    hits = np.arange(40) < 7
    figure = clustered_rate(hits, None, 5, "u", "tokens", 0)
    assert figure.method == UNSEEN
    assert figure.lower < clopper_pearson(7, 40)[0]
    assert figure.upper > clopper_pearson(7, 40)[1]


@pytest.mark.parametrize(("longest", "said"), [(0, "longest >= 1"), (2, "more than longest=2 trials, got one of 3")])
def test_a_document_longer_than_was_known_is_refused(longest, said):
    with pytest.raises(UserError, match=said):
        clustered_rate(np.array([True] * 4), ["a", "a", "a", "b"], longest, "u", "tokens", 0)


def test_rates_that_share_their_draws_are_each_the_rate_alone():
    generator = simulation_generator(0, "rates together")
    hits = generator.random((4, 120)) < np.array([[0.0], [0.1], [0.6], [1.0]])
    clusters = np.repeat(np.arange(20), 6)
    for longest, confidence in ((6, 0.95), (9, 0.99)):
        together = clustered_rates(hits, clusters, longest, "share", "tokens", 3, confidence)
        alone = [clustered_rate(row, clusters, longest, "share", "tokens", 3, confidence) for row in hits]
        for one, other in zip(together, alone, strict=True):
            assert (one.value, one.lower, one.upper) == pytest.approx(
                (other.value, other.lower, other.upper), rel=1e-12
            )
            assert (one.documents, one.sample, one.method) == (other.documents, other.sample, other.method)
    single = clustered_rates(hits, None, 1, "share", "tokens", 3)
    assert [figure.method for figure in single] == ["Clopper-Pearson"] * 4
    with pytest.raises(UserError, match="longest=5"):
        clustered_rates(hits, clusters, 5, "share", "tokens", 3)
    with pytest.raises(UserError, match="row per attack"):
        clustered_rates(hits[0], clusters, 6, "share", "tokens", 3)
