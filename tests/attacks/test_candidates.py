"""What is tried on a view: no preparation may cost an attack its strength."""

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from threadpoolctl import threadpool_limits

from attacks.attribute.candidates import BINS, QuantileBins, _boosting
from mechanisms.randomness import simulation_generator


def test_bins_hold_equally_many_rows_and_take_what_was_not_seen():
    rows = simulation_generator(0, "bins").normal(size=(320, 2)) * [1.0, 1e6]
    rows[:, 1] = np.round(rows[:, 1], -6)  # a number of few values
    bins = QuantileBins().fit(rows)
    found = bins.transform(rows)
    assert np.bincount(found[:, 0].astype(int)).tolist() == [10] * BINS
    order = np.argsort(rows[:, 1], kind="stable")
    assert (np.diff(found[order, 1]) >= 0).all()
    assert len(np.unique(found[:, 1])) <= len(np.unique(rows[:, 1]))
    assert bins.transform(np.array([[-1e9, -1e12], [1e9, 1e12]]))[:, 0].tolist() == [0, BINS - 1]


@pytest.mark.slow
def test_trees_on_bins_are_as_strong_as_trees_that_bin_for_themselves():
    """Cross-validated balanced accuracy over 8 problems of a real one's size; any difference is within its error."""
    (candidate,), differences = _boosting(0), []
    own = candidate.make().steps[-1][1]
    generator = simulation_generator(0, "boosting")
    for _ in range(8):
        classes = generator.choice(5, 200, p=[0.4, 0.2, 0.15, 0.15, 0.1])
        rows = generator.normal(size=(5, 24))[classes] * 0.5 + generator.normal(size=(200, 24))
        with threadpool_limits(1):
            binned, plain = (
                cross_val_score(model, rows, classes, cv=4, scoring="balanced_accuracy").mean()
                for model in (candidate.make(), own)
            )
        differences.append(binned - plain)
        assert plain > 0.4
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    assert np.mean(differences) > -2 * error - 0.01
