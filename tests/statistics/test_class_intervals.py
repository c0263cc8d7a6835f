"""Mean recall and AUC over documents are covered, also where rare long documents make what is right or wrong."""

import math

import numpy as np
import pytest
from scipy import stats

from del_audit.statistics.bootstrap import bootstrap_mean, group
from del_audit.statistics.class_intervals import METHOD, clustered_area, clustered_recall
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

LONGEST = 20
AREA = 0.7602499389065233  # Phi(1 / sqrt 2): unit normal scores, one standard deviation apart


def rows_of(kind, generator, documents):
    """Returns class, whether it is right, and document of rows, and the true mean recall.

    rare: one document in fifty has LONGEST rows, all wrong, the others one row each, all right. alike: documents have
    one to four rows, and a row is right by its document's own rate.
    """
    if kind == "rare":
        long = generator.random(documents) < 0.02
        owner = np.repeat(np.arange(documents), np.where(long, LONGEST, 1))
        right = ~long[owner]
        truth = np.concatenate([[0, 1], generator.integers(0, 2, len(owner) - 2)])
        return truth, right, owner, 0.98 / (0.98 + 0.02 * LONGEST)
    owner = np.repeat(np.arange(documents), generator.integers(1, 5, documents))
    truth = np.concatenate([[0, 1], generator.integers(0, 2, len(owner) - 2)])
    right = generator.random(len(owner)) < generator.beta(1.4, 0.6, documents)[owner]
    return truth, right, owner, 0.7


def recall_misses(kind, documents, runs):
    """Returns how often the interval is above the truth, and below it."""
    generator, misses = simulation_generator(1, "recall", kind, str(documents)), np.zeros(2)
    for seed in range(runs):
        truth, right, owner, value = rows_of(kind, generator, documents)
        figure = clustered_recall(right, truth, group(owner, len(owner)), LONGEST, seed)
        misses += [figure.lower > value, figure.upper < value]
    return misses


def area_misses(documents, runs, each):
    """Returns the same for the AUC of normal scores, `each` rows in a document, of one class and partly one score."""
    generator, misses = simulation_generator(2, "area", str(documents), str(each)), np.zeros(2)
    for seed in range(runs):
        side = np.concatenate([[0, 1], (generator.random(documents - 2) < 0.3).astype(int)])
        truth = np.repeat(side, each)
        own, shared = generator.normal(size=(2, documents * each))
        score = (truth + np.sqrt(0.5) * (own + np.repeat(shared[:documents], each)))[:, None]
        found = clustered_area(
            truth, np.hstack([-score, score]), [1], group(np.arange(len(truth)) // each, len(truth)), each, seed
        )
        misses += [found.lower > AREA, found.upper < AREA]
    return misses


@pytest.mark.parametrize("kind", ["rare", "alike"])
@pytest.mark.parametrize("documents", [20, 60])
def test_recall_is_covered(kind, documents):
    assert (recall_misses(kind, documents, 60) <= stats.binom.isf(1e-6, 60, 0.025)).all()


@pytest.mark.parametrize(("documents", "each"), [(20, 1), (60, 1), (40, 3)])
def test_the_area_is_covered(documents, each):
    assert (area_misses(documents, 40, each) <= stats.binom.isf(1e-6, 40, 0.025)).all()


@pytest.mark.slow
@pytest.mark.parametrize("documents", [20, 60, 120])
def test_both_are_covered_in_full(documents):
    allowed = 400 * 0.025 + 3 * math.sqrt(400 * 0.025 * 0.975)
    for kind in ("rare", "alike"):
        assert (recall_misses(kind, documents, 400) <= allowed).all()
    for each in (1, 3):
        assert (area_misses(documents, 200, each) <= stats.binom.isf(1e-4, 200, 0.025)).all()


def test_a_bootstrap_would_not_cover_a_share_of_rows():
    generator, missed = simulation_generator(3, "bootstrap"), 0
    for seed in range(60):
        _, right, owner, truth = rows_of("rare", generator, 60)
        missed += bootstrap_mean(right.astype(float), "u", "rows", seed, clusters=owner).lower > truth
    assert missed > 60 * 0.2


def test_one_class_of_independent_rows_is_clopper_pearson():
    right = np.arange(40) < 31
    figure = clustered_recall(right, np.zeros(40, dtype=np.int64), group(None, 40), 1, 0)
    expected = stats.binomtest(31, 40).proportion_ci(0.95, method="exact")
    assert (figure.lower, figure.upper) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert (figure.method, figure.documents) == (METHOD, 40)


def test_longer_documents_than_were_known_are_refused():
    truth = np.array([0, 1, 1])
    for call in (
        lambda: clustered_recall(truth == 1, truth, group("aab", 3), 1, 0),
        lambda: clustered_area(truth, np.zeros((3, 2)), [1], group("aab", 3), 1, 0),
    ):
        with pytest.raises(UserError, match="more than longest=1 trials, got one of 2"):
            call()
    with pytest.raises(UserError, match="two documents or more"):
        clustered_recall(truth == 1, truth, group("aaa", 3), 3, 0)
