"""Linear probes: chosen by cross-validation inside the training part, scored once on held-out documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from mechanisms.errors import UserError

FOLDS = 4
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """features: what the chosen probe looks at. validation: its balanced accuracy in cross-validation.

    classes: the labels. recalled, held_out: right answers and documents of each class in the held-out part.
    """

    features: str
    validation: float
    classes: tuple[str, ...]
    recalled: tuple[int, ...]
    held_out: tuple[int, ...]

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes; chance is one over their number."""
        return float(np.mean(np.divide(self.recalled, self.held_out)))

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return sum(self.recalled) / sum(self.held_out)


@dataclass(frozen=True, slots=True)
class Probe:
    """A fitted probe: what it looks at, how well it did in cross-validation, and the model itself."""

    features: str
    validation: float
    classes: tuple[str, ...]
    model: Any

    def score(self, test: Mapping[str, NDArray[np.float64]], labels: Sequence[str]) -> ProbeResult:
        """Returns the result on held-out features, of one row a label.

        Raises UserError for a class without a held-out document, whose recall would be unknown, and for a held-out
        class that the probe was not trained on.
        """
        unknown = sorted(set(labels) - set(self.classes))
        if unknown:
            raise UserError(f"Expected held-out documents of the classes {list(self.classes)}, got {unknown[0]!r}.")
        truth = np.array(labels)
        guesses = self.model.predict(test[self.features])
        held_out = tuple(int((truth == name).sum()) for name in self.classes)
        if not all(held_out):
            missing = self.classes[held_out.index(0)]
            raise UserError(f"Expected held-out documents of every class, got none of {missing!r}.")
        recalled = tuple(int(((truth == name) & (guesses == name)).sum()) for name in self.classes)
        return ProbeResult(self.features, self.validation, self.classes, recalled, held_out)


def fit_probe(train: Mapping[str, NDArray[np.float64]], labels: Sequence[str], documents: Sequence[int]) -> Probe:
    """Returns the probe whose kind of features and strength cross-validation likes best; no test document is seen.

    train: each kind's features, shape (rows, width). documents: a document's rows (it may be released several
    times) stay in one fold.
    Raises UserError for one class, and for a class with fewer documents than folds.
    """
    truth, groups = np.array(labels), np.array(documents)
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise UserError(f"Expected an attribute of two classes or more, got {list(classes)}.")
    for name in classes:
        size = len(set(groups[truth == name]))
        if size < FOLDS:
            raise UserError(f"Expected {FOLDS} training documents or more of every class, got {size} of {name!r}.")
    searches = {kind: _search(features, truth, groups) for kind, features in train.items()}
    chosen = max(searches, key=lambda kind: searches[kind].best_score_)
    return Probe(chosen, float(searches[chosen].best_score_), classes, searches[chosen].best_estimator_)


def _search(features: NDArray[np.float64], labels: NDArray[Any], documents: NDArray[Any]) -> GridSearchCV:
    """Returns a fitted search over the strength of a balanced logistic regression."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS)
    search = GridSearchCV(
        probe, {"logisticregression__C": STRENGTHS}, scoring="balanced_accuracy", cv=folds, refit=True
    )
    with threadpool_limits(1):  # these products are small: several threads would wait for each other
        return search.fit(features, labels, groups=documents)
