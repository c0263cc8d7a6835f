"""How many more trials would decide: a hint beside an interval that holds its limit. Cheap, and no library but special.

A certificate's checks are computed again wherever it is read and must come out the same, so nothing here draws or takes
long, and only round numbers are tried: which of them is the first does not hang on a library's last digit.
"""

import math
from bisect import bisect_left
from collections.abc import Callable

from scipy.special import betaincinv, ndtr, ndtri

from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import HIGHEST, LOWEST, NATS, method_of
from del_audit.statistics.intervals import DRAWS, DRAWS_BEYOND, UNSEEN, WORST
from del_audit.statistics.sequential import METHOD

DIGITS = 3
"""Significant digits of the sample sizes tried."""
GAIN = method_of((LOWEST, HIGHEST))
NARROWING = ("bootstrap", "Student's t", "Clopper-Pearson", METHOD)
"""In the method of every mean whose interval narrows at least as one over the square root of the sample."""
PLACES = 11_800
"""Round numbers that are tried, the last 10^15 trials or documents: whatever needs more is said to have no answer."""


def samples_needed(figure: Figure, threshold: float) -> int | None:
    """Returns the sample at which the interval, around the same value, would end at the threshold: half a chance.

    Found for the figure's own method: Clopper and Pearson's ends exactly, those with an unseen document as
    `unseen_law` has them, those of other means as one over the square root of the sample. None where no number can be
    named: the value is the threshold, more than the last of PLACES would be needed, or the figure is no mean of its
    sample, such as the largest of several prompts, which more prompts do not narrow.
    """
    gap = abs(figure.value - threshold)
    if gap == 0 or not math.isfinite(gap) or not math.isfinite(figure.upper - figure.lower):
        return None
    upward = figure.value < threshold
    if figure.method == "Clopper-Pearson" and 0 <= threshold <= 1:
        tail = (1 - figure.confidence) / 2
        return _first(lambda trials: _within(figure.value, trials, tail, threshold, upward))
    if figure.method == UNSEEN and figure.documents and 0 <= threshold <= 1:
        law, tail = unseen_law(figure, upward), drawn_tail(figure.confidence)
        documents = _first(lambda count: law(count, gap) <= tail)
        return None if documents is None else -(-documents * figure.sample // figure.documents)
    if of_gain(figure):
        return gain_prompts(figure, threshold)
    of_one_release = WORST in figure.method and figure.sample_unit == "prompts"
    if of_one_release or not any(known in figure.method for known in NARROWING):
        return None
    width = (figure.upper - figure.value) if upward else (figure.value - figure.lower)
    return _first(lambda trials: figure.sample * (width / gap) ** 2 < trials)


def of_gain(figure: Figure) -> bool:
    """Returns whether the figure is a mean gain with the interval of `gain_mean`, within its default range."""
    return figure.method == GAIN and figure.unit == NATS and bool(figure.documents)


def gain_prompts(figure: Figure, threshold: float, power: float = 0.5) -> int | None:
    """Returns the prompts at which a mean gain's end is beyond the threshold with probability `power`, if any is.

    figure: one that of_gain accepts. Documents keep their mean number of prompts; the mean is taken for normal.
    """
    gap, upward = abs(figure.value - threshold), figure.value < threshold
    law, tail = unseen_law(figure, upward, (LOWEST, HIGHEST)), drawn_tail(figure.confidence)
    spread = scatter_of(figure, upward, (LOWEST, HIGHEST)) * float(ndtri(power))
    documents = _first(lambda count: law(count, gap - spread / math.sqrt(count)) <= tail)
    return None if documents is None else -(-documents * figure.sample // (figure.documents or figure.sample))


def drawn_tail(confidence: float) -> float:
    """Returns the share of draws left out at each end of `unseen_ends`: the tail less three standard errors of it."""
    tail = (1 - confidence) / 2
    draws = max(DRAWS, math.ceil(DRAWS_BEYOND / tail))
    return math.floor(draws * tail - 3 * math.sqrt(draws * tail * (1 - tail))) / draws


def scatter_of(figure: Figure, upward: bool, within: tuple[float, float] = (0.0, 1.0)) -> float:
    """Returns the standard deviation of a document's hits about its share, in mean documents, from the interval alone.

    within: what values can be at all. The unseen document is taken for one of mean length: where it is longer, what it
    adds counts as scatter, which more documents narrow less, and sample sizes come out larger than needed.
    The interval's end is where `weighted_tail` is drawn_tail; 0 where the unseen document explains all of its width.
    """
    documents = figure.documents or figure.sample
    width = (figure.upper - figure.value) if upward else (figure.value - figure.lower)
    unseen, tail = _unseen(figure, upward, within), drawn_tail(figure.confidence)
    reach = (documents + 1) * width
    low, high = 0.0, reach / max(1e-9, -float(ndtri(tail))) + 1e-12
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if weighted_tail(reach, unseen, middle) <= tail else (low, middle)
    return low / math.sqrt(documents)


def unseen_law(figure: Figure, upward: bool, within: tuple[float, float] = (0.0, 1.0)) -> Callable[[int, float], float]:
    """Returns the probability that random weights on so many documents like the figure's move its value by a gap."""
    scatter, unseen = scatter_of(figure, upward, within), _unseen(figure, upward, within)
    return lambda documents, gap: weighted_tail((documents + 1) * gap, unseen, scatter * math.sqrt(documents))


def _unseen(figure: Figure, upward: bool, within: tuple[float, float]) -> float:
    return max(0.0, within[1] - figure.value if upward else figure.value - within[0])


def weighted_tail(reach: float, unseen: float, spread: float) -> float:
    """Returns P(unseen E + spread Z > reach), E exponential, Z normal: the unseen document's weight, and the rest."""
    if unseen <= 0:
        return float(ndtr(-reach / spread)) if spread > 0 else float(reach < 0)
    if spread <= 0:
        return math.exp(-max(0.0, reach) / unseen)
    exponent = (spread / unseen) ** 2 / 2 - reach / unseen
    other = float(ndtr(reach / spread - spread / unseen))
    beside = math.exp(min(700.0, exponent)) * other if other > 0 else 0.0
    return min(1.0, float(ndtr(-reach / spread)) + beside)


def _within(value: float, trials: int, tail: float, threshold: float, upward: bool) -> bool:
    """Returns whether Clopper and Pearson's end is on the right side, for value * trials successes, whole or not."""
    right = value * trials
    if upward:
        return right >= trials or float(betaincinv(right + 1, trials - right, 1 - tail)) <= threshold
    return right > 0 and float(betaincinv(right, trials - right + 1, tail)) >= threshold


def _first(holds: Callable[[int], bool]) -> int | None:
    """Returns the first number of DIGITS digits, and zeros behind, from which on it holds; None where none does."""
    place = bisect_left(range(PLACES), True, key=lambda place: holds(_round_number(place)))
    return _round_number(place) if place < PLACES else None


def _round_number(place: int) -> int:
    """Returns the numbers 1, 2, ..., 999, 1000, 1010, ... by their place from 0.

    >>> [_round_number(place) for place in (0, 998, 999, 1000, 1899)]
    [1, 999, 1000, 1010, 10000]
    """
    smallest = 10 ** (DIGITS - 1)
    if place < 10 * smallest:
        return place + 1
    zeros, digits = divmod(place + 1 - smallest, 9 * smallest)
    return int((smallest + digits) * 10**zeros)
