"""Intervals for means and ratios of losses, which have no bound, when several prompts come from one document.

They take the scatter of the documents seen for all there is: `method` says so. Where values are bounded, or a bound can
be assumed, `intervals` and `gain_interval` allow for a document that was not seen, and hold at small samples.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

from del_audit.statistics.figure import Figure
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.randomness import simulation_generator

RESAMPLES = 10_000
BLOCK = 500
"""Resamples drawn at once, so that memory stays small; it does not change what is drawn."""
FEW_DOCUMENTS = 50
"""Below so many documents percentile intervals are too short (docs/evaluation.md), and studentised ones are given."""
ASSUMED = "no rare extremes beyond those seen"
"""What every interval here assumes, for its method: values without a bound allow no less."""
FEWEST_TO_RESAMPLE = 5
"""Below so many, resamples of one document alone are too likely, and Student's t interval is given."""

Clusters = Sequence[Hashable] | NDArray[np.generic] | None


@dataclass(frozen=True, slots=True)
class Grouped:
    """Which document each value is from: numbers 0, 1, ... in the order of first appearance, shape (values,)."""

    numbers: NDArray[np.int64]
    documents: int

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the sum of values in each document, shape (documents,)."""
        return np.bincount(self.numbers, values, self.documents).astype(np.float64)


def group(clusters: Clusters, count: int) -> Grouped:
    """Returns the documents of count values; without clusters every value is its own document.

    Raises UserError for clusters of another length.
    """
    if clusters is None:
        return Grouped(np.arange(count), count)
    if len(clusters) != count:
        raise UserError(f"Expected one document id for each of {count} values, got {len(clusters)}.")
    known: dict[Hashable, int] = {}
    return Grouped(np.array([known.setdefault(name, len(known)) for name in clusters], dtype=np.int64), len(known))


def bootstrap_mean(
    values: ArrayLike,
    unit: str,
    sample_unit: str,
    seed: int,
    confidence: float = 0.95,
    clusters: Clusters = None,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> Figure:
    """Returns the mean of values with its bootstrap interval over documents; ASSUMED is what it takes for granted.

    values: shape (prompts,), each of equal weight. clusters: the document that each is from, resampled with all of
    its values together (Davison and Hinkley, 1997, section 3.8); None takes every value for a document.
    within: what values can be at all; the interval is cut to it.
    Raises UserError for fewer than two documents, and for NaN or infinite values.
    """
    array, grouped = _checked(values, clusters)
    top, bottom = grouped.sums(array), grouped.sums(np.ones(len(array)))
    figure = _interval(top, bottom, unit, len(array), sample_unit, seed, confidence)
    return replace(figure, lower=max(figure.lower, within[0]), upper=min(figure.upper, within[1]))


def bootstrap_ratio(
    over: ArrayLike,
    under: ArrayLike,
    unit: str,
    sample_unit: str,
    seed: int,
    confidence: float = 0.95,
    clusters: Clusters = None,
) -> Figure:
    """Returns the ratio of two means over the same prompts with its bootstrap interval over documents.

    over, under: shape (prompts,), resampled together. Raises UserError as bootstrap_mean does, and for a mean of
    under that is not above zero, since a share of that says nothing.
    """
    (array, grouped), (base, _) = _checked(over, clusters), _checked(under, clusters)
    top, bottom = grouped.sums(array), grouped.sums(base)
    if bottom.sum() <= 0:
        raise UserError(f"Expected the mean under the ratio > 0, got {bottom.sum() / len(base):.6g}.")
    return _interval(top, bottom, unit, len(array), sample_unit, seed, confidence)


def _checked(values: ArrayLike, clusters: Clusters) -> tuple[NDArray[np.float64], Grouped]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise UserError(f"Expected two finite values or more, one a prompt, got {shape_and_values(array)}.")
    grouped = group(clusters, len(array))
    if grouped.documents < 2:
        raise UserError(f"Expected values from two documents or more, got {len(array)} values from one.")
    return array, grouped


def _interval(
    top: NDArray[np.float64],
    bottom: NDArray[np.float64],
    unit: str,
    sample: int,
    sample_unit: str,
    seed: int,
    confidence: float,
) -> Figure:
    """Returns sum(top) / sum(bottom) over documents, with the interval that so many documents allow."""
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    value, documents, tail = float(top.sum() / bottom.sum()), len(top), (1 - confidence) / 2
    error = float(_standard_error(top[None], bottom[None])[0])
    if documents < FEWEST_TO_RESAMPLE:
        half = float(stdtrit(documents - 1, 1 - tail)) * error
        lower, upper, method = value - half, value + half, f"Student's t over documents, {ASSUMED}"
    else:
        ratios, errors = _resampled(top, bottom, seed, studentised=documents < FEW_DOCUMENTS)
        if not errors.any():
            lower, upper = (float(end) for end in np.quantile(ratios, [tail, 1 - tail]))
            method = f"percentile bootstrap over documents, {ASSUMED}"
        else:
            kept = errors > 0
            low, high = np.quantile((ratios[kept] - value) / errors[kept], [tail, 1 - tail])
            lower, upper = value - max(float(high), 0.0) * error, value - min(float(low), 0.0) * error
            method = f"studentised bootstrap over documents, {ASSUMED}"
    return Figure(value, lower, upper, unit, sample, sample_unit, method, confidence, documents=documents, seed=seed)


def _standard_error(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the linearised standard error of sum(top) / sum(bottom) in each row; 0 where all documents agree."""
    documents = top.shape[1]
    total = bottom.sum(axis=1)
    residuals = top - (top.sum(axis=1) / total)[:, None] * bottom
    rounding = 1e-13 * np.abs(top).max()
    residuals[np.abs(residuals) < rounding] = 0.0
    scatter = np.sqrt((residuals**2).sum(axis=1) * documents / (documents - 1))
    return np.asarray(scatter / np.abs(total))


def _resampled(
    top: NDArray[np.float64], bottom: NDArray[np.float64], seed: int, studentised: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the ratio in RESAMPLES draws of documents, and its standard errors, 0 where they are not asked for.

    The same seed draws the same documents.
    """
    generator = simulation_generator(seed, "bootstrap")
    ratios, errors = np.empty(RESAMPLES), np.zeros(RESAMPLES)
    for start in range(0, RESAMPLES, BLOCK):
        block = slice(start, min(start + BLOCK, RESAMPLES))
        drawn = generator.integers(0, len(top), (block.stop - block.start, len(top)))
        over, under = top[drawn], bottom[drawn]
        ratios[block] = over.sum(axis=1) / under.sum(axis=1)
        if studentised:
            errors[block] = _standard_error(over, under)
    return ratios, errors
