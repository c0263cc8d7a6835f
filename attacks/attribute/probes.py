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

from mechanisms.errors import UserError

FOLDS = 4
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)


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


def best_probe(
    train: Mapping[str, NDArray[np.float64]],
    train_labels: Sequence[str],
    train_documents: Sequence[int],
    test: Mapping[str, NDArray[np.float64]],
    test_labels: Sequence[str],
) -> ProbeResult:
    """Returns the held-out result of the kind of features and strength that cross-validation likes best.

    train, test: each kind's features, shape (rows, width). train_documents: a document's rows (it may be released
    several times) stay in one fold. The held-out part chooses nothing and is scored once.
    Raises UserError for one class, and for a class with fewer documents than folds.
    """
    labels, documents = np.array(train_labels), np.array(train_documents)
    classes = tuple(sorted(set(train_labels)))
    if len(classes) < 2:
        raise UserError(f"Expected an attribute of two classes or more, got {list(classes)}.")
    for name in classes:
        size = len(set(documents[labels == name]))
        if size < FOLDS or name not in test_labels:
            raise UserError(
                f"Expected every class to have {FOLDS} training documents or more and one held out, "
                f"got {size} and {list(test_labels).count(name)} of {name!r}."
            )
    searches = {kind: _search(features, labels, documents) for kind, features in train.items()}
    chosen = max(searches, key=lambda kind: searches[kind].best_score_)
    guesses = searches[chosen].predict(test[chosen])
    truth = np.array(test_labels)
    held_out = tuple(int((truth == name).sum()) for name in classes)
    recalled = tuple(int(((truth == name) & (guesses == name)).sum()) for name in classes)
    return ProbeResult(chosen, float(searches[chosen].best_score_), classes, recalled, held_out)


def _search(features: NDArray[np.float64], labels: NDArray[Any], documents: NDArray[Any]) -> GridSearchCV:
    """Returns a fitted search over the strength of a balanced logistic regression."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    folds = StratifiedGroupKFold(FOLDS)
    search = GridSearchCV(
        probe, {"logisticregression__C": STRENGTHS}, scoring="balanced_accuracy", cv=folds, refit=True
    )
    return search.fit(features, labels, groups=documents)
