"""Task scores of a classifier that reads releases: accuracy and the area under its ROC curve."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.evidence import bootstrap
from del_audit.evidence.bootstrap import Clusters, Grouped, bootstrap_mean, group
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import clopper_pearson, rate
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

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
) -> Classification:
    """Returns accuracy and AUC with intervals.

    scores: probabilities, shape (rows, classes), or shape (rows,): of the second of two classes, right above 1/2.
    classes: names of the columns; the sorted labels if left out. clusters: the document of each row. Accuracy has a
    Clopper-Pearson interval where every row is a document of its own, otherwise a bootstrap interval over documents.
    Raises UserError for shapes that do not fit, scores that are not finite, and a class that no row has.
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
    return Classification(
        _share(right, grouped, clusters, seed, "share of rows right"),
        _auc(truth, values, grouped, seed),
        _share(majority, grouped, clusters, seed, "share of rows in the commonest class"),
        names,
    )


def auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Returns the share of (positive, other) pairs in which the positive scores higher, ties counted half.

    weights: of rows, shape (draws, rows); the result has shape (draws,), NaN where a draw lacks one side.
    """
    levels, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(levels)))
    sorted_weights, up = weights[:, order], positive[order]
    above = np.add.reduceat(np.where(up, sorted_weights, 0.0), starts, axis=1)
    below = np.add.reduceat(np.where(up, 0.0, sorted_weights), starts, axis=1)
    lower = np.cumsum(below, axis=1) - below
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((above * (lower + below / 2)).sum(axis=1) / (above.sum(axis=1) * below.sum(axis=1)))


def _columns(scores: Floats, rows: int, names: Sequence[Hashable]) -> Floats:
    """Returns one column of scores a class."""
    if len(names) < 2:
        raise UserError(f"Expected labels of two classes or more, got {list(names)}.")
    if scores.ndim == 1 and len(names) == 2:
        scores = np.stack([1 - scores, scores], axis=1)
    if scores.shape != (rows, len(names)) or not np.isfinite(scores).all():
        raise UserError(f"Expected finite scores of shape ({rows}, {len(names)}), got shape {scores.shape}.")
    return scores


def _share(hits: NDArray[np.bool_], grouped: Grouped, clusters: Clusters, seed: int, unit: str) -> Figure:
    if grouped.documents == len(hits):
        return rate(int(hits.sum()), len(hits), unit, "rows")
    return bootstrap_mean(hits.astype(np.float64), unit, "rows", seed, clusters=clusters, within=(0.0, 1.0))


def _auc(truth: NDArray[np.int64], scores: Floats, grouped: Grouped, seed: int, confidence: float = 0.95) -> Figure:
    """Returns the mean AUC of each class against the rest; two classes are one question.

    Draws of documents that lack a class are left out.
    """
    count = scores.shape[1]
    asked = [1] if count == 2 else list(range(count))
    ones = np.ones((1, len(truth)))
    value = float(np.mean([auc(truth == label, scores[:, label], ones)[0] for label in asked]))
    tail, unit = (1 - confidence) / 2, "area under the ROC curve" + (", one against the rest" if count > 2 else "")
    if value in (0.0, 1.0):
        end = _ends(truth, asked, grouped, confidence)
        lower, upper = (1 - end, 1.0) if value else (0.0, end)
        method = "Clopper-Pearson over disjoint pairs of documents"
    else:
        drawn = _drawn(truth, scores, asked, grouped, seed)
        lower, upper = (float(end) for end in np.quantile(drawn[np.isfinite(drawn)], [tail, 1 - tail]))
        method = "percentile bootstrap over documents"
    documents = grouped.documents
    return Figure(value, lower, upper, unit, len(truth), "rows", method, confidence, documents=documents, seed=seed)


def _drawn(truth: NDArray[np.int64], scores: Floats, asked: list[int], grouped: Grouped, seed: int) -> Floats:
    generator, drawn = simulation_generator(seed, "bootstrap"), np.empty(bootstrap.RESAMPLES)
    equal = np.full(grouped.documents, 1 / grouped.documents)
    for start in range(0, len(drawn), bootstrap.BLOCK):
        block = slice(start, min(start + bootstrap.BLOCK, len(drawn)))
        times = generator.multinomial(grouped.documents, equal, block.stop - block.start)
        weights = times[:, grouped.numbers].astype(np.float64)
        drawn[block] = np.mean([auc(truth == label, scores[:, label], weights) for label in asked], axis=0)
    return drawn


def _ends(truth: NDArray[np.int64], asked: list[int], grouped: Grouped, confidence: float) -> float:
    """Returns how far from 0 or 1 the true AUC may be where the sample's is at that end and resampling shows no spread.

    In disjoint pairs of documents every pair was ordered alike: no less likely than all of the sample's pairs.
    """
    pairs = []
    for label in asked:
        up, down = (set(grouped.numbers[side].tolist()) for side in (truth == label, truth != label))
        pairs.append(max(1, min(len(up), len(down), grouped.documents // 2)))
    level = 1 - (1 - confidence) / len(asked)
    return float(np.mean([clopper_pearson(0, count, level)[1] for count in pairs]))
