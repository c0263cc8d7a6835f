"""Whether how long an answer takes tells two inputs apart: an exact rank test on calls in random order."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import mannwhitneyu

from del_audit.evidence.verification.finding import Part
from mechanisms.randomness import Generator

FEWEST = 6
MEANING = (
    "How long the client takes depends on the text, and whoever sees its traffic sees when messages leave. Look for "
    "early exits, loops until a value fits, and caches."
)


def time_part(first: Sequence[float], second: Sequence[float], rng: Generator, what: str) -> Part:
    """Returns the exact two-sided Mann-Whitney test of two sets of durations, ties in random order.

    Valid by randomization: which call was of which kind was drawn at random, so without a difference all orders of
    the kinds are equally likely, however the machine's speed drifts.
    """
    count, other = len(first), len(second)
    if min(count, other) < FEWEST:
        return Part(1.0, f"Nothing to test: fewer than {FEWEST} calls of a kind ({what}).")
    seconds = np.concatenate([first, second])
    ranks = np.empty(len(seconds))
    ranks[np.lexsort((rng.random(len(seconds)), seconds))] = np.arange(len(seconds))
    p = float(mannwhitneyu(ranks[:count], ranks[count:], method="exact").pvalue)
    medians = [1e6 * float(np.median(side)) for side in (first, second)]
    text = f"{what}: medians {medians[0]:.1f} and {medians[1]:.1f} microseconds over {count} and {other} calls"
    return Part(min(1.0, p), text)
