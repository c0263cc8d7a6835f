"""Accuracy and AUC against scikit-learn, with intervals that count documents."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from del_audit.evidence.classification import classification_figures
from del_audit.statistics.class_intervals import METHOD, auc
from del_audit.statistics.intervals import UNSEEN, clopper_pearson
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator


def test_weighted_auc_equals_scikit_learn_with_ties():
    generator = simulation_generator(0, "auc")
    positive = generator.random(80) < 0.4
    scores = np.round(generator.normal(size=80) + positive, 1)
    weights = generator.integers(0, 4, (20, 80)).astype(float)
    expected = [roc_auc_score(positive, scores, sample_weight=row) for row in weights]
    assert auc(positive, scores, weights) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(auc(positive, scores, positive[None].astype(float)))


def test_two_classes():
    generator = simulation_generator(1, "two")
    truth = generator.random(150) < 0.6
    labels = np.where(truth, "yes", "no").tolist()
    scores = 1 / (1 + np.exp(-(truth * 1.0 - 0.5 + generator.normal(size=150))))
    found = classification_figures(labels, scores, seed=0)
    right = int(((scores > 0.5) == truth).sum())
    assert found.classes == ("no", "yes")
    assert found.auc.value == pytest.approx(roc_auc_score(truth, scores), rel=1e-12)
    assert found.auc.lower < found.auc.value < found.auc.upper
    assert (found.accuracy.value, found.accuracy.lower) == (right / 150, clopper_pearson(right, 150)[0])
    assert found.accuracy.method == "Clopper-Pearson"
    assert found.majority.value == truth.mean()
    both = classification_figures(labels, np.stack([1 - scores, scores], axis=1), seed=0)
    assert both == found


def test_three_classes_are_each_held_against_the_rest():
    generator = simulation_generator(2, "three")
    truth = generator.integers(0, 3, 90)
    scores = generator.random((90, 3)) + 0.5 * np.eye(3)[truth]
    scores /= scores.sum(axis=1, keepdims=True)
    found = classification_figures(truth.tolist(), scores, seed=0)
    assert found.auc.value == pytest.approx(roc_auc_score(truth, scores, multi_class="ovr", average="macro"), rel=1e-12)
    assert "one against the rest" in found.auc.unit
    assert found.accuracy.value == (scores.argmax(axis=1) == truth).mean()


def test_rows_of_one_document_count_as_one():
    labels, scores = [0, 1] * 30, simulation_generator(3, "repeated").random(60) + 0.3 * np.array([0, 1] * 30)
    scores = np.clip(scores, 0, 1)
    once = classification_figures(labels, scores, seed=0)
    many = classification_figures(labels * 5, np.tile(scores, 5), seed=0, clusters=list(range(60)) * 5, longest=5)
    assert many.auc.value == pytest.approx(once.auc.value)
    assert (many.auc.lower, many.auc.upper) == pytest.approx((once.auc.lower, once.auc.upper))
    assert (many.accuracy.method, many.auc.method) == (UNSEEN, METHOD)
    naive = classification_figures(labels * 5, np.tile(scores, 5), seed=0)
    assert naive.auc.upper - naive.auc.lower < 0.6 * (many.auc.upper - many.auc.lower)
    assert naive.accuracy.upper - naive.accuracy.lower < 0.6 * (many.accuracy.upper - many.accuracy.lower)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_perfect_order_is_not_certainty(flipped):
    scores = np.linspace(0, 1, 40)[:: -1 if flipped else 1]
    figure = classification_figures([0] * 30 + [1] * 10, scores, seed=0).auc
    end = clopper_pearson(0, 10)[1]
    far = figure.upper if flipped else 1 - figure.lower
    assert figure.value == (0 if flipped else 1)
    assert end < far < end + 0.15  # ten rows of a class say no more than ten trials, thirty of the other add a little


@pytest.mark.parametrize(
    ("labels", "scores", "options", "named"),
    [
        ([0, 0], [0.1, 0.2], {}, "two classes"),
        ([0, 1], [0.1], {}, r"shape \(2, 2\)"),
        ([0, 1], [0.1, float("nan")], {}, "finite scores"),
        ([0, 1, 2], [0.1, 0.2, 0.3], {}, r"shape \(3, 3\)"),
        ([0, 1], [0.1, 0.2], {"classes": [1, 2]}, r"got \[0, 2\]"),
        ([0, 1], [0.1, 0.2], {"clusters": ["x", "x"]}, "two documents"),
        ([0, 1, 1], [0.1, 0.2, 0.3], {"clusters": ["x", "y", "y"]}, "more than longest=1 trials, got one of 2"),
    ],
)
def test_classification_refuses(labels, scores, options, named):
    with pytest.raises(UserError, match=named):
        classification_figures(labels, scores, seed=0, **options)
