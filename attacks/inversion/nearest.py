"""The paper's attack: the cosine nearest neighbour of the decoded vector in the embedding table."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import BLOCK_ROWS
from mechanisms.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class NearestNeighbour:
    """Weaker than the channel's own law allows, and here to be compared with it, never to certify by itself."""

    name: str = "cosine nearest neighbour (the paper's)"

    def guess(self, public: Pipeline, counts: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns the word whose embedding has the largest cosine with the linearly decoded vector."""
        return nearest_words(public.table, public.linear.decode(counts))


def nearest_words(table: NDArray[np.float32], decoded: NDArray[np.float32]) -> NDArray[np.int64]:
    """Returns the word whose row has the largest cosine with each decoded vector, int64, shape (tokens,).

    table: shape (words, width). decoded: shape (tokens, width), of any mechanism.
    """
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    directions = (table / np.maximum(lengths, np.finfo(np.float32).tiny)).T
    guesses = np.empty(len(decoded), dtype=np.int64)
    for start in range(0, len(decoded), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        guesses[rows] = (decoded[rows] @ directions).argmax(axis=1)
    return guesses
