"""What a client checks of a tokenized prompt before anything is drawn."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError


def checked_tokens(tokens: Sequence[int], words: int) -> NDArray[np.int64]:
    """Returns the tokens, int64, shape (tokens,).

    Raises UserError for an empty prompt, for what is no whole number, and for a token outside the vocabulary.
    """
    if not len(tokens):
        raise UserError("Expected a prompt of at least one token, got an empty prompt.")
    array = np.asarray(tokens)
    if array.ndim != 1 or not np.issubdtype(array.dtype, np.integer):
        raise UserError(f"Expected tokens to be whole numbers in a row, got {array.dtype} of shape {array.shape}.")
    outside = array[(array < 0) | (array >= words)]
    if outside.size:
        raise UserError(f"Expected tokens in 0..{words - 1}, got {int(outside[0])}: another tokenizer's?")
    return array.astype(np.int64)
