"""Intervals for measured rates and other bounded means, of independent trials and of whole documents."""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.figure import Figure
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

DRAWS = 10_000
BLOCK = 500
"""Draws made at once, so that memory stays small; it does not change what is drawn."""
DRAWS_BEYOND = 100
"""Draws expected beyond each end, at least: extreme ends take more than DRAWS."""
SMALLEST_TAIL = 1e-4
UNSEEN = "unseen-document bootstrap"
WORST = "per prompt, the largest of"
"""In the method of a figure for the worst of several prompts, which more prompts do not narrow."""

Floats = NDArray[np.float64]


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns the exact two-sided interval for a rate (Clopper and Pearson, 1934).

    Each end fails with probability at most (1 - confidence) / 2 for independent trials.
    Raises UserError for no trials, successes outside 0..trials, and confidence outside (0, 1).

    >>> [round(end, 4) for end in clopper_pearson(0, 10)]
    [0.0, 0.3085]
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise UserError(f"Expected successes in 0..trials and trials >= 1, got {successes} of {trials}.")
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    tail = (1 - confidence) / 2
    lower = float(betaincinv(successes, trials - successes + 1, tail)) if successes else 0.0
    upper = float(betaincinv(successes + 1, trials - successes, 1 - tail)) if successes < trials else 1.0
    return lower, upper


