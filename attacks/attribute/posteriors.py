"""Which words each token of a prompt may be, with their probabilities: what naive Bayes through the channel reads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from mechanisms.mechanism import KnownChannel, Observed

Rows = NDArray[np.float64] | NDArray[np.object_] | csr_array
"""A view's rows: numbers, a bag of words, or objects: texts, sequences of token features, TokenPosteriors."""

LEAST, KEPT_CANDIDATES = 1e-5, 1024
"""Words of a token's posterior that are kept: the likeliest, of at least this probability; 8 kB a token at most.

Rare words tell most of an attribute, so a shorter list is a weaker attack: at mu = 10, d = 18, one release, held-out
balanced accuracy was .39 with all words above 1e-5 or 1e-6, .37 with these, and .27 (by another probe) with 1e-4.
"""

ROUNDING = 1e-3
"""Nats below the least score at which the exponential is still taken, which then decides."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenPosteriors:
    """One prompt as an attacker with the channel's law sees it, token by token.

    source: P(word | release), sparse, shape (tokens, words), or what computes it; what is left out of a row counts as
    neutral. prior: the one under which that was computed. text: the true tokens, in the training part alone, where the
    text is public.
    """

    source: csr_array | Callable[[], csr_array]
    prior: NDArray[np.float64]
    text: NDArray[np.int64] | None = None

    @property
    def words(self) -> csr_array:
        """P(word | release), sparse, shape (tokens, words): computed at each call, where it is not at hand."""
        return self.source() if callable(self.source) else self.source


def posteriors_of(
    channel: KnownChannel, observed: Observed, totals: Floats, log_prior: NDArray[np.float64]
) -> csr_array:
    """Returns the words that are kept of each token's posterior, with their probabilities, shape (tokens, words).

    totals: each token's sum over words of exp(score - largest score), float32, shape (tokens,): known from an earlier
    look, it spares most of the exponentials.
    """
    words, values = [], []
    for rows, scores in channel.scores(observed, log_prior):
        for row, total in zip(scores, totals[rows], strict=True):
            chosen, weights = _likeliest(row, total)
            words.append(chosen)
            values.append(weights / total)
    ends = np.cumsum([0, *map(len, words)])
    return csr_array((np.concatenate(values), np.concatenate(words), ends), shape=(len(observed), scores.shape[1]))


def _likeliest(scores: Floats, total: np.float32) -> tuple[NDArray[np.int32], Floats]:
    """Returns the words of one token that are kept, rising, with their weights exp(score - largest score)."""
    largest, least = scores.max(), np.float32(LEAST) * total
    words = np.flatnonzero(scores >= largest + np.log(least) - ROUNDING)
    weights = np.exp(scores[words] - largest)
    if np.count_nonzero(weights >= least) > KEPT_CANDIDATES:
        least = np.partition(weights, -KEPT_CANDIDATES)[-KEPT_CANDIDATES]
    kept = weights >= least
    return words[kept].astype(np.int32), weights[kept]
