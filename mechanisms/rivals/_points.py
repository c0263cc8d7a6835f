"""Public points, one a word, and the distances between them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values

BLOCK_BYTES = 1 << 25
"""Memory of one block of rows over the vocabulary, in float64."""
_COLUMNS = 1 << 13


@dataclass(frozen=True)
class Points:
    """The public vectors that a mechanism measures distances between: embeddings, or codes of them.

    vectors: float32 or float64, shape (words, dim). Raises UserError for another shape, fewer than 2 words, and for
    NaN or infinite values.

    >>> Points(np.array([[0.0, 3.0], [4.0, 0.0]])).distances(np.array([0])).tolist()
    [[0.0, 5.0]]
    """

    vectors: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.vectors) < 2 or not np.isfinite(self.vectors).all():
            raise UserError(f"Expected finite points of shape (words >= 2, dim), got {shape_and_values(self.vectors)}.")

    @classmethod
    def of(cls, vectors: "Points | ArrayLike") -> "Points":
        """Returns the points themselves, or those of an array."""
        return vectors if isinstance(vectors, cls) else cls(np.asarray(vectors))

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self.vectors)

    @cached_property
    def sha256(self) -> str:
        """Hash of the points, shape and values."""
        values = np.ascontiguousarray(self.vectors)
        return hashlib.sha256(f"{values.dtype.str}{values.shape}".encode() + values.tobytes()).hexdigest()

    @cached_property
    def squares(self) -> NDArray[np.float64]:
        """Squared norms, shape (words,)."""
        return np.asarray(np.einsum("ij,ij->i", self.vectors, self.vectors, dtype=np.float64))

    @property
    def distance_error(self) -> float:
        """What rounding can add to a distance at most: of the norms' squares, so largest between neighbours."""
        dim = self.vectors.shape[1]
        return float(np.sqrt(4 * (dim + 4) * np.finfo(np.float64).eps * self.squares.max()))

    @property
    def diameter_bound(self) -> float:
        """Twice the largest distance from the mean: at least the largest distance of two points."""
        wide = self.vectors.astype(np.float64)
        return float(2 * np.linalg.norm(wide - wide.mean(axis=0), axis=1).max() * (1 + 1e-12))

    def diameter(self) -> float:
        """Returns the largest distance of two points, in one pass over all pairs."""
        return max(float(self.distances(words).max()) for words in self.blocks()) + self.distance_error

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        """Yields all words in blocks whose rows over the vocabulary take BLOCK_BYTES at most."""
        rows = max(1, BLOCK_BYTES // (8 * self.words))
        for start in range(0, self.words, rows):
            yield np.arange(start, min(start + rows, self.words))

    def distances(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the Euclidean distances of words to every word, float64, shape (words given, words); 0 to itself."""
        rows = self.vectors[words].astype(np.float64)
        squares = np.empty((len(words), self.words))
        for start in range(0, self.words, _COLUMNS):
            part = slice(start, start + _COLUMNS)
            squares[:, part] = rows @ self.vectors[part].astype(np.float64).T
        squares *= -2
        squares += self.squares[words][:, None]
        squares += self.squares
        np.maximum(squares, 0, out=squares)
        squares[np.arange(len(words)), words] = 0
        return np.sqrt(squares, out=squares)
