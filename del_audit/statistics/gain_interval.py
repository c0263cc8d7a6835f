"""The interval of a paired gain: it allows for one document that was not seen, since rare losses pull a mean down.

A resampling interval takes the scatter seen for all there is. Where a prompt in a hundred loses much, a sample without
one of those looks safely above zero: at 20 prompts such intervals called one gain of zero in three positive. Here the
worst gain that is allowed for is an assumption that the figure states.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.statistics.bootstrap import Clusters, Grouped, group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import UNSEEN, require_longest, unseen_ends
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values

LOWEST, HIGHEST = -1.0, 3.0
"""Gains of one prompt that are allowed for unseen, nats per token."""
FEWEST_PROMPTS = 20
"""Prompts below which no interval of the gain keeps its level (docs/evaluation.md): it decides nothing then."""
NATS = "nats per token"
SHARE = "share of the clean gain"

Floats = NDArray[np.float64]


def gain_mean(
    values: ArrayLike,
    seed: int,
    clusters: Clusters = None,
    longest: int = 1,
    confidence: float = 0.95,
    within: tuple[float, float] = (LOWEST, HIGHEST),
) -> Figure:
    """Returns the mean gain with an interval whose lower end is above the true mean in (1 - confidence) / 2 at most.

    values: gain of each prompt, nats per token, shape (prompts,). clusters: the document of each; None takes every
    prompt for one. longest: the most prompts that one document can have, fixed before any is drawn. within: gains that
    are taken to be possible without being seen. Documents are independent draws; an unseen one has the least gain of
    within or of the sample for the lower end, the largest for the upper (`unseen_ends`). Gains beyond within that the
    sample lacks are not allowed for. Raises UserError for values that are not finite, fewer than two documents, a
    document of more than `longest` prompts, a within that holds no interval, and confidence as unseen_ends does.
    """
    array, grouped, sizes = _checked(values, clusters, longest)
    low, high = _bounds(array, within)
    ends = np.array([[low * longest, longest], [high * longest, longest]])
    sums = np.stack([grouped.sums(array), sizes])
    found = unseen_ends(sums, ends, lambda s: np.asarray(s[0] / s[1]), seed, confidence)
    return _figure(float(array.mean()), found, NATS, grouped, seed, confidence, method_of(within))


def share_of_gain(
    gains: ArrayLike,
    clean_gains: ArrayLike,
    seed: int,
    clusters: Clusters = None,
    longest: int = 1,
    confidence: float = 0.95,
    within: tuple[float, float] = (LOWEST, HIGHEST),
) -> Figure:
    """Returns the mean gain over the mean clean gain with an interval that allows for one unseen document.

    gains, clean_gains: of the same prompts, nats per token, shape (prompts,). The rest as gain_mean. For the lower end
    the unseen document has the least gain and the clean gain that makes the share smallest, for the upper end the
    opposite. Raises UserError as gain_mean does, and for clean gains whose mean is not above zero at this confidence:
    a share of that says nothing.
    """
    (array, grouped, _), (clean, _, _) = (
        _checked(gains, clusters, longest),
        _checked(clean_gains, clusters, longest),
    )
    if len(array) != len(clean):
        raise UserError(f"Expected a clean gain for each of {len(array)} gains, got {len(clean)}.")
    base = gain_mean(clean, seed, clusters, longest, confidence, within)
    if base.lower <= 0:
        raise UserError(
            f"Expected clean gains whose lower end is above 0, got {base.value:.4g} [{base.lower:.4g}, "
            f"{base.upper:.4g}] nats per token. Measure more prompts."
        )
    (low, high), (small, large) = _bounds(array, within), _bounds(clean, within)
    ends = np.array([[low, small, large], [high, large, small]]) * longest
    sums = np.stack([grouped.sums(array), *[grouped.sums(clean)] * 2])
    found = unseen_ends(sums, ends, _share, seed, confidence)
    value = float(array.mean() / clean.mean())
    return _figure(value, found, SHARE, grouped, seed, confidence, method_of(within))


def method_of(within: tuple[float, float]) -> str:
    """Returns what the interval is and what it assumes, in words."""
    return f"{UNSEEN}, unseen document at {within[0]:g} or {within[1]:g} nats per token"


def _share(sums: Floats) -> Floats:
    """Returns gain over clean gain, by the clean gain (the second of sums, or the third) that is worse for the end.

    A clean gain of zero or less makes the share infinite; fewer draws than the tail have one where the clean gain's
    own interval is above zero.
    """
    gain, clean = sums[0], np.where(sums[0] > 0, sums[2], sums[1])
    endless = np.copysign(np.inf, gain)
    return np.asarray(np.divide(gain, clean, out=endless, where=clean > 0))


def _bounds(array: Floats, within: tuple[float, float]) -> tuple[float, float]:
    if not -np.inf < within[0] < within[1] < np.inf:
        raise UserError(f"Expected within as (lowest, highest) gain, finite and in this order, got within={within}.")
    return min(within[0], float(array.min())), max(within[1], float(array.max()))


def _checked(values: ArrayLike, clusters: Clusters, longest: int) -> tuple[Floats, Grouped, Floats]:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not np.isfinite(array).all():
        raise UserError(f"Expected one finite gain for each prompt, got {shape_and_values(array)}.")
    grouped = group(clusters, len(array))
    if grouped.documents < 2:
        raise UserError(f"Expected gains of two documents or more, got {len(array)} of {grouped.documents}.")
    sizes = grouped.sums(np.ones(len(array)))
    require_longest(sizes, longest)
    return array, grouped, sizes


def _figure(
    value: float, ends: tuple[Floats, Floats], unit: str, grouped: Grouped, seed: int, confidence: float, method: str
) -> Figure:
    lower, upper = min(value, float(ends[0])), max(value, float(ends[1]))
    prompts, documents = len(grouped.numbers), grouped.documents
    return Figure(value, lower, upper, unit, prompts, "prompts", method, confidence, documents=documents, seed=seed)
