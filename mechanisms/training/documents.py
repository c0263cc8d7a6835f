"""Tokenized documents as training reads them: checked, held out by lot, and as windows of one long text."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.randomness import Generator, simulation_generator


def require_tokens(documents: Sequence[Sequence[int]]) -> None:
    """Raises UserError for a corpus with empty documents, and for one without documents."""
    empty = [index for index, document in enumerate(documents) if not len(document)]
    if empty:
        raise UserError(
            f"Expected every document to have a token, got {len(empty)} empty ones, "
            f"the first at {empty[0]} (counted from 0)."
        )
    if not len(documents):
        raise UserError("Expected documents to train on, got none.")


def hold_out(
    documents: Sequence[Sequence[int]], count: int, seed: int
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Returns the documents to train on, in their order, and count others to validate on, drawn by lot.

    Raises UserError where fewer than one would be left to train on.
    """
    if count >= len(documents):
        raise UserError(f"Expected more than {count} documents, {count} of them to validate on, got {len(documents)}.")
    order = simulation_generator(seed, "held out documents").permutation(len(documents))
    held = set(order[:count].tolist())
    training = [document for index, document in enumerate(documents) if index not in held]
    return training, [documents[index] for index in order[:count]]


def split_long_enough(
    documents: Sequence[Sequence[int]], shortest: int, batch: int, held_out: int, seed: int
) -> tuple[list[Sequence[int]], list[Sequence[int]]]:
    """Returns the documents of `shortest` tokens or more: those to train on, and held_out others to validate on.

    Raises UserError where fewer than a batch would be left to train on.
    """
    long_enough = [document for document in documents if len(document) >= shortest]
    if len(long_enough) < batch + held_out:
        raise UserError(f"Expected {batch + held_out} documents of {shortest} tokens or more, got {len(long_enough)}.")
    return hold_out(long_enough, held_out, seed)


def joined(documents: Sequence[Sequence[int]], separator: int | None) -> NDArray[np.int64]:
    """Returns the documents as one text, int64, with the separator, where there is one, after each."""
    ends = [] if separator is None else [separator]
    return np.concatenate([np.asarray([*document, *ends], dtype=np.int64) for document in documents])


def draw_windows(text: NDArray[np.int64], window: int, count: int, generator: Generator) -> NDArray[np.int64]:
    """Returns windows of a text at places drawn uniformly, int64, shape (count, window).

    Raises UserError for a text shorter than a window.
    """
    if len(text) < window:
        raise UserError(f"Expected a corpus of at least window={window} tokens, got {len(text)}.")
    starts = generator.integers(0, len(text) - window + 1, size=count)
    return np.asarray(text[starts[:, None] + np.arange(window)])


def documents_sha256(documents: Sequence[Sequence[int]]) -> str:
    """Returns the hash of tokenized documents, their ends included: what a checkpoint must agree with."""
    digest = hashlib.sha256()
    for document in documents:
        digest.update(len(document).to_bytes(8, "little") + np.asarray(document, dtype="<i8").tobytes())
    return digest.hexdigest()
