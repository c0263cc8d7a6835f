"""The interval holds at every look; an interval of one look does not."""

import math

import numpy as np
import pytest
from scipy import stats

from del_audit.statistics.intervals import clopper_pearson, clustered_rate
from del_audit.statistics.sequential import (
    KIND,
    METHOD,
    capital,
    decided,
    sequential_ends,
    sequential_rate,
)
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS, DOCUMENTS, LONGEST = 2_000, 160, 64
DECISIVE = math.log(2 / 0.05)


def law(kind, generator, runs=RUNS, documents=DOCUMENTS):
    """Returns hits and sizes of documents, shape (runs, documents), and the ratio of their expectations."""
    shape = (runs, documents)
    sizes = generator.integers(20, LONGEST + 1, shape)
    if kind == "whole":  # a document is read whole or not at all
        return sizes * (generator.random(shape) < 0.15), sizes, 0.15
    if kind == "rare":  # one document in fifty is read, and in it half of the tokens
        rates = 0.5 * (generator.random(shape) < 0.02)
        return generator.binomial(sizes, rates), sizes, 0.01
    if kind == "common":
        return generator.binomial(sizes, generator.beta(7.2, 0.8, shape)), sizes, 0.9
    if kind == "long ones leak":  # the rate goes with the length: ratio of expectations, not mean of rates
        long = generator.random(shape) < 0.3
        sizes = np.where(long, LONGEST, 4)
        return generator.binomial(sizes, np.where(long, 0.3, 0.0)), sizes, 0.3 * 0.3 * 64 / (0.3 * 64 + 0.7 * 4)
    return generator.binomial(sizes, 0.15), sizes, 0.15


LAWS = ("whole", "rare", "common", "long ones leak", "alike")


def most_won(kind, horizon):
    """Returns the largest capital that either side ever has against the true rate, shape (2, runs)."""
    hits, sizes, rate = law(kind, simulation_generator(1, "sequential", kind))
    won = [
        [side.max() for side in capital(read, size, LONGEST, horizon, rate)]
        for read, size in zip(hits, sizes, strict=True)
    ]
    return np.array(won).T


@pytest.mark.parametrize("kind", LAWS)
@pytest.mark.parametrize("horizon", [60, 160])
def test_each_end_holds_at_every_look(kind, horizon):
    missed = (most_won(kind, horizon) >= DECISIVE).sum(axis=1)
    assert (missed <= stats.binom.isf(1e-6, RUNS, 0.025)).all()


@pytest.mark.parametrize("kind", ["whole", "alike"])
def test_looking_often_at_an_interval_of_one_look_is_seen_to_fail(kind):
    generator = simulation_generator(2, "peeking", kind)
    hits, _, rate = law(kind, generator, 300, DOCUMENTS)
    ones = hits > 0 if kind == "whole" else generator.random(hits.shape) < rate
    reached = np.cumsum(ones, axis=1)
    missed = sum(
        any(not low <= rate <= high for low, high in (clopper_pearson(int(k), n) for n, k in enumerate(row[7:], 8)))
        for row in reached
    )
    assert missed > stats.binom.isf(1e-6, 300, 0.05)


def test_no_way_of_betting_gains_on_average():
    """E[capital] is 1 under the true rate: the mean over runs is not above it beyond chance, with documents whole."""
    hits, sizes, rate = law("whole", simulation_generator(3, "martingale"))
    ends = np.exp([capital(h[:25], n[:25], LONGEST, 25, rate) for h, n in zip(hits, sizes, strict=True)])[:, :, -1]
    assert (ends.mean(axis=0) < 1 + 5 * ends.std(axis=0) / math.sqrt(RUNS)).all()
    assert (ends.mean(axis=0) > 1 - 5 * ends.std(axis=0) / math.sqrt(RUNS)).all()


def test_a_bet_on_later_documents_would_gain():
    """The planted fault: documents sorted by what was read are not bet on blindly, and the capital explodes."""
    hits, sizes, rate = law("whole", simulation_generator(3, "martingale"), 300)
    order = np.argsort(-hits / sizes, axis=1)
    hits, sizes = (np.take_along_axis(rows, order, axis=1) for rows in (hits, sizes))
    won = [max(capital(h, n, LONGEST, DOCUMENTS, rate)[0]) for h, n in zip(hits, sizes, strict=True)]
    assert np.mean(np.array(won) >= DECISIVE) > 0.9


