"""Public text that attackers are trained on, in windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.randomness import Generator


@dataclass(frozen=True, slots=True)
class Text:
    """Documents to draw windows from. tokens: of all of them, int64. starts, ends: of each, int64."""

    tokens: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, documents: Sequence[Sequence[int]]) -> "Text":
        """Returns the text of documents, each with a token."""
        ends = np.cumsum([len(document) for document in documents])
        tokens = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents])
        return cls(tokens, np.concatenate([[0], ends[:-1]]), ends)

    def draw(self, window: int, count: int, generator: Generator) -> list[NDArray[np.int64]]:
        """Returns windows of at most window tokens of one document each, around tokens drawn uniformly.

        The drawn token is the middle one, but a window never starts before its document: so more windows start
        where documents do, as prompts do.
        """
        middles = generator.integers(0, len(self.tokens), size=count)
        documents = np.searchsorted(self.ends, middles, side="right")
        starts = np.maximum(self.starts[documents], middles - window // 2)
        ends = np.minimum(self.ends[documents], starts + window)
        return [self.tokens[start:end] for start, end in zip(starts, ends, strict=True)]
