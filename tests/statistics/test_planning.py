"""A plan's power is that of the intervals it speaks of: against brute force, against exact values, and monotone."""

import math

import numpy as np
import pytest
from scipy import stats

from del_audit.statistics.bootstrap import bootstrap_mean
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clopper_pearson, clustered_rate, unseen_ends
from del_audit.statistics.planning import (
    METHODS,
    Asked,
    Assumed,
    assumed_from,
    certified,
    largest_rate,
    plan_documents,
    plan_prompts,
    power_of,
)
from del_audit.statistics.sequential import decided, sequential_rate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator


def drawn_ends(hits, tokens, seed=1):
    """Returns the upper ends of clustered_rate for every run, by its own drawing of weights."""
    sums = np.stack([hits.T, np.full(hits.T.shape, tokens)]).astype(float)
    ends = np.array([[[0.0] * len(hits), [tokens] * len(hits)], [[tokens] * len(hits)] * 2], dtype=float)
    return unseen_ends(sums, ends, lambda s: s[0] / s[1], seed)[1]


CASES = [
    (Assumed(0.15, 40, 0.05), 0.2, 60),
    (Assumed(0.15, 40, 0.05), 0.2, 110),
    (Assumed(0.15, 40, 1.0), 0.22, 150),
    (Assumed(0.01, 40, 0.2), 0.05, 90),
    (Assumed(0.3, 8, 0.0), 0.4, 50),
]


@pytest.mark.parametrize(("assumed", "limit", "documents"), CASES)
def test_the_law_of_weights_decides_as_drawn_weights_do(assumed, limit, documents):
    hits = assumed.hits(documents, 200, 5)
    drawn = drawn_ends(hits, assumed.tokens)
    found = certified(hits, assumed.tokens, Asked(limit))
    assert 0.02 < found.mean() < 0.999
    clear = np.abs(drawn - limit) > 0.03 * limit  # drawn ends have a standard error of their own
    assert (found == (drawn <= limit))[clear].all()
    powers = [(drawn_ends(hits, assumed.tokens, seed) <= limit).mean() for seed in range(2, 8)]
    assert found.mean() == pytest.approx(np.mean(powers), abs=0.04)  # one seed's draws err alike in all runs


def test_one_token_a_document_is_clopper_pearson():
    hits = Assumed(0.1, 1, 0.0).hits(70, 300, 5)
    exact = np.array([clopper_pearson(int(k), 70)[1] <= 0.2 for k in hits.sum(axis=1)])
    assert (certified(hits, 1, Asked(0.2)) == exact).all()


@pytest.mark.parametrize("between", [0.0, 0.05, 0.4, 1.0])
def test_documents_have_the_rate_and_the_correlation_asked_for(between):
    hits = Assumed(0.2, 30, between).hits(40_000, 1, 3)[0] / 30
    assert hits.mean() == pytest.approx(0.2, abs=0.01)
    assert hits.var() == pytest.approx(0.16 * (1 + 29 * between) / 30, rel=0.06)


@pytest.mark.parametrize(("rate", "limit", "power"), [(0.05, 0.1, 0.9), (0.0, 0.02, 0.95), (0.15, 0.2, 0.8)])
def test_exact_plans_are_the_fewest_trials_by_brute_force(rate, limit, power):
    plan = plan_documents("Clopper-Pearson", Assumed(rate, 1), Asked(limit, power=power))

    def brute(trials):
        upper = np.array([clopper_pearson(k, trials)[1] for k in range(trials + 1)])
        return float(stats.binom.pmf(np.arange(trials + 1), trials, rate)[upper <= limit].sum())

    assert plan.power == pytest.approx(brute(plan.tokens), rel=1e-9)
    assert plan.power >= power > brute(plan.tokens - 1)
    assert all(brute(plan.tokens + more) >= power for more in range(0, 60, 3))  # and no saw tooth falls below later


def test_planned_documents_certify_as_often_as_asked_for_by_brute_force():
    assumed, asked = Assumed(0.12, 20, 0.1), Asked(0.2)
    plan = plan_documents("unseen-document", assumed, asked)
    fresh = assumed.hits(plan.documents, 400, 77)
    certain = (drawn_ends(fresh, 20) <= 0.2).mean()
    assert certain >= stats.binom.isf(1 - 1e-4, 400, 0.9) / 400
    fewer = drawn_ends(assumed.hits(round(0.7 * plan.documents), 400, 78), 20)
    assert (fewer <= 0.2).mean() < 0.87
    assert plan.tokens == 20 * plan.documents


