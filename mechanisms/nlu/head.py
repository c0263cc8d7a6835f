"""The first stage of a task: the classifier alone, on kept states, for as many epochs as cross-validation picks."""

from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mechanisms.nlu.epochs import plan_of, records, step_of
from mechanisms.nlu.reader import Classifier, TaskReader
from mechanisms.nlu.task_settings import TaskData, TaskTraining
from mechanisms.randomness import simulation_generator
from mechanisms.training.loop import History, fit


def fit_head(reader: TaskReader, data: TaskData, settings: TaskTraining) -> list[dict[str, float]]:
    """Fits the reader's classifier, returns a record of each epoch; the language model reads each release once.

    It is kept in memory alone: an interrupted run of the second stage fits it again, to the same values.
    """
    classifier = reader.parts.classifier
    labels, aside = (torch.from_numpy(part.labels).to(reader.parts.soft.device) for part in (data.fitted, data.aside))

    @cache
    def features(release: int) -> Tensor:
        return reader.cached_features(data.read("head", str(release)), settings.batch, f"reading release {release}")

    held = reader.cached_features(data.read_aside(), settings.batch, "reading the validation part")
    epochs = best_epochs(features(0), labels, len(reader.parts.classes), settings)
    classifier.start(features(0), labels)
    history = _fitted(
        classifier,
        lambda epoch: features((epoch - 1) % settings.head_releases),
        labels,
        lambda: float(functional.cross_entropy(classifier(held), aside)),
        settings,
        epochs,
        "whole",
        "training the classifier",
    )
    return records(history, _batches(labels, settings))


def best_epochs(features: Tensor, labels: Tensor, classes: int, settings: TaskTraining) -> int:
    """Returns the number of epochs, 1 to head_epochs, with the least held-out loss, mean over the folds.

    features: shape (texts, features). labels: int64, shape (texts,). The most epochs where a class has one text only.
    """
    part = fold_of_each(labels.cpu().numpy(), settings.folds, settings.seed)
    curves = []
    for fold in range(int(part.max()) + 1 if part.max() else 0):
        held = torch.from_numpy(part == fold).to(features.device)
        classifier = Classifier(features.shape[1], classes, settings.classifier, settings.seed).to(features.device)
        curves.append(_fold(classifier, features, labels, held, settings, f"fold {fold}"))
    return 1 + int(np.mean(curves, axis=0).argmin()) if curves else settings.head_epochs


def _fold(
    classifier: Classifier, features: Tensor, labels: Tensor, held: Tensor, settings: TaskTraining, purpose: str
) -> list[float]:
    """Returns the loss on the texts held out, after each epoch on the others."""
    seen, told, unseen, asked = features[~held], labels[~held], features[held], labels[held]
    classifier.start(seen, told)

    def validate() -> float:
        return float(functional.cross_entropy(classifier(unseen), asked))

    history = _fitted(classifier, lambda _: seen, told, validate, settings, settings.head_epochs, purpose)
    return [loss for _, loss in history.validations[1:]]


def fold_of_each(labels: NDArray[np.int64], folds: int, seed: int) -> NDArray[np.int64]:
    """Returns which fold each text is in, int64, shape (texts,), every class spread over all of them.

    There are as many folds as asked for, or as the rarest class has texts; one fold where it has one.
    """
    counts = np.bincount(labels)
    folds = min(folds, int(counts[counts > 0].min()))
    generator = simulation_generator(seed, "nlu folds")
    part = np.zeros(len(labels), dtype=np.int64)
    for name in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == name))
        part[members] = np.arange(len(members)) % folds
    return part


def _fitted(
    classifier: Classifier,
    features: Callable[[int], Tensor],
    labels: Tensor,
    validate: Callable[[], float],
    settings: TaskTraining,
    epochs: int,
    purpose: str,
    title: str = "",
) -> History:
    """Trains a classifier for so many epochs, in place; features: of an epoch, shape (texts, features)."""

    @lru_cache(maxsize=1)
    def order(epoch: int) -> NDArray[np.int64]:
        return simulation_generator(settings.seed, "nlu head batches", purpose, str(epoch)).permutation(len(labels))

    def loss(epoch: int, place: int) -> Tensor:
        start = place * settings.batch
        chosen = torch.from_numpy(order(epoch)[start : start + settings.batch]).to(labels.device)
        return functional.cross_entropy(classifier(features(epoch)[chosen]), labels[chosen])

    batches = _batches(labels, settings)
    plan = plan_of(epochs, batches, settings.head_rate, settings.weight_decay, 0, title)
    parameters = dict(classifier.named_parameters())
    return fit(step_of(loss, batches), parameters, plan, validate=validate, keep="last")


def _batches(labels: Tensor, settings: TaskTraining) -> int:
    return -(-len(labels) // settings.batch)
