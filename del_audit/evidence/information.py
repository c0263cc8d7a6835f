"""What a release tells of a token on average, in nats, before any attack: the mutual information under the prior."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.base import AttackerKnowledge
from del_audit.statistics.bootstrap import bootstrap_mean
from del_audit.statistics.figure import Figure

INFORMATION_TOKENS = 4_000
"""Public tokens that it is measured on, about: whole prompts, so a few more."""
NATS = "nats per token"


def information(
    public: AttackerKnowledge,
    release: Callable[[Sequence[int]], bytes],
    documents: Sequence[Sequence[int]],
    owners: Sequence[Hashable],
    longest: int,
    seed: int,
    tokens: int = INFORMATION_TOKENS,
) -> Figure:
    """Returns the mean of log P(release | word) - log sum over v of prior(v) P(release | v), nats per token.

    public: its mechanism released, its prior is the one in the sum. release: the client of that mechanism, of one
    sending. documents: tokenized public ones, each cut to `longest` tokens, the first of so many tokens together;
    owners: whose each is, what the interval counts. seed: of the interval's draws. Raises UserError as the client does,
    for a mechanism whose law is not known, and for documents of fewer than two owners.
    """
    chosen: list[list[int]] = []
    clusters: list[Hashable] = []
    for document, owner in zip(documents, owners, strict=True):
        if len(clusters) >= tokens:
            break
        if cut := list(document[:longest]):
            chosen.append(cut)
            clusters += [owner] * len(cut)
    told = [_told(public, release(cut), cut) for cut in chosen]
    values = np.concatenate(told) if told else np.empty(0)
    return bootstrap_mean(values, NATS, "tokens", seed, clusters=clusters)


def _told(public: AttackerKnowledge, message: bytes, words: Sequence[int]) -> NDArray[np.float64]:
    """Returns what one message tells of each of its words, nats, shape (words,)."""
    observed, truth, log_prior = public.mechanism.observed(message), np.asarray(words), public.log_prior
    found = np.empty(len(truth))
    for rows, scores in public.channel.scores(observed):
        own = scores[np.arange(len(scores)), truth[rows]].astype(np.float64)
        found[rows] = own - logsumexp(scores + log_prior.astype(np.float32), axis=1)
    return found
