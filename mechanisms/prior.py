"""The unigram prior over a vocabulary, from public text."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError

PSEUDO_COUNT = 0.05
"""Added to each word's count: words that the public text lacks keep a small probability."""


def unigram_prior(documents: Iterable[Sequence[int]], vocabulary: int) -> NDArray[np.float64]:
    """Returns the smoothed share of each word in tokenized public documents, float64, shape (vocabulary,), sum 1.

    Raises UserError for no tokens at all, and for a token outside the vocabulary.
    """
    tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents] or [np.empty(0, int)])
    if not tokens.size:
        raise UserError("Expected public text with at least one token, got none.")
    outside = tokens[(tokens < 0) | (tokens >= vocabulary)]
    if outside.size:
        raise UserError(f"Expected tokens in 0..{vocabulary - 1}, got {int(outside[0])}: another tokenizer's?")
    counts = np.bincount(tokens, minlength=vocabulary) + PSEUDO_COUNT
    return np.asarray(counts / counts.sum())
