"""Intervals for measured rates and means."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from del_audit.evidence.figure import Figure
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RESAMPLES = 10_000


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
    low = np.zeros(RESAMPLES)
    high = np.zeros(RESAMPLES)
    for k, n in zip(recalled, held_out, strict=True):
        low += generator.beta(k, n - k + 1, RESAMPLES) if k else 0.0
        high += generator.beta(k + 1, n - k, RESAMPLES) if k < n else 1.0
    value = float(np.mean(np.divide(recalled, held_out)))
    lower = min(value, float(np.quantile(low / len(recalled), tail)))
    upper = max(value, float(np.quantile(high / len(recalled), 1 - tail)))
    unit, method = "mean recall over classes", "combined Clopper-Pearson"
    return Figure(value, lower, upper, unit, sum(held_out), "documents", method, confidence)


def bootstrap_mean(values: ArrayLike, unit: str, sample_unit: str, seed: int, confidence: float = 0.95) -> Figure:
    """Returns the mean of one value a document with its percentile bootstrap interval over documents.

    values: shape (documents,). Raises UserError for fewer than two, and for NaN or infinite values.
    """
    array = _checked(values)
    return _percentiles(array.mean(), _resampled(array, seed), unit, len(array), sample_unit, confidence)


def bootstrap_ratio(
    over: ArrayLike, under: ArrayLike, unit: str, sample_unit: str, seed: int, confidence: float = 0.95
) -> Figure:
    """Returns the ratio of two means over the same documents with its percentile bootstrap interval.

    over, under: shape (documents,), resampled together. Raises UserError as bootstrap_mean does.
    """
    top, bottom = _checked(over), _checked(under)
    drawn = _resampled(top, seed) / _resampled(bottom, seed)
    return _percentiles(top.mean() / bottom.mean(), drawn, unit, len(top), sample_unit, confidence)


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or len(array) < 2 or not np.isfinite(array).all():
        raise UserError(f"Expected two finite values or more, one a document, got shape {array.shape}.")
    return array


def _resampled(values: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Returns RESAMPLES means of values drawn with replacement; the same seed draws the same documents."""
    drawn = simulation_generator(seed, "bootstrap").integers(0, len(values), (RESAMPLES, len(values)))
    return np.asarray(values[drawn].mean(axis=1))


def _percentiles(
    value: float, drawn: NDArray[np.float64], unit: str, sample: int, sample_unit: str, confidence: float
) -> Figure:
    tail = (1 - confidence) / 2
    lower, upper = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    method = "percentile bootstrap over documents"
    return Figure(float(value), lower, upper, unit, sample, sample_unit, method, confidence)
