"""The training loss: -log softmax over the vocabulary at the true word, its rare part estimated from a sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.inversion.contextual.evidence import Evidence
from attacks.inversion.contextual.reader import Reader
from mechanisms.mechanism import Observed
from mechanisms.nlu.states import padded
from mechanisms.randomness import Generator


@dataclass(frozen=True, slots=True)
class Negatives:
    """Words that stand for all that are not common. words: int64, shape (drawn,), with repeats.

    log_weight: added to a word's score, so that the sum over those drawn estimates the sum over all, float32.
    """

    words: NDArray[np.int64]
    log_weight: NDArray[np.float32]

    @classmethod
    def draw(cls, evidence: Evidence, count: int, generator: Generator) -> "Negatives":
        """Returns count words drawn by their prior among those that are not common; none where all are common."""
        rare = evidence.rare
        if not len(rare):
            return cls(np.empty(0, np.int64), np.empty(0, np.float32))
        share = np.exp(evidence.log_prior[rare])
        share /= share.sum()
        places = np.minimum(np.searchsorted(np.cumsum(share), generator.random(count), side="right"), len(rare) - 1)
        return cls(rare[places], -np.log(count * share[places]).astype(np.float32))


def sampled_loss(
    reader: Reader, windows: Sequence[NDArray[np.int64]], observed: Sequence[Observed], negatives: Negatives
) -> Tensor:
    """Returns the mean loss of the windows' tokens, nats, shape (), differentiable in the network.

    A token's softmax runs over the common words, over the negatives by their weights, and, where they are rare, over
    its own true word and the word released in its place: never over another token's, whose presence would tell.
    """
    evidence, network = reader.evidence, reader.network
    truth, together = np.concatenate(windows), np.concatenate(observed)
    own = [truth, together.astype(np.int64)] if evidence.repeats else [truth]
    looked_up = np.setdiff1d(np.concatenate(own), evidence.common)  # columns that are not summed over
    words = np.concatenate([evidence.common, negatives.words, looked_up])
    common, summed = len(evidence.common), len(words) - len(looked_up)
    starts = evidence.scores(together, words)
    features = evidence.features(together, starts[:, :common])
    corrections, repeated = network(*padded(torch.split(features, [len(part) for part in observed])))
    placed = evidence.placed
    rare = evidence.rows[placed(words[common:])]
    scores = starts + torch.cat([corrections @ network.rows.T + network.bias, corrections @ rare.T], 1)
    if repeated is not None:
        same = evidence.released_words(together)[:, None] == placed(words)
        scores = scores + same * repeated[:, None]
    sampled = scores[:, common:summed] + placed(negatives.log_weight)
    terms = [scores[:, :common]]
    for mine in own:
        place = evidence.places[mine]
        column = np.where(place < 0, summed + np.searchsorted(looked_up, mine), place)
        score = scores.gather(1, placed(column)[:, None])
        apart = place < 0 if mine is truth else (place < 0) & (mine != truth)
        terms.append(torch.where(placed(apart)[:, None], score, -torch.inf))
        sampled = sampled.masked_fill(placed(negatives.words == mine[:, None]), -torch.inf)  # not twice
        if mine is truth:
            true = score[:, 0]
    return (torch.logsumexp(torch.cat([*terms, sampled], 1), 1) - true).mean()
