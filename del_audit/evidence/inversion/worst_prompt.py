"""The prompt that is read best, with an interval for the largest true success of any prompt, over the noise.

Released once, a prompt tells little about its own expected success unless its tokens are attacked one by one. Released
several times with fresh noise, it tells as much as there are releases, whatever the attack.
"""

from collections.abc import Callable

import numpy as np

from attacks.outcome import Outcome
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import unequal_rates
from del_audit.statistics.worst_of_releases import UNIT, method_of
from mechanisms.errors import UserError


def worst_prompt(outcome: Outcome, context_free: bool, confidence: float = 0.95) -> Figure:
    """Returns the largest success of any prompt, with an interval for the largest true one over the noise.

    Largest means: its interval must not be that of a prompt that was picked beforehand. The lower end is the largest
    of all prompts' lower limits, each at an equal share of the tail (Bonferroni). The upper end is the largest of all
    upper limits at the whole tail: it is no less than that of the prompt that is truly worst, which needs no share.
    context_free: the attack looks at one token at a time, so that a prompt's hits are independent given the prompt and
    Clopper-Pearson holds of them (their rates differ: Hoeffding, 1956). Otherwise nothing is known of their
    dependence and the limits are Markov's: little is certain of one prompt that was released once, and the upper end is
    (1 + confidence) / 2 at least. Release prompts several times for more (`worst_of_releases`).
    Raises UserError for no tokens and for confidence outside (0, 1).
    """
    if not len(outcome):
        raise UserError("Expected an outcome of at least one token, got none.")
    if not 0 < confidence < 1:
        raise UserError(f"Expected confidence in (0, 1), got confidence={confidence}.")
    numbers, place = np.unique(outcome.prompt, return_inverse=True)
    lengths = np.bincount(place)
    right = np.bincount(place, outcome.hits).astype(np.int64)
    share = (1 - confidence) / len(numbers)
    pairs = set(zip(right.tolist(), lengths.tolist(), strict=True))
    limits: Callable[[int, int, float], tuple[float, float]] = unequal_rates if context_free else _markov
    lower = max(limits(k, n, 1 - share)[0] for k, n in pairs)
    upper = max(limits(k, n, confidence)[1] for k, n in pairs)
    documents = len(set(outcome.clusters.tolist()))
    value = float((right / lengths).max())
    method = method_of("Clopper-Pearson" if context_free else "Markov", len(numbers))
    return Figure(value, lower, upper, UNIT, len(numbers), "prompts", method, confidence, documents=documents)


def _markov(successes: int, trials: int, confidence: float) -> tuple[float, float]:
    """Returns limits for the mean of one share in [0, 1] of unknown law: P(share >= x) <= mean / x, and so from 1."""
    tail, share = (1 - confidence) / 2, successes / trials
    return tail * share, 1 - tail * (1 - share)
