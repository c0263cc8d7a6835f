"""The figure of the strongest attack is not flattered by its having been picked."""

import numpy as np
import pytest
from scipy import stats

from attacks.outcome import Outcome
from del_audit.evidence.inversion.selection import halves, strongest
from del_audit.statistics.comparison import holm, sign_flip
from del_audit.statistics.intervals import clustered_rate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 2_000


def outcomes_of(hits, documents):
    """Returns the outcome of each attack; hits: bool, shape (attacks, tokens). documents: of each token, in order."""
    names, prompt = np.unique(documents, return_inverse=True)
    position = np.concatenate([np.arange(n, dtype=np.int32) for n in np.bincount(prompt)])
    truth, zeros = np.arange(len(prompt), dtype=np.int32), np.zeros(len(prompt), np.float32)
    return [
        Outcome(
            f"attack {index}",
            1,
            1,
            tuple(map(str, names)),
            prompt.astype(np.int32),
            position,
            truth,
            np.where(row, truth, -1).astype(np.int32),
            row.astype(np.int32),
            zeros,
            zeros,
        )
        for index, row in enumerate(hits)
    ]


def leaky(generator, truths, documents, tokens):
    """Returns hits of attacks of those true rates, shape (attacks, tokens), alike within documents."""
    common = generator.random(documents)
    rates = stats.beta.ppf(common[None], 2 * truths[:, None], 2 * (1 - truths[:, None]))
    return generator.random((len(truths), documents * tokens)) < np.repeat(rates, tokens, axis=1)


def coverage(method, runs, truths, documents=12, tokens=20):
    """Returns how often the interval holds: the picked attack's own rate, or with simultaneous the largest."""
    generator, covered = simulation_generator(8, "strongest", method), 0
    places = np.repeat(np.arange(documents) + 100, tokens)
    for seed in range(runs):
        found = strongest(
            outcomes_of(leaky(generator, truths, documents, tokens), places), seed, method, longest=tokens
        )
        truth = truths[found.index] if method == "holdout" else truths.max()
        covered += found.figure.lower <= truth <= found.figure.upper
    return covered / runs


@pytest.mark.parametrize("method", ["holdout", "simultaneous"])
def test_the_strongest_of_equal_attacks_is_covered(method):
    runs = 60
    assert runs * (1 - coverage(method, runs, np.full(4, 0.13))) <= stats.binom.isf(1e-6, runs, 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["holdout", "simultaneous"])
@pytest.mark.parametrize("truths", [[0.13, 0.13, 0.13, 0.13], [0.5, 0.45, 0.2, 0.01]])
def test_the_strongest_is_covered_in_full(method, truths):
    assert coverage(method, RUNS, np.array(truths)) >= 0.95


def test_the_largest_of_many_as_if_alone_would_not_be_covered():
    """Independent attacks without the correction: the largest lower limit of 40 is above the truth far too often."""
    generator, covered = simulation_generator(8, "alone"), 0
    for _ in range(200):
        hits = generator.random((40, 120)) < 0.5
        best = hits[hits.sum(axis=1).argmax()]
        covered += clustered_rate(best, None, 1, "u", "tokens", 0).lower <= 0.5
    assert covered / 200 < 0.6
    covered = sum(
        strongest(
            outcomes_of(generator.random((40, 120)) < 0.5, np.arange(120)), 0, "simultaneous", longest=1
        ).figure.lower
        <= 0.5
        for _ in range(40)
    )
    assert covered >= 36


@pytest.fixture
def three():
    generator, documents = simulation_generator(2, "three"), np.repeat(np.arange(10) + 100, 16)
    rates = np.array([0.2, 0.6, 0.1])
    return outcomes_of(generator.random((3, 160)) < rates[:, None], documents)


