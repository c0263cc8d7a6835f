"""The exact pure epsilon of a mechanism that releases words by public weights, over all pairs of words (theorem 21)."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting.composition import Composition, Losses
from del_audit.statistics.bound import Bound
from mechanisms.rivals._points import Points
from mechanisms.rivals._rows import unit_bits
from mechanisms.rivals.custext import CusText

Floats = NDArray[np.float64]


class WordRows(Protocol):
    """What is needed of a mechanism: its rows of log P(released word | word), and what rounding can change in them."""

    @property
    def points(self) -> Points:
        """The public points."""

    @property
    def log_weight_error(self) -> float:
        """What rounding can change a log-weight by at most."""

    def log_channel(self, words: NDArray[np.int64]) -> Floats:
        """Returns log P(released word | word), shape (words given, words)."""


@dataclass(frozen=True, slots=True)
class WorstWords:
    """The largest log-ratio over all pairs of words and all released words, and the pair that has it.

    ratio: nats, as computed. error: what rounding can have changed it by.
    """

    ratio: float
    error: float
    first: int
    second: int

    @property
    def pure_epsilon(self) -> Bound:
        """The pure epsilon (nats) of one token over these words."""
        return Bound(max(0.0, self.ratio - self.error), self.ratio, self.ratio + self.error)


def worst_words(mechanism: WordRows, among: NDArray[np.bool_] | None = None) -> WorstWords:
    """Returns the worst pair among the words given, or all, in one pass over all pairs of words.

    A released word's largest and least probability bound each other's ratio, so its column's ends are all that is kept.
    Infinite where a word can come from one of the words and not from another.
    """
    words = mechanism.points.words
    high, low = np.full(words, -np.inf), np.full(words, np.inf)
    first, second = np.zeros(words, dtype=np.int64), np.zeros(words, dtype=np.int64)
    least_weight = 0.0
    for block in mechanism.points.blocks():
        chosen = block if among is None else block[among[block]]
        if not chosen.size:
            continue
        rows = mechanism.log_channel(chosen)
        least_weight = min(least_weight, _least_log_weight(rows))
        most, least = rows.argmax(axis=0), rows.argmin(axis=0)
        top, bottom = rows[most, np.arange(words)], rows[least, np.arange(words)]
        first, high = np.where(top > high, chosen[most], first), np.maximum(top, high)
        second, low = np.where(bottom < low, chosen[least], second), np.minimum(bottom, low)
    possible = high > -np.inf
    column = int(np.flatnonzero(possible)[(high[possible] - low[possible]).argmax()])
    error = _error(mechanism, least_weight)
    return WorstWords(float(high[column] - low[column]), error, int(first[column]), int(second[column]))


def attained(mechanism: WordRows, worst: WorstWords, delta: float, times: int) -> float:
    """Returns an epsilon (nats) at delta that the worst pair of words shows to be needed, for `times` tokens."""
    p, q = mechanism.log_channel(np.array([worst.first, worst.second]))
    kept = p > -np.inf
    losses = Losses(p[kept] - q[kept] - worst.error, p[kept], times)
    enough = delta * math.exp(min(times * worst.error, 700.0))
    return Composition([losses]).epsilon(enough).lower if enough < 1 else 0.0


def of_any_weights(words: int) -> float:
    """Returns a pure epsilon (nats) that whole weights of 1 to 2^k + 1 have whatever they are: no row is known."""
    return math.log(words) + math.log(2.0 ** unit_bits(words) + 1) + 1e-9


def within_groups(mechanism: CusText) -> WorstWords:
    """Returns the worst pair of words of one group, over all groups of CusText."""
    groups = mechanism.groups
    order = np.argsort(groups, kind="stable")
    worst, least_weight = WorstWords(0.0, 0.0, 0, 0), 0.0
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        rows = mechanism.log_channel(members)[:, members]
        least_weight = min(least_weight, _least_log_weight(rows))
        span = np.ptp(rows, axis=0)
        column = int(span.argmax())
        if span[column] > worst.ratio:
            first, second = members[rows[:, column].argmax()], members[rows[:, column].argmin()]
            worst = WorstWords(float(span[column]), 0.0, int(first), int(second))
    return replace(worst, error=_error(mechanism, least_weight))


def _least_log_weight(rows: Floats) -> float:
    """Returns the logarithm of the rows' least weight that is not 0, relative to each row's largest."""
    relative = rows - rows.max(axis=1, keepdims=True)
    return float(relative[relative > -np.inf].min())


def _error(mechanism: WordRows, least_weight: float) -> float:
    """Returns what rounding can change a log-ratio by: two weights and two totals, and the least weight by one.

    A weight that is recomputed with another rounding may be floored one higher or lower.
    """
    floored = math.log1p(math.exp(-least_weight) * 2.0 ** -unit_bits(mechanism.points.words))
    return 4 * mechanism.log_weight_error + floored + 2.0**-20
