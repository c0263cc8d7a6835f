import numpy as np
import pytest
from scipy.stats import binomtest

from attacks.attribute.attention import AttentionProbe
from attacks.attribute.views import objects
from mechanisms.errors import UserError


def needles(seed, rows=120):
    """Returns sequences of noise in which one token in eight or so tells the class; their mean tells little."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(["acne", "pain"], rows)
    parts = []
    for label in labels:
        part = generator.standard_normal((generator.integers(6, 12), 4))
        part[generator.integers(len(part))] = [6.0, 3.0 if label == "acne" else -3.0, 0.0, 0.0]
        parts.append(part)
    return objects(parts), labels


def test_a_token_that_tells_is_found_among_others():
    rows, labels = needles(0)
    test, truth = needles(1)
    probe = AttentionProbe(0).fit(rows, labels, np.arange(len(rows)))
    assert (probe.classes_[probe.predict_proba(test).argmax(axis=1)] == truth).mean() > 0.9


def test_shuffled_labels_find_nothing():
    rows, labels = needles(0)
    test, truth = needles(1)
    probe = AttentionProbe(0).fit(rows, labels, np.arange(len(rows)))
    shuffled = np.random.default_rng(2).permutation(truth)
    right = (probe.classes_[probe.predict_proba(test).argmax(axis=1)] == shuffled).sum()
    assert binomtest(int(right), len(truth), 0.5).pvalue > 1e-3


def test_the_seed_repeats_it_and_each_row_is_looked_at_alone():
    rows, labels = needles(0, 40)
    first, second = (AttentionProbe(3).fit(rows, labels, np.arange(40)) for _ in range(2))
    assert np.array_equal(first.predict_proba(rows), second.predict_proba(rows))
    assert np.allclose(first.predict_proba(rows[5:6]), first.predict_proba(rows)[5:6], atol=1e-5)


def test_features_of_another_width_are_refused():
    rows, labels = needles(0, 40)
    probe = AttentionProbe(0).fit(rows, labels, np.arange(40))
    with pytest.raises(UserError, match="width 4"):
        probe.predict_proba(objects([np.zeros((3, 5))]))
