"""What a client checks of a tokenized prompt before anything is drawn, and which tokenizer made it."""

import json
import operator
from collections.abc import Iterable
from itertools import islice
from typing import SupportsIndex

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.library_types import PreTrainedTokenizerBase

_OF_THE_CALLER = ("truncation", "padding")


def checked_tokens(tokens: Iterable[int], words: int) -> NDArray[np.int64]:
    """Returns the tokens, int64, shape (tokens,): a copy, read once, so that what is checked is what is sent.

    tokens: anything that yields whole numbers; its own idea of its length is not asked.
    Raises UserError for an empty prompt, for what is no whole number, and for a token outside the vocabulary.
    """
    array = _row(tokens)
    if not array.size:
        raise UserError("Expected a prompt of at least one token, got an empty prompt.")
    outside = array[(array < 0) | (array >= words)]
    if outside.size:
        raise UserError(f"Expected tokens in 0..{words - 1}, got {int(outside[0])}: another tokenizer's?")
    return array


def _row(tokens: Iterable[int]) -> NDArray[np.int64]:
    if type(tokens) is np.ndarray:
        if tokens.size and (tokens.ndim != 1 or tokens.dtype.kind not in "iu"):
            shape = f"{tokens.dtype} of shape {tokens.shape}"
            raise UserError(f"Expected tokens to be whole numbers in a row, got {shape}.")
        return tokens.astype(np.int64)  # what does not fit turns negative, outside every vocabulary
    try:
        return np.array([_whole(token) for token in tokens], dtype=np.int64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"Expected tokens to be whole numbers in a row: {error}.") from None


def _whole(token: SupportsIndex) -> int:
    if isinstance(token, bool):
        raise TypeError(f"got {token}")
    return operator.index(token)


def tokenizer_sha256(tokenizer: PreTrainedTokenizerBase) -> str:
    """Returns the hash of a tokenizer's own description, without the cutting and padding that a caller may have set.

    tokenizer: of the tokenizers package, or from transformers. One that has no tokenizer.json is named by its
    vocabulary.
    """
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if hasattr(inner, "to_str"):
        content = {key: value for key, value in json.loads(inner.to_str()).items() if key not in _OF_THE_CALLER}
    else:
        content = tokenizer.get_vocab()
    return json_sha256(content)


def tokenized(
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[str],
    limit: int | None = None,
    shortest: int = 0,
    batch: int = 1000,
) -> list[list[int]]:
    """Returns the tokens of each text, without any that a tokenizer would add.

    limit: what a model's context holds; a longer text is cut there. shortest: texts of fewer tokens are left out.
    batch: texts that are read at once, since what a tokenizer tells of each beside its tokens takes much memory.
    """
    found: list[list[int]] = []
    left = iter(texts)
    while together := list(islice(left, batch)):
        rows = tokenizer(together, add_special_tokens=False).input_ids
        found.extend(list(row[:limit]) for row in rows if len(row) >= shortest)
    return found
