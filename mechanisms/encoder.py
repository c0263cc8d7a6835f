"""The encoder: one code for each word of a public vocabulary, a byte a coordinate."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.levels import LEVELS, from_levels, to_levels


@dataclass(frozen=True, slots=True)
class Encoder:
    """One code for each word: v = clip(E (e - centre)), tabulated, since the vocabulary is public.

    levels: uint8, shape (words, dim), each below 255 (mechanisms/levels.py): 885 kB for 49,152 words of 18 coordinates.
    clip: what the outermost levels stand for. Raises UserError for another type or shape, a level 255, and clip <= 0.
    """

    levels: NDArray[np.uint8]
    clip: float

    def __post_init__(self) -> None:
        if self.levels.dtype != np.uint8 or self.levels.ndim != 2 or not self.levels.size:
            shape = f"{self.levels.dtype} of shape {self.levels.shape}"
            raise UserError(f"Expected levels to be bytes of shape (words >= 1, dim >= 1), got {shape}.")
        if self.levels.max() >= LEVELS:
            raise UserError(f"Expected levels in 0..{LEVELS - 1}, got {self.levels.max()}.")
        if not 0 < self.clip < float("inf"):
            raise UserError(f"Expected clip to be a finite number > 0, got clip={self.clip}.")

    @classmethod
    def of(cls, codes: ArrayLike, clip: float) -> "Encoder":
        """Returns the encoder of codes, floats of shape (words, dim): clipped, and rounded to the nearest level.

        Raises UserError for codes that are not finite or have another shape.
        """
        return cls(to_levels(codes, clip), float(clip))

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return int(self.levels.shape[0])

    @property
    def dim(self) -> int:
        """Coordinates of a code."""
        return int(self.levels.shape[1])

    @property
    def codes(self) -> NDArray[np.float32]:
        """The codes as numbers, float32, shape (words, dim), within [-clip, clip] up to rounding; a new array."""
        return from_levels(self.levels, self.clip).astype(np.float32)

    @property
    def sha256(self) -> str:
        """Hash of the codes: shape, clip and levels."""
        head = repr((self.levels.shape, self.clip)).encode()
        return hashlib.sha256(head + self.levels.tobytes()).hexdigest()

    def levels_of(self, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns the levels of tokens, uint8, shape (tokens, dim): what StochasticQuantizer.sample takes.

        Raises UserError for a token that the encoder has no row for.
        """
        outside = tokens[(tokens < 0) | (tokens >= self.words)]
        if outside.size:
            raise UserError(f"Expected tokens in 0..{self.words - 1}, got {int(outside[0])}: another tokenizer's?")
        return self.levels.take(tokens, axis=0)

    def encode(self, tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the codes of tokens as numbers, float32, shape (tokens, dim); raises UserError as levels_of does."""
        return from_levels(self.levels_of(tokens), self.clip).astype(np.float32)