def test_planned_sequences_stop_early_and_certify_as_often_by_brute_force():
    assumed, asked = Assumed(0.12, 20, 0.1), Asked(0.2)
    plan = plan_documents("sequential", assumed, asked)
    hits, passed, stopped = assumed.hits(plan.documents, 60, 79), 0, []
    for read in hits:
        for seen in range(4, plan.documents + 1, 2):
            flags = np.concatenate([np.arange(20) < k for k in read[:seen]])
            figure = sequential_rate(flags, np.repeat(np.arange(seen), 20), "share", "tokens", plan.documents, 20)
            if decided(figure, 0.2) == "passed":
                passed += 1
                break
        stopped.append(seen)
    assert passed >= stats.binom.isf(1 - 1e-4, 60, 0.9)
    assert np.mean(stopped) == pytest.approx(plan.stops_after, rel=0.12)
    assert plan.stops_after < 0.9 * plan.documents


@pytest.mark.parametrize("interval", list(METHODS))
def test_easier_claims_need_no_more(interval):
    base = plan_documents(interval, Assumed(0.1, 20, 0.05), Asked(0.2)).documents
    for assumed, asked in (
        (Assumed(0.05, 20, 0.05), Asked(0.2)),
        (Assumed(0.1, 20, 0.05), Asked(0.25)),
        (Assumed(0.1, 20, 0.05), Asked(0.2, power=0.6)),
        (Assumed(0.1, 20, 0.05), Asked(0.2, confidence=0.8)),
    ):
        assert plan_documents(interval, assumed, asked).documents < base


@pytest.mark.parametrize("interval", list(METHODS))
def test_the_largest_rate_and_the_fewest_documents_are_one_question(interval):
    assumed, asked = Assumed(0.1, 20, 0.05), Asked(0.2)
    documents = plan_documents(interval, assumed, asked).documents
    assert largest_rate(interval, assumed, asked, documents) == pytest.approx(0.1, abs=0.004)
    assert power_of(interval, Assumed(0.11, 20, 0.05), asked, documents) < 0.9


def test_too_few_documents_certify_nothing():
    assert largest_rate("unseen-document", Assumed(0.1, 40, 0.05), Asked(0.05), 30) is None
    assert largest_rate("unseen-document", Assumed(0.1, 40, 0.05), Asked(0.05), 90) < 0.05


@pytest.mark.parametrize("between", [0.02, 0.3])
def test_a_measured_figure_gives_its_own_correlation_back(between):
    hits = Assumed(0.2, 40, between).hits(400, 1, 4)[0]
    flags = np.concatenate([np.arange(40) < k for k in hits])
    found = assumed_from(clustered_rate(flags, np.repeat(np.arange(400), 40), 40, "share", "tokens", 0))
    assert (found.tokens, found.rate) == (40, flags.mean())
    assert found.intracluster == pytest.approx(between, rel=0.3)


def test_a_gain_is_planned_for_by_its_scatter():
    generator = simulation_generator(6, "gains")
    figure = bootstrap_mean(generator.normal(0.1, 0.5, 200), "nats a token", "prompts", 0)
    prompts = plan_prompts(figure, 0.0, 0.9)
    runs = generator.normal(figure.value, 0.5, (4_000, prompts))
    lower = runs.mean(axis=1) - 1.96 * runs.std(axis=1) / math.sqrt(prompts)
    assert (lower >= 0).mean() == pytest.approx(0.9, abs=0.05)
    with pytest.raises(UserError, match="above"):
        plan_prompts(figure, figure.value + 0.01, 0.9)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Assumed(1.0), "rate in"),
        (lambda: Assumed(0.1, 0), "tokens"),
        (lambda: Assumed(0.1, 4, 1.1), "intracluster"),
        (lambda: Asked(0.0), "limit"),
        (lambda: Asked(0.1, 1.0), "confidence"),
        (lambda: Asked(0.1, 0.9, 0.0), "power"),
        (lambda: plan_documents("sequential", Assumed(0.2), Asked(0.2)), "no sample certifies"),
        (lambda: plan_documents("unseen-document", Assumed(0.199, 2, 1.0), Asked(0.2)), "20,000 documents"),
        (lambda: plan_documents("Clopper-Pearson", Assumed(0.1999), Asked(0.2)), "trials would be needed"),
        (lambda: power_of("sequential", Assumed(0.1), Asked(0.2), 1), "documents in 2"),
        (lambda: assumed_from(Figure(1.0, 0.9, 1.0, "u", 10, "tokens", "m")), "rate in"),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(UserError, match=said):
        make()
