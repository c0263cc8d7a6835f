"""The exact channel law over a public vocabulary: the one engine of the decoder and of the attacks."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.spec import WORD_BITS, QuantizerSpec

BLOCK_ROWS = 256
"""Tokens worked on at once: with 49,152 words a block of scores takes 48 MiB."""


@dataclass(frozen=True, slots=True)
class Channel:
    """log P(counts | word) for every word of a vocabulary (docs/theory.md, theorem 7), less a constant of the counts.

    The probabilities are those of the integer thresholds, so this is the released law itself, not a model of it.
    weights: float32, shape (dim, words), the log-odds of a trial. offsets: float32, shape (words,).
    """

    spec: QuantizerSpec
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]

    @classmethod
    def of(cls, spec: QuantizerSpec, codes: NDArray[np.float32]) -> "Channel":
        """Returns the channel for a table of codes, shape (words, dim)."""
        levels = StochasticQuantizer(spec).levels(codes)
        success = level_thresholds(spec) / float(1 << WORD_BITS)
        failure = np.log1p(-success)
        weights = (np.log(success) - failure).astype(np.float32)[levels.T]
        return cls(spec, np.ascontiguousarray(weights), (spec.trials * failure[levels].sum(axis=1)).astype(np.float32))

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.offsets.size

    def scores(
        self, counts: NDArray[np.uint8], log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, scores): blocks of log P(counts | word) + log_prior[word], float32, shape (rows, words).

        counts: shape (tokens, dim). The yielded block is the caller's to overwrite.
        Raises UserError for counts of another shape and for a prior over another vocabulary.
        """
        if counts.ndim != 2 or counts.shape[1] != self.spec.dim:
            raise UserError(f"Expected counts of shape (tokens, dim={self.spec.dim}), got shape {counts.shape}.")
        if log_prior is not None and log_prior.shape != self.offsets.shape:
            raise UserError(f"Expected a prior over {self.words} words, got shape {log_prior.shape}.")
        offsets = self.offsets if log_prior is None else (self.offsets + log_prior).astype(np.float32)
        for start in range(0, len(counts), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(counts)))
            yield rows, counts[rows].astype(np.float32) @ self.weights + offsets


def most_likely(
    channel: Channel, counts: NDArray[np.uint8], log_prior: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Returns the word of largest score for each token, int64, shape (tokens,): ML, or MAP under a prior."""
    best = np.empty(len(counts), dtype=np.int64)
    for rows, scores in channel.scores(counts, log_prior):
        best[rows] = scores.argmax(axis=1)
    return best


def posterior_mean(
    channel: Channel, counts: NDArray[np.uint8], log_prior: NDArray[np.float64], table: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Returns E[row of table | counts] for each token, float32, shape (tokens, table's width) (theorem 8)."""
    means = np.empty((len(counts), table.shape[1]), dtype=np.float32)
    for rows, scores in channel.scores(counts, log_prior):
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        means[rows] = scores @ table / scores.sum(axis=1, keepdims=True)
    return means
