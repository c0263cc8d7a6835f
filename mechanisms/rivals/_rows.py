"""Mechanisms that release a word drawn by public weights: the sampler, the exact law, and the server's half."""

import hashlib
import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource
from mechanisms.rivals._decoding import Decoding, checked_server, decode, required_table
from mechanisms.rivals._draws import weighted_choices
from mechanisms.rivals._points import BLOCK_BYTES, Points
from mechanisms.rivals._sent import WordSent


def unit_bits(words: int) -> int:
    """Returns k: a word of the largest weight has the whole weight 2^k, or one more. All weights add up to below 2^63.

    >>> unit_bits(49152)
    46
    """
    return 62 - (words - 1).bit_length()


def whole_weights(log_weights: NDArray[np.float64], words: int) -> NDArray[np.uint64]:
    """Returns floor(2^k e^w) + 1 for log-weights w <= 0, and 0 for those of -inf, uint64, the same shape."""
    scaled = np.exp(log_weights) * 2.0 ** unit_bits(words)
    return np.where(np.isneginf(log_weights), 0, np.floor(scaled) + 1).astype(np.uint64)


class RowMechanism(WordSent):
    """Base: a subclass gives log_weights; what is released of a word is drawn by exactly whole_weights of its row.

    points: the public vectors between which distances are measured. table: the server's embeddings, float32, shape
    (words, width), needed there only. prior: the server's, shape (words,), uniform if left out. decoding: what the
    server makes of a number. Raises UserError for parts of another vocabulary than the spec's, or other points.
    """

    def __init__(
        self,
        points: Points,
        table: NDArray[np.float32] | None,
        prior: NDArray[np.float64] | None,
        decoding: Decoding,
        name: str,
    ) -> None:
        self.log_prior = checked_server(points.words, table, prior, decoding)
        self.points, self.table, self.decoding, self.name = points, table, decoding, name

    def log_weights(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the logarithm of each word's weight in the rows of words, largest 0 or less, shape (n, words)."""
        raise NotImplementedError

    @property
    def log_weight_error(self) -> float:
        """What rounding can change a log-weight by at most, from one computation of it to another."""
        raise NotImplementedError

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.points.words

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,), each drawn by the whole weights of its row."""
        different, inverse = np.unique(tokens, return_inverse=True)
        released = np.empty(len(tokens), dtype=np.int64)
        for rows in self._blocks(len(different)):
            weights = whole_weights(self.log_weights(different[rows]), self.words)
            for index, row in enumerate(weights, rows.start):
                places = np.flatnonzero(inverse == index)
                released[places] = weighted_choices(row, len(places), source)
        return released

    def log_channel(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns log P(released word | word) of the whole weights, float64, shape (words given, words)."""
        weights = whole_weights(self.log_weights(words), self.words).astype(np.float64)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(weights) - np.log(weights.sum(axis=1, keepdims=True)))

    @cached_property
    def log_totals(self) -> NDArray[np.float64]:
        """Logarithm of the sum of each word's weights, in units of 2^k, shape (words,): one pass over all pairs."""
        shift = unit_bits(self.words) * math.log(2)
        totals = [
            np.log(whole_weights(self.log_weights(words), self.words).astype(np.float64).sum(axis=1)) - shift
            for words in self.points.blocks()
        ]
        return np.concatenate(totals)

    def log_columns(self, observed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns log P(observed word | word), float64, shape (observed, words), for weights that are symmetric."""
        return self.log_weights(observed) - self.log_totals

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed | word) + log_prior[word]), float32, shape (rows, words)."""
        for rows in self._blocks(len(observed)):
            block = self.log_columns(np.asarray(observed[rows], dtype=np.int64))
            yield rows, (block if log_prior is None else block + log_prior).astype(np.float32)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width).

        Any decoding but plain needs log_totals, one pass over all pairs of words, the first time. Raises UserError for
        a message of another mechanism, and where there is no table.
        """
        observed, table = self.observed(message), required_table(self.table)
        if self.decoding == "plain":
            return table[observed]
        return decode(self, observed, self.log_prior, table, self.decoding)

    def _blocks(self, rows: int) -> Iterator[slice]:
        """Yields slices of rows over the vocabulary that take BLOCK_BYTES at most."""
        step = max(1, BLOCK_BYTES // (8 * self.words))
        for start in range(0, rows, step):
            yield slice(start, min(start + step, rows))


def public_hash(choice: NDArray[np.bool_] | NDArray[np.int64]) -> str:
    """Returns the hash of a public choice among the words: which are sensitive, or in which group each is."""
    return hashlib.sha256(np.ascontiguousarray(choice, dtype="<i8").tobytes()).hexdigest()


def same_points(points: Points, words: int, sha256: str) -> Points:
    """Returns the points; raises UserError unless they are those that a spec names."""
    if points.words != words or points.sha256 != sha256:
        raise UserError(
            f"Expected the {words} points of hash {sha256[:16]}, got {points.words} points of {points.sha256[:16]}."
        )
    return points
