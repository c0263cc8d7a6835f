"""The exact channel law turned against the release (docs/theory.md, theorem 7)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import most_likely
from mechanisms.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class MaximumLikelihood:
    """The word under which the counts are likeliest; knows the channel, no prior."""

    name: str = "maximum likelihood"

    def guess(self, public: Pipeline, counts: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns argmax over the vocabulary of log P(counts | word)."""
        return most_likely(public.channel, counts)


@dataclass(frozen=True, slots=True)
class MaximumAPosteriori:
    """The likeliest word under the unigram prior of public text: no context-free attacker does better on average."""

    name: str = "MAP, unigram prior"

    def guess(self, public: Pipeline, counts: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns argmax over the vocabulary of log P(counts | word) + log prior[word]."""
        return most_likely(public.channel, counts, np.log(public.prior))
