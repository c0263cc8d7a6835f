"""Intervals for figures of a whole set of texts, such as distinct-n, that resampling with repeats would bias."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from del_audit.statistics.bootstrap import ASSUMED
from del_audit.statistics.figure import Figure
from mechanisms.errors import UserError


def jackknife(
    value: float,
    without: NDArray[np.float64],
    unit: str,
    sample: int,
    sample_unit: str,
    seed: int | None = None,
    confidence: float = 0.95,
) -> Figure:
    """Returns value with its delete-one-document interval, cut to [0, 1]: Student's t times the jackknife's error.

    without: the figure with one document left out, shape (documents,). What is covered is the figure's expectation
    at this number of documents, since such figures move with it. The squared error is no smaller in expectation than
    the variance at one document fewer (Efron and Stein, 1981). Such figures are no means over documents, so no unseen
    document can be allowed for: the scatter seen is taken for all there is, and the method says so.
    Raises UserError for fewer than two documents.
    """
    documents = len(without)
    if documents < 2:
        raise UserError(f"Expected texts of two documents or more, got {documents}.")
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    error = math.sqrt(float(((without - without.mean()) ** 2).sum()) * (documents - 1) / documents)
    half = float(stdtrit(documents - 1, (1 + confidence) / 2)) * error
    lower, upper = max(value - half, min(value, 0.0)), min(value + half, max(value, 1.0))
    method = f"delete-one-document jackknife, {ASSUMED}"
    return Figure(value, lower, upper, unit, sample, sample_unit, method, confidence, documents=documents, seed=seed)
