"""Intervals for measured rates."""

from collections.abc import Sequence

import numpy as np
from scipy.special import betaincinv

from del_audit.evidence.figure import Figure
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

DRAWS = 10_000


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
