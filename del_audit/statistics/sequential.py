"""A rate's interval that holds however often it is looked at, so that one may stop once a limit is decided.

Betting (Waudby-Smith and Ramdas, 2024): who believes in the rate m bets on h - m n of each document, h hits among n
tokens. Where m is the ratio of expectations E[h] / E[n], no way of betting that looks only at earlier documents is
expected to win, and by Ville's inequality a capital of 2 / (1 - confidence) times the stake is reached at any time with
probability (1 - confidence) / 2 at most. The rates against which neither side has won so much are the interval.
"""

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from del_audit.statistics.bootstrap import Clusters, group
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import require_longest
from mechanisms.errors import UserError

METHOD = "betting confidence sequence"
KIND = "estimated, valid at any stopping time"
MOST_STAKED = 0.9
"""Share of the capital that the worst document can take: less than all, so that nobody is ever ruined."""
FIRST_GUESS = 0.25
"""Weight, in documents, of what is assumed of the rate and its scatter before any document is seen."""
HALVINGS = 50

Floats = NDArray[np.float64]
Decision = Literal["passed", "failed"]


def sequential_rate(
    hits: ArrayLike,
    clusters: Clusters,
    unit: str,
    sample_unit: str,
    horizon: int,
    longest: int,
    confidence: float = 0.95,
) -> Figure:
    """Returns the share of hits with an interval that holds at whatever document one stops.

    hits: bool, shape (trials,), documents in the order in which they were attacked. clusters: the document of each,
    those of one document in any place; None takes every trial for one. horizon: documents that there are to attack:
    bets are aimed at an interval that is short there. longest: the most trials that one document can have, known
    before any is attacked. Trials of one document may depend on each other in any way, documents
    are independent draws. Raises UserError for hits that are not true or false or none, and as sequential_ends.
    """
    array = np.asarray(hits)
    if array.dtype != np.bool_ or array.ndim != 1 or not array.size:
        raise UserError(f"Expected hits to be true or false, at least one, got {array.dtype} of shape {array.shape}.")
    grouped = group(clusters, len(array))
    read, sizes = grouped.sums(array.astype(np.float64)), grouped.sums(np.ones(len(array)))
    lower, upper = sequential_ends(read, sizes, longest, horizon, confidence)
    value = float(array.mean())
    ends = min(value, lower), max(value, upper)
    return Figure(value, *ends, unit, len(array), sample_unit, METHOD, confidence, KIND, documents=grouped.documents)


def sequential_ends(
    read: Floats, sizes: Floats, longest: int, horizon: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Returns the ends of the interval for sum(read) / sum(sizes)'s expectation, after the documents given, in order.

    read, sizes: hits and trials of each document, shape (documents,). Either end fails at any time with probability
    (1 - confidence) / 2 at most. Raises UserError for confidence outside (0, 1), horizon < 1, and a document of more
    than `longest` trials.
    """
    decisive = math.log(2 / (1 - _checked(sizes, longest, horizon, confidence)))
    bets = _bets(read, sizes, longest, horizon, confidence)

    def excluded(rate: float, below: bool) -> bool:
        return bool(_log_capital(read, sizes, longest, bets, rate, below)[-1] >= decisive)

    lower, upper = (_edge(excluded, below) for below in (False, True))
    return lower, upper


def capital(
    read: Floats, sizes: Floats, longest: int, horizon: int, rate: float, confidence: float = 0.95
) -> tuple[Floats, Floats]:
    """Returns the logarithm of both sides' capital against a rate in (0, 1), after each document, shape (documents,).

    First of those who bet that the true rate is above it, then below it. The interval leaves the rate out where one
    exceeds log(2 / (1 - confidence)). Raises UserError as sequential_ends does, and for a rate outside (0, 1).
    """
    _checked(sizes, longest, horizon, confidence)
    if not 0 < rate < 1:
        raise UserError(f"Expected rate in (0, 1), got rate={rate}.")
    bets = _bets(read, sizes, longest, horizon, confidence)
    above, below = (_log_capital(read, sizes, longest, bets, rate, up) for up in (False, True))
    return above, below


def decided(figure: Figure, limit: float) -> Decision | None:
    """Returns whether the figure's whole interval is within an upper limit, or beyond it; None where it holds it."""
    if figure.upper <= limit:
        return "passed"
    return "failed" if figure.lower > limit else None


def _checked(sizes: Floats, longest: int, horizon: int, confidence: float) -> float:
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    if horizon < 1:
        raise UserError(f"Expected horizon >= 1 document, got horizon={horizon}.")
    require_longest(sizes, longest)
    if not len(sizes) or sizes.min() <= 0:
        got = f"one of {sizes.min():g}" if len(sizes) else "no document"
        raise UserError(f"Expected documents of at least one trial, got {got}.")
    return confidence


def _bets(read: Floats, sizes: Floats, longest: int, horizon: int, confidence: float) -> Floats:
    """Returns what two bettors stake on each document, shape (2, documents), from earlier documents alone.

    Both stake what is best against a scatter as seen so far: the first for a last look at the horizon, the second for
    looks at any time, which costs a little there and lets a clear case stop early.
    """
    before = np.concatenate([np.zeros((2, 1)), np.cumsum([read, sizes], axis=1)[:, :-1]], axis=1)
    rates = (before[0] + FIRST_GUESS * longest / 2) / (before[1] + FIRST_GUESS * longest)
    squares = ((read - rates * sizes) / longest) ** 2
    seen = np.arange(len(read))
    scatter = (FIRST_GUESS / 16 + np.concatenate([[0.0], np.cumsum(squares)[:-1]])) / (seen + FIRST_GUESS)
    looks = np.stack([np.full(len(read), float(horizon)), (seen + 1) * np.log1p(seen + 1)])
    return np.asarray(np.sqrt(2 * math.log(2 / (1 - confidence)) / (scatter * looks)))


def _log_capital(read: Floats, sizes: Floats, longest: int, bets: Floats, rate: float, below: bool) -> Floats:
    """Returns the logarithm of the bettors' mean capital after each document; monotone in the rate.

    below: of those who bet that the true rate is below; otherwise, above.
    """
    gains = (read - rate * sizes) / longest
    if below:
        gains, rate = -gains, 1 - rate
    each = np.cumsum(np.log1p(np.minimum(bets, MOST_STAKED / rate) * gains), axis=1)
    return np.asarray(np.logaddexp(each[0], each[1]) - math.log(2))


def _edge(excluded: Callable[[float, bool], bool], below: bool) -> float:
    """Returns the rate in [0, 1] where exclusion begins, on its excluded side; 0 or 1 where nothing is excluded.

    below: of those who bet that the true rate is below, who exclude the high ones.
    """
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if not low < middle < high:
            break
        if excluded(middle, below) == below:
            high = middle
        else:
            low = middle
    return high if below else low
