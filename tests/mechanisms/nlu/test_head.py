from dataclasses import replace

import numpy as np
import pytest
import torch

from mechanisms.nlu import PLAIN, TaskTraining
from mechanisms.nlu.head import best_epochs, fold_of_each

SETTINGS = TaskTraining(PLAIN, head_epochs=15, head_rate=3e-3, batch=8, weight_decay=0.0)


def texts(signal, count=60, width=40, seed=0):
    """Features of which the first tells the label as clearly as signal says, and the rest nothing."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    features = generator.standard_normal((count, width))
    features[:, 0] += signal * (2 * labels - 1)
    return torch.from_numpy(features).float(), torch.from_numpy(labels)


def test_a_clear_task_is_trained_longer_than_one_with_nothing_to_learn():
    assert best_epochs(*texts(3.0), 2, SETTINGS) > 8
    assert best_epochs(*texts(0.0), 2, SETTINGS) <= 5


def test_a_class_with_one_text_leaves_nothing_to_choose_by():
    features, _ = texts(0.0)
    labels = torch.zeros(60, dtype=torch.long)
    labels[7] = 1
    assert best_epochs(features, labels, 2, SETTINGS) == 15


def test_the_seed_decides_and_torch_does_not():
    torch.manual_seed(1)
    first = best_epochs(*texts(0.5), 2, SETTINGS)
    torch.manual_seed(2)
    assert best_epochs(*texts(0.5), 2, SETTINGS) == first
    assert len({best_epochs(*texts(0.5), 2, replace(SETTINGS, seed=seed)) for seed in range(4)}) > 1


@pytest.mark.parametrize(("rarest", "folds"), [(1, 1), (3, 3), (20, 5)])
def test_folds_hold_every_class_and_as_many_as_there_can_be(rarest, folds):
    labels = np.array([0] * 40 + [2] * rarest)
    part = fold_of_each(labels, 5, seed=0)
    assert sorted(set(part.tolist())) == list(range(folds))
    for name in (0, 2):
        sizes = np.bincount(part[labels == name], minlength=folds)
        assert sizes.min() > 0
        assert sizes.max() - sizes.min() <= 1
    assert part.tolist() == fold_of_each(labels, 5, seed=0).tolist()
    assert folds == 1 or part.tolist() != fold_of_each(labels, 5, seed=1).tolist()