def unequal_rates(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Returns Clopper-Pearson limits for the mean of unequal rates, which hold for it too (Hoeffding, 1956, theorem 4).

    Save at one success or one failure, where the union bound is what holds. Raises UserError as clopper_pearson does.
    """
    lower, upper = clopper_pearson(successes, trials, confidence)
    edge = (1 - confidence) / 2 / trials
    return edge if successes == 1 else lower, 1 - edge if successes == trials - 1 else upper


def rate(successes: int, trials: int, unit: str, sample_unit: str, confidence: float = 0.95) -> Figure:
    """Returns a share with its Clopper-Pearson interval."""
    lower, upper = clopper_pearson(successes, trials, confidence)
    return Figure(successes / trials, lower, upper, unit, trials, sample_unit, "Clopper-Pearson", confidence)


def balanced_rate(recalled: Sequence[int], held_out: Sequence[int], seed: int, confidence: float = 0.95) -> Figure:
    """Returns the mean of the classes' recalls with an interval that combines their Clopper-Pearson laws.

    Each end is a quantile of the mean of independent Beta draws, Beta(k, n - k + 1) for the lower end and
    Beta(k + 1, n - k) for the upper: with one class it is the Clopper-Pearson interval itself.
    recalled, held_out: right answers and documents of each class. Raises UserError as clopper_pearson does.
    """
    for successes, trials in zip(recalled, held_out, strict=True):
        clopper_pearson(successes, trials, confidence)
    generator = simulation_generator(seed, "balanced rate")
    tail = (1 - confidence) / 2
    low = np.zeros(DRAWS)
    high = np.zeros(DRAWS)
    for k, n in zip(recalled, held_out, strict=True):
        low += generator.beta(k, n - k + 1, DRAWS) if k else 0.0
        high += generator.beta(k + 1, n - k, DRAWS) if k < n else 1.0
    value = float(np.mean(np.divide(recalled, held_out)))
    lower = min(value, float(np.quantile(low / len(recalled), tail)))
    upper = max(value, float(np.quantile(high / len(recalled), 1 - tail)))
    unit, method = "mean recall over classes", "combined Clopper-Pearson"
    return Figure(value, lower, upper, unit, sum(held_out), "documents", method, confidence, seed=seed)


def clustered_rate(
    hits: ArrayLike,
    clusters: Clusters,
    longest: int,
    unit: str,
    sample_unit: str,
    seed: int,
    confidence: float = 0.95,
) -> Figure:
    """Returns the share of hits with an interval that holds however alike the trials of one document are.

    hits: bool, shape (trials,). longest: the most trials that one document can have, known before any is drawn. The
    rest as clustered_mean, whose interval this is: never of width 0, not at 0 of n.
    """
    array = np.asarray(hits)
    if array.dtype != np.bool_:
        raise UserError(f"Expected hits to be true or false, got {array.dtype}.")
    return clustered_mean(array, clusters, longest, unit, sample_unit, seed, confidence)


def clustered_rates(
    hits: ArrayLike,
    clusters: Clusters,
    longest: int,
    unit: str,
    sample_unit: str,
    seed: int,
    confidence: float = 0.95,
) -> list[Figure]:
    """Returns `clustered_rate` of several attacks on the same trials, in the time of one: they share the draws.

    hits: bool, shape (attacks, trials). Raises UserError as clustered_rate does.
    """
    rows = np.asarray(hits)
    if rows.dtype != np.bool_ or rows.ndim != 2 or not rows.size:
        raise UserError(f"Expected hits to be true or false, a row per attack, got {rows.dtype} of shape {rows.shape}.")
    grouped = group(clusters, rows.shape[1])
    if longest == 1 or grouped.documents < 2:
        return [clustered_rate(row, clusters, longest, unit, sample_unit, seed, confidence) for row in rows]
    sizes = grouped.sums(np.ones(rows.shape[1]))
    require_longest(sizes, longest)
    read = np.stack([grouped.sums(row.astype(np.float64)) for row in rows], axis=1)
    sums = np.stack([read, np.broadcast_to(sizes[:, None], read.shape)])
    ends = np.broadcast_to(np.array([[0.0, longest], [longest, longest]])[:, :, None], (2, 2, len(rows)))
    lower, upper = unseen_ends(sums, ends, _ratio, seed, confidence)
    about = (unit, rows.shape[1], sample_unit, UNSEEN, confidence)
    return [
        Figure(value, max(0.0, min(value, low)), min(1.0, max(value, high)), *about, documents=len(sizes), seed=seed)
        for value, low, high in zip(rows.mean(axis=1).tolist(), lower.tolist(), upper.tolist(), strict=True)
    ]


def clustered_mean(
    values: ArrayLike,
    clusters: Clusters,
    longest: int,
    unit: str,
    sample_unit: str,
    seed: int,
    confidence: float = 0.95,
    within: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Returns the mean of bounded values with the interval of `unseen_ends`; of independent 0s and 1s, Clopper-Pearson.

    values: shape (trials,), each of equal weight. clusters: the document of each; None takes every trial for one.
    longest: the most trials that one document can have, known before any is drawn, such as the cut of the prompts times
    the prompts per document. Taken from the sample it would miss rare long documents (docs/evaluation.md, intervals).
    within: what values can be at all: the interval uses it.
    Raises UserError for no value, values outside within, a document of more than `longest` trials, fewer than two
    documents (one says nothing of others), and as unseen_ends does.
    """
    array, (low, high) = np.asarray(values, dtype=np.float64), within
    if array.ndim != 1 or not array.size or not ((array >= low) & (array <= high)).all():
        raise UserError(f"Expected at least one value, all in [{low:g}, {high:g}], got shape {array.shape}.")
    grouped = group(clusters, len(array))
    if grouped.documents < 2:
        raise UserError(f"Expected two documents or more for an interval, got {len(array)} {sample_unit} of one.")
    value, documents, sizes = float(array.mean()), grouped.documents, grouped.sums(np.ones(len(array)))
    require_longest(sizes, longest)
    if longest == 1 and within == (0.0, 1.0) and np.isin(array, within).all():
        lower, upper = clopper_pearson(int(array.sum()), documents, confidence)
        return Figure(
            value, lower, upper, unit, documents, sample_unit, "Clopper-Pearson", confidence, documents=documents
        )
    ends = np.array([[low * longest, longest], [high * longest, longest]], dtype=np.float64)
    sums = np.stack([grouped.sums(array), sizes])
    lower, upper = (float(end) for end in unseen_ends(sums, ends, _ratio, seed, confidence))
    lower, upper = max(low, min(value, lower)), min(high, max(value, upper))
    return Figure(
        value, lower, upper, unit, len(array), sample_unit, UNSEEN, confidence, documents=documents, seed=seed
    )


def require_longest(sizes: Floats, longest: int) -> None:
    """Raises UserError for longest < 1, and for a document of more trials: then `longest` was not known beforehand.

    sizes: trials of each document, shape (documents,).
    """
    if longest < 1:
        raise UserError(
            f"Expected longest >= 1, the most trials that one document can have, got longest={longest}. "
            "Pass the number of trials at which every document is cut."
        )
    if sizes.size and sizes.max() > longest:
        raise UserError(
            f"Expected no document of more than longest={longest} trials, got one of {sizes.max():g}. "
            "Pass the number of trials at which every document is cut, fixed before any document is drawn."
        )


def unseen_ends(
    sums: Floats, ends: Floats, statistic: Callable[[Floats], Floats], seed: int, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Returns the ends of the interval of a statistic of sums over documents, shape (runs,) each; () without runs.

    sums: of each document, shape (columns, documents) or, for several samples at once, (columns, documents, runs).
    ends: those of one unseen document, the worst and the best there can be, shape (2, columns) or (2, columns, runs).
    statistic: of weighted sums over documents, from shape (columns, ...) to (...); does not depend on their scale.

    Documents have random weights (Rubin's bootstrap of 1981), and the unseen document one more weight: the worst for
    the lower end, the best for the upper one. For a mean it is Gaffke's bound (2005), which is Clopper-Pearson's where
    documents are 0 or 1. It takes documents as independent draws, and nothing else, save that none is worse or better
    than ends; so ends must be fixed beforehand, from the longest document that there can be, not the longest seen.
    That it covers for all laws is a conjecture (Learned-Miller and Thomas, 2019), and tests measure it.
    Korn and Graubard's interval (1998) and the plain bootstrap over documents are shorter and do not cover rates that
    a few documents make, since they know of no document that they did not see (measured: as little as 0.59 and 0.11).
    Ends are rounded outward by three standard errors of the drawing. Raises UserError for confidence outside (0, 1), or
    so near 1 that a tail is below SMALLEST_TAIL.
    """
    runs = sums.reshape(*sums.shape[:2], -1)
    unseen = ends.reshape(*ends.shape[:2], 1, -1)
    drawn: list[list[Floats]] = [[], []]
    for weights, own in drawn_weights(runs.shape[1], seed, confidence):
        seen = np.matmul(weights, runs)
        for side, document in enumerate(unseen):
            drawn[side].append(statistic(seen + own[:, None] * document))
    lower, upper = outward(np.concatenate(drawn[0]), np.concatenate(drawn[1]), confidence)
    return lower.reshape(sums.shape[2:]), upper.reshape(sums.shape[2:])


def drawn_weights(documents: int, seed: int, confidence: float, block: int = BLOCK) -> Iterator[tuple[Floats, Floats]]:
    """Yields random weights of the documents, shape (draws, documents), and of one unseen, (draws,), block by block.

    As many draws as the confidence needs. Raises UserError for confidence outside (0, 1), or too near 1.
    """
    draws, generator = _draws(confidence), simulation_generator(seed, "unseen document")
    for start in range(0, draws, block):
        weights = generator.standard_exponential((min(block, draws - start), documents + 1))
        yield weights[:, :-1], weights[:, -1]


def outward(low: Floats, high: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Returns the ends of an interval from all draws of drawn_weights, rounded outward by three standard errors.

    low, high: a statistic with the worst and the best unseen document, shape (draws, ...).
    """
    draws, tail = _draws(confidence), (1 - confidence) / 2
    beyond = math.floor(draws * tail - 3 * math.sqrt(draws * tail * (1 - tail)))
    last = draws - 1 - beyond
    return np.partition(low, beyond, axis=0)[beyond], np.partition(high, last, axis=0)[last]


def _draws(confidence: float) -> int:
    tail = (1 - confidence) / 2
    if not SMALLEST_TAIL * (1 - 1e-9) <= tail < 0.5:
        raise UserError(f"Expected confidence in (0, {1 - 2 * SMALLEST_TAIL:g}], got confidence={confidence}.")
    return max(DRAWS, math.ceil(DRAWS_BEYOND / tail))


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[0] / sums[1])
