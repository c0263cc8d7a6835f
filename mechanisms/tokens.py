"""What a client checks of a tokenized prompt before anything is drawn, and which tokenizer made it."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError

_OF_THE_CALLER = ("truncation", "padding")


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


def tokenizer_sha256(tokenizer: Any) -> str:
    """Returns the hash of a tokenizer's own description, without the cutting and padding that a caller may have set.

    tokenizer: of the tokenizers package, or from transformers. One that has no tokenizer.json is named by its
    vocabulary.
    """
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(inner, "to_str"):
        content = {key: value for key, value in json.loads(inner.to_str()).items() if key not in _OF_THE_CALLER}
    else:
        content = tokenizer.get_vocab()
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