@pytest.mark.parametrize("documents", [128, pytest.param(1_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("kind", "most"), [("whole", 1.45), ("alike", 1.15), ("rare", 1.2), ("common", 1.25)])
def test_the_price_of_looking_at_any_time_is_as_stated(kind, most, documents):
    hits, sizes, _ = law(kind, simulation_generator(4, "width", kind), 8, documents)
    ratios = []
    for read, size in zip(hits, sizes, strict=True):
        flags = np.concatenate([np.arange(n) < k for k, n in zip(read, size, strict=True)])
        clusters = np.repeat(np.arange(documents), size)
        once = clustered_rate(flags, clusters, LONGEST, "share", "tokens", 0)
        always = sequential_rate(flags, clusters, "share", "tokens", documents, LONGEST)
        assert always.value == once.value
        ratios.append((always.upper - always.lower) / (once.upper - once.lower))
    assert 1 < np.mean(ratios) < most


def test_ends_are_where_the_capital_is_decisive():
    hits, sizes, _ = law("alike", simulation_generator(5, "ends"), 1)
    lower, upper = sequential_ends(hits[0], sizes[0], LONGEST, DOCUMENTS)
    assert 0 < lower < hits.sum() / sizes.sum() < upper < 1
    assert capital(hits[0], sizes[0], LONGEST, DOCUMENTS, lower)[0][-1] == pytest.approx(DECISIVE, abs=1e-9)
    assert capital(hits[0], sizes[0], LONGEST, DOCUMENTS, upper)[1][-1] == pytest.approx(DECISIVE, abs=1e-9)


def test_a_document_has_no_say_in_the_bet_on_itself():
    hits, sizes, _ = law("alike", simulation_generator(6, "predictable"), 1)
    changed = hits[0].copy()
    changed[-1] = 0 if changed[-1] else sizes[0][-1]
    before, after = (capital(h, sizes[0], LONGEST, DOCUMENTS, 0.4)[0] for h in (hits[0], changed))
    assert (before[:-1] == after[:-1]).all()
    gains = [(h[-1] - 0.4 * sizes[0][-1]) / LONGEST for h in (hits[0], changed)]
    steps = [np.expm1(path[-1] - path[-2]) for path in (before, after)]
    assert steps[0] / gains[0] == pytest.approx(steps[1] / gains[1], rel=1e-9)  # one stake, whatever came out


def test_nothing_read_of_many_documents_ends_near_zero():
    lower, upper = sequential_ends(np.zeros(200), np.full(200, 40.0), 40, 200)
    assert lower == 0
    assert 1 - (0.025) ** (1 / 200) < upper < 0.03  # not below Clopper and Pearson's


def test_a_figure_states_what_it_is():
    figure = sequential_rate(np.arange(80) % 4 == 0, np.arange(80) // 8, "share", "tokens", 10, 8)
    assert (figure.value, figure.documents, figure.sample, figure.kind) == (0.25, 10, 80, KIND)
    assert (figure.unit, figure.sample_unit, figure.method) == ("share", "tokens", METHOD)
    assert figure.confidence == 0.95
    wider = sequential_rate(np.arange(80) % 4 == 0, np.arange(80) // 8, "share", "tokens", 10, 8, 0.99)
    assert (wider.confidence, wider.lower < figure.lower, wider.upper > figure.upper) == (0.99, True, True)
    assert decided(figure, figure.upper) == "passed"
    assert decided(figure, figure.lower) is None
    assert decided(figure, figure.lower * 0.99) == "failed"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (([1.0, 0.0], None, "u", "tokens", 2, 1), "true or false"),
        (([], None, "u", "tokens", 2, 1), "at least one"),
        (([True, False], None, "u", "tokens", 0, 1), "horizon >= 1"),
        (([True, False], [0, 0], "u", "tokens", 2, 1), "longest=1"),
        (([True, False], None, "u", "tokens", 2, 1, 1.0), "confidence"),
        (([True, False], None, "u", "tokens", 2, 1, 0.0), "confidence"),
        (([[True, False]], None, "u", "tokens", 2, 1), "shape"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, said):
    with pytest.raises(UserError, match=said):
        sequential_rate(*arguments)


@pytest.mark.parametrize(
    ("sizes", "rate", "said"),
    [
        ([2.0, 0.0], 0.5, "at least one trial, got one of 0"),
        ([], 0.5, "at least one trial, got no document"),
        ([2.0, 1.0], 0.0, "rate"),
        ([2.0, 1.0], 1.0, "rate"),
    ],
)
def test_bets_that_do_not_fit_are_refused(sizes, rate, said):
    sizes = np.array(sizes)
    with pytest.raises(UserError, match=said):
        capital(np.zeros(len(sizes)), sizes, 2, 5, rate)
