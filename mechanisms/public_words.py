"""All that is public about a vocabulary: what any mechanism, and its decoder, is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mechanisms.prior import unigram_prior


@dataclass(frozen=True)
class PublicWords:
    """table: the model's embeddings, float32, shape (words, width). documents: tokenized public text.

    seed: of all that is random in making a mechanism.
    """

    table: NDArray[np.float32]
    documents: Sequence[Sequence[int]]
    seed: int = 0

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self.table)

    @cached_property
    def prior(self) -> NDArray[np.float64]:
        """The unigram prior of the public text, float64, shape (words,); raises UserError as unigram_prior does."""
        return unigram_prior(self.documents, len(self.table))
