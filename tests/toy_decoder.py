"""A decoder that the registry does not have: a test adds its row."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.decoding import Decoder, PublicParts


@dataclass(frozen=True, slots=True)
class Halfway:
    """Half of the linear decoder's embedding, half of the mean embedding."""

    linear: Decoder
    mean: NDArray[np.float64]
    opening: int

    @classmethod
    def of(cls, parts: PublicParts) -> Self:
        """Returns it with the length of the soft prompt, which shows that it was given one."""
        opening = 0 if parts.soft_prompt is None else len(parts.soft_prompt.vectors)
        return cls(parts.linear, parts.prior @ parts.table, opening)

    def decode(self, counts: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        return ((self.linear.decode(counts) + self.mean) / 2).astype(np.float32)
