"""Task scores of a classifier that reads releases: accuracy and the area under its ROC curve."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.class_intervals import clustered_area
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_rate, rate
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Classification:
    """accuracy: share right. auc: area under the ROC curve, for several classes the mean of one against the rest.

    majority: accuracy of always naming the commonest class, the control of accuracy; that of auc is 1/2.
    """

    accuracy: Figure
    auc: Figure
    majority: Figure
    classes: tuple[Hashable, ...]


def classification_figures(
    labels: Sequence[Hashable],
    scores: ArrayLike,
    seed: int,
    clusters: Clusters = None,
    classes: Sequence[Hashable] | None = None,
    *,
    longest: int = 1,
) -> Classification:
    """Returns accuracy and AUC with intervals.

    scores: probabilities, shape (rows, classes), or shape (rows,): of the second of two classes, right above 1/2.
    classes: names of the columns; the sorted labels if left out. clusters: the document of each row.
    longest: the most rows that one document can have, known before any is drawn. Accuracy has a Clopper-Pearson
    interval where that is one; every other interval allows for a document that was not seen (`class_intervals`).
    Raises UserError for shapes that do not fit, scores that are not finite, a class that no row has, and a document of
    more than `longest` rows.
    """
    names = tuple(sorted(set(labels), key=repr)) if classes is None else tuple(classes)
    values = _columns(np.asarray(scores, dtype=np.float64), len(labels), names)
    known = {name: index for index, name in enumerate(names)}
    missing = set(labels) ^ set(names)
    if missing:
        raise UserError(f"Expected every class to have a row and every row a class, got {sorted(missing, key=repr)}.")
    truth = np.array([known[label] for label in labels])
    grouped = group(clusters, len(labels))
    if grouped.documents < 2:
        raise UserError(f"Expected rows of two documents or more, got {len(labels)} rows from one.")
    right = values.argmax(axis=1) == truth
    majority = truth == np.bincount(truth).argmax()
    asked = [1] if len(names) == 2 else list(range(len(names)))
    area = clustered_area(truth, values, asked, grouped, longest, seed)
    return Classification(
        _share(right, clusters, longest, seed, "share of rows right"),
        area,
        _share(majority, clusters, longest, seed, "share of rows in the commonest class"),
        names,
    )


def _columns(scores: Floats, rows: int, names: Sequence[Hashable]) -> Floats:
    """Returns one column of scores a class."""
    if len(names) < 2:
        raise UserError(f"Expected labels of two classes or more, got {list(names)}.")
    if scores.ndim == 1 and len(names) == 2:
        scores = np.stack([1 - scores, scores], axis=1)
    if scores.shape != (rows, len(names)) or not np.isfinite(scores).all():
        raise UserError(f"Expected finite scores of shape ({rows}, {len(names)}), got {shape_and_values(scores)}.")
    return scores


def _share(hits: NDArray[np.bool_], clusters: Clusters, longest: int, seed: int, unit: str) -> Figure:
    if longest == 1:
        return rate(int(hits.sum()), len(hits), unit, "rows")
    return clustered_rate(hits, clusters, longest, unit, "rows", seed)