def test_holdout_reports_on_documents_that_nothing_was_picked_on(three):
    found = strongest(three, 4, longest=16)
    picking, reporting = halves(three[0].clusters, 4)
    best = three[1]
    assert (found.index, found.attack, found.method) == (1, "attack 1", "holdout")
    assert found.figure == clustered_rate(
        best.hits[reporting], best.clusters[reporting], 16, "share of tokens read", "tokens", 4
    )
    assert found.how == "picked of 3 attacks on 5 documents; reported on 5 other documents"
    assert [row.chosen_by for row in found.considered] == [o.hits[picking].mean() for o in three]


def test_what_is_reported_on_does_not_pick(three):
    found = strongest(three, 4, longest=16)
    _, reporting = halves(three[0].clusters, 4)
    rows = np.stack([np.where(reporting, ~o.hits, o.hits) for o in three])
    flipped = strongest(outcomes_of(rows, three[0].clusters), 4, longest=16)
    assert (flipped.index, flipped.considered) == (found.index, found.considered)
    assert flipped.figure.value == pytest.approx(1 - found.figure.value)


@pytest.mark.parametrize("count", [4, 5, 11])
def test_halves_split_documents(count):
    clusters = np.repeat([f"document {i}" for i in range(count)], 3)
    first, second = halves(clusters, 0)
    assert (first ^ second).all()
    assert not set(clusters[first]) & set(clusters[second])
    assert len(set(clusters[first])) == count // 2
    assert (halves(clusters, 0)[0] == first).all()
    assert len({halves(clusters, seed)[0].tobytes() for seed in range(20)}) > 1


def test_simultaneous_limits_are_the_largest_of_all(three):
    found = strongest(three, 4, "simultaneous", confidence=0.9, longest=16)
    figures = [[clustered_rate(o.hits, o.clusters, 16, "u", "tokens", 4, c) for o in three] for c in (0.9, 1 - 0.1 / 3)]
    assert found.figure.upper == max(figure.upper for figure in figures[0])
    assert found.figure.lower == max(figure.lower for figure in figures[1])
    assert found.figure.value == three[1].hits.mean()
    assert found.figure.confidence == 0.9


def test_attacks_are_tested_against_the_baseline_with_holms_correction(three):
    baseline = three[2]
    found = strongest(three[:2], 4, "simultaneous", baseline, longest=16)
    p = [
        sign_flip(
            np.array([(o.hits.astype(int) - baseline.hits)[o.clusters == d].sum() for d in o.documents], float), 4
        )
        for o in three[:2]
    ]
    assert [row.p for row in found.considered] == p
    assert [row.holm for row in found.considered] == holm(p)
    held = strongest(three[:2], 4, "holdout", baseline, longest=16)
    assert [row.p is None for row in held.considered] == [True, False]
    assert held.considered[1].p == held.considered[1].holm
    assert strongest(three, 4, longest=16).considered[1].p is None


def test_attacks_are_picked_by_any_score(three):
    found = strongest(three, 4, "simultaneous", score=lambda o: 1.0 - o.hits, longest=16)
    assert (found.index, found.figure.value) == (2, 1 - three[2].hits.mean())


def test_picking_refuses(three):
    with pytest.raises(UserError, match="at least one attack"):
        strongest([], 0, longest=16)
    with pytest.raises(UserError, match="holdout or simultaneous"):
        strongest(three, 0, "luck", longest=16)
    with pytest.raises(UserError, match="same prompts"):
        strongest([three[0], three[1].where(three[1].position > 0)], 0, longest=16)
    with pytest.raises(UserError, match="same prompts"):
        strongest(three[:2], 0, baseline=three[2].where(three[2].position > 0), longest=16)
    with pytest.raises(UserError, match="4 documents or more to split in halves, got 3"):
        strongest([o.where(o.prompt < 3) for o in three], 0, longest=16)
    with pytest.raises(UserError, match="two documents or more"):
        strongest([o.where(o.prompt < 1) for o in three], 0, "simultaneous", longest=16)
