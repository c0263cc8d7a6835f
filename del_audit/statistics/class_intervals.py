"""Intervals over documents for figures that weigh classes: mean recall, and the area under the ROC curve.

Neither is a mean over documents, so each class has an unseen document of its own: for the lower end one whose rows are
all wrong, for the upper end one whose rows are all right, `longest` rows of every class. No single document is as bad
or as good as that, so the ends are on the safe side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from del_audit.statistics.bootstrap import BLOCK, Grouped
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import UNSEEN, drawn_weights, outward, require_longest, unseen_ends
from mechanisms.errors import UserError

METHOD = f"{UNSEEN} for each class"
BALANCED = "mean recall over classes"
AREA = "area under the ROC curve"

Floats = NDArray[np.float64]


def clustered_recall(
    right: NDArray[np.bool_],
    truth: NDArray[np.int64],
    grouped: Grouped,
    longest: int,
    seed: int,
    confidence: float = 0.95,
) -> Figure:
    """Returns the mean over classes of the share of rows that are right, with its interval over documents.

    right: whether each row is, shape (rows,). truth: its class 0, 1, ..., none left out. longest: the most rows that
    one document can have, known before any is drawn. Raises UserError for fewer than two documents, one of more rows
    than longest, and confidence as unseen_ends does.
    """
    sizes, classes = _sizes(grouped, longest), int(truth.max()) + 1
    own = np.arange(classes)[:, None] == truth
    hits = np.stack([grouped.sums((row & right).astype(np.float64)) for row in own])
    counts = np.stack([grouped.sums(row.astype(np.float64)) for row in own])
    full = np.full(classes, float(longest))
    ends = np.stack([np.concatenate([0 * full, full]), np.concatenate([full, full])])
    found = unseen_ends(
        np.concatenate([hits, counts]),
        ends,
        lambda sums: np.asarray((sums[:classes] / sums[classes:]).mean(axis=0)),
        seed,
        confidence,
    )
    value = float((hits.sum(axis=1) / counts.sum(axis=1)).mean())
    lower, upper = min(value, float(found[0])), max(value, float(found[1]))
    rows, documents = int(sizes.sum()), grouped.documents
    return Figure(value, lower, upper, BALANCED, rows, "rows", METHOD, confidence, documents=documents, seed=seed)


def clustered_area(
    truth: NDArray[np.int64],
    scores: Floats,
    asked: Sequence[int],
    grouped: Grouped,
    longest: int,
    seed: int,
    confidence: float = 0.95,
) -> Figure:
    """Returns the mean AUC of the asked classes, each against the rest, with its interval over documents.

    truth: class of each row, shape (rows,). scores: shape (rows, classes). The rest as clustered_recall.
    """
    sizes, unit = _sizes(grouped, longest), AREA + (", one against the rest" if len(asked) > 1 else "")
    drawn: list[list[Floats]] = [[], []]
    for weights, unseen in drawn_weights(grouped.documents, seed, confidence, BLOCK):
        lows, highs = [], []
        for label in asked:
            won, pairs, above, below = _pairs(truth == label, scores[:, label], weights[:, grouped.numbers])
            more = (above + unseen * longest) * (below + unseen * longest)
            lows.append(won / more)
            highs.append(1 - (pairs - won) / more)
        drawn[0].append(np.mean(lows, axis=0))
        drawn[1].append(np.mean(highs, axis=0))
    equal = np.ones((1, len(truth)))
    value = float(np.mean([auc(truth == label, scores[:, label], equal)[0] for label in asked]))
    low, high = outward(np.concatenate(drawn[0]), np.concatenate(drawn[1]), confidence)
    rows, documents = int(sizes.sum()), grouped.documents
    ends = min(value, float(low)), max(value, float(high))
    return Figure(value, *ends, unit, rows, "rows", METHOD, confidence, documents=documents, seed=seed)


def auc(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> Floats:
    """Returns the share of (positive, other) pairs in which the positive scores higher, ties counted half.

    weights: of rows, shape (draws, rows); the result has shape (draws,), NaN where a draw lacks one side.
    """
    won, pairs, _, _ = _pairs(positive, scores, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(won / pairs)


def _pairs(positive: NDArray[np.bool_], scores: Floats, weights: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Returns the weight of pairs won and of all pairs, and that of either side's rows, shape (draws,) each."""
    levels, place = np.unique(scores, return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(len(levels)))
    sorted_weights, up = weights[:, order], positive[order]
    above = np.add.reduceat(np.where(up, sorted_weights, 0.0), starts, axis=1)
    below = np.add.reduceat(np.where(up, 0.0, sorted_weights), starts, axis=1)
    lower = np.cumsum(below, axis=1) - below
    sides = above.sum(axis=1), below.sum(axis=1)
    return np.asarray((above * (lower + below / 2)).sum(axis=1)), np.asarray(sides[0] * sides[1]), *sides


def _sizes(grouped: Grouped, longest: int) -> Floats:
    sizes = grouped.sums(np.ones(len(grouped.numbers)))
    if grouped.documents < 2:
        raise UserError(f"Expected rows of two documents or more, got {len(grouped.numbers)} rows from one.")
    require_longest(sizes, longest)
    return sizes
