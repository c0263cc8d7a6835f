"""What the rivals send of a token, a word's number or the cells of a grid, and what every server of theirs does."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.randomness import RandomSource
from mechanisms.rivals._decoding import (
    Decoding,
    Scored,
    checked_server,
    decode,
    required_table,
)
from mechanisms.rivals._description import RivalSpec
from mechanisms.rivals._message import MessageFormat, grid_format, id_format
from mechanisms.tokens import checked_tokens


class WordSent:
    """Base: what is sent of a token is a word's number; a subclass draws it in `replace`."""

    spec: RivalSpec

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        raise NotImplementedError

    @property
    def format(self) -> MessageFormat:
        """The message's layout."""
        return id_format(self.spec.fingerprint, self.words)

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,)."""
        raise NotImplementedError

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.format.pack(self.replace(checked_tokens(tokens, self.words), source)[:, None])

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the released words of a message, int64, shape (tokens,); raises UserError as unpack does."""
        return self.format.unpack(message)[:, 0]


class CellsSent(Scored):
    """Base: what is sent of a token is a cell for each coordinate of its public vector.

    A subclass draws the cells in `quantize` and gives their centres and their law. bits, dim: of the grid. vectors:
    shape (words, dim), checked. prior: the server's, uniform if left out. decoding: what the server makes of cells.
    """

    spec: RivalSpec

    def __init__(
        self,
        bits: int,
        vectors: NDArray[np.float64],
        table: NDArray[np.float32] | None,
        prior: NDArray[np.float64] | None,
        decoding: Decoding,
        name: str,
    ) -> None:
        self.log_prior = checked_server(len(vectors), table, prior, decoding)
        self._bits, self._vectors, self.table, self.decoding, self.name = bits, vectors, table, decoding, name

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self._vectors)

    @property
    def format(self) -> MessageFormat:
        """The message's layout."""
        return grid_format(self.spec.fingerprint, self._vectors.shape[1], self._bits)

    def quantize(self, values: ArrayLike, source: RandomSource) -> NDArray[np.unsignedinteger]:
        """Returns released cells, shape (n, dim)."""
        raise NotImplementedError

    def centres(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the centres of cells, float64, the shape of the cells."""
        raise NotImplementedError

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.format.pack(self.quantize(self._vectors[checked_tokens(tokens, self.words)], source))

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the released cells of a message, int64, shape (tokens, dim); raises UserError as unpack does."""
        return self.format.unpack(message)

    def values(self, message: bytes) -> NDArray[np.float32]:
        """Returns the centres of the released cells, float32, shape (tokens, dim), for a decoder of one's own."""
        return self.centres(self.observed(message)).astype(np.float32)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width), or the cells' centres where decoding is plain.

        Raises UserError for a message of another mechanism, and where there is no table.
        """
        if self.decoding == "plain":
            return self.values(message)
        return decode(self, self.observed(message), self.log_prior, required_table(self.table), self.decoding)


def finite_rows(values: ArrayLike, dim: int, what: str = "values", rows: str = "n") -> NDArray[np.float64]:
    """Returns values as float64, shape (rows, dim); raises UserError for another shape, and for NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.shape[1] != dim or not np.isfinite(array).all():
        raise UserError(f"Expected finite {what} of shape ({rows}, dim={dim}), got {shape_and_values(array)}.")
    return array
