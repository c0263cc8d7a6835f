"""The first stage of a task: the classifier alone, on kept states, for as many epochs as cross-validation picks."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mechanisms.errors import UserError
from mechanisms.nlu.fitting import Problem, fit
from mechanisms.nlu.reader import Classifier, TaskReader
from mechanisms.nlu.storage import read_progress, write_progress
from mechanisms.nlu.task_settings import TaskData, TaskTraining
from mechanisms.randomness import simulation_generator


def fit_head(
    reader: TaskReader, data: TaskData, settings: TaskTraining, identity: str, partial: Path
) -> list[dict[str, float]]:
    """Fits the reader's classifier, returns fit's history; the language model reads each release once.

    partial: the folder of an interrupted run's files, which this goes on from.
    """
    classifier = reader.parts.classifier
    labels, aside = (torch.from_numpy(part.labels).to(reader.parts.soft.device) for part in (data.fitted, data.aside))

    @cache
    def features(release: int) -> Tensor:
        return reader.cached_features(data.read("head", str(release)), settings.batch, f"reading release {release}")

    @cache
    def held() -> Tensor:
        return reader.cached_features(data.read_aside(), settings.batch, "reading the validation part")

    def losses(epoch: int) -> Iterator[Tensor]:
        seen = features((epoch - 1) % settings.head_releases)
        return _losses(classifier, seen, labels, settings, "whole", str(epoch))

    @torch.no_grad()
    def validate() -> float:
        return float(functional.cross_entropy(classifier(held()), aside))

    problem = Problem(
        classifier,
        _groups(classifier, settings),
        losses,
        validate,
        identity,
        "training the classifier",
        prepare=lambda: classifier.start(features(0), labels),
        keep="last",
    )
    kept = partial / "head-epochs.safetensors"
    found = read_progress(kept)
    if found is None:
        epochs = best_epochs(features(0), labels, len(reader.parts.classes), settings)
        write_progress(kept, {}, {"identity": identity, "epochs": epochs})
    elif found[1].get("identity") != identity:
        raise UserError(f"Expected {kept} to be of a run with the same data and settings, got another's: delete it.")
    else:
        epochs = int(found[1]["epochs"])
    return fit(problem, epochs, 1, partial / "head.safetensors")


def best_epochs(features: Tensor, labels: Tensor, classes: int, settings: TaskTraining) -> int:
    """Returns the number of epochs, 1 to head_epochs, with the least held-out loss, mean over the folds.

    features: shape (texts, features). labels: int64, shape (texts,). The most epochs where a class has one text only.
    """
    part = fold_of_each(labels.cpu().numpy(), settings.folds, settings.seed)
    curves = []
    for fold in range(int(part.max()) + 1 if part.max() else 0):
        held = torch.from_numpy(part == fold).to(features.device)
        classifier = Classifier(features.shape[1], classes, settings.classifier, settings.seed).to(features.device)
        classifier.start(features[~held], labels[~held])
        optimiser = torch.optim.AdamW(_groups(classifier, settings))
        curve = []
        for epoch in range(1, settings.head_epochs + 1):
            purpose = (f"fold {fold}", str(epoch))
            for loss in _losses(classifier, features[~held], labels[~held], settings, *purpose):
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            with torch.no_grad():
                curve.append(float(functional.cross_entropy(classifier(features[held]), labels[held])))
        curves.append(curve)
    return 1 + int(np.mean(curves, axis=0).argmin()) if curves else settings.head_epochs


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


def _losses(
    classifier: Classifier, features: Tensor, labels: Tensor, settings: TaskTraining, *purpose: str
) -> Iterator[Tensor]:
    order = simulation_generator(settings.seed, "nlu head batches", *purpose).permutation(len(features))
    for start in range(0, len(order), settings.batch):
        chosen = torch.from_numpy(order[start : start + settings.batch]).to(features.device)
        yield functional.cross_entropy(classifier(features[chosen]), labels[chosen])


def _groups(classifier: Classifier, settings: TaskTraining) -> list[dict[str, Any]]:
    return [{"params": list(classifier.parameters()), "lr": settings.head_rate, "weight_decay": settings.weight_decay}]
