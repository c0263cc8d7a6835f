"""The exact channel law over a public vocabulary: the one engine of the decoder and of the attacks."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, Observed
from mechanisms.quantizer import StochasticQuantizer, level_thresholds
from mechanisms.spec import WORD_BITS, QuantizerSpec

if TYPE_CHECKING:  # the client imports no torch
    from torch import Tensor

    from mechanisms.device_channel import Law

BLOCK_ROWS = 256
"""Tokens worked on at once at most: with 49,152 words a block of scores takes 48 MiB."""
MEMORY_LIMIT = 64 << 20
"""Bytes that a block of scores may take unless told otherwise."""
CHUNK_ROWS = 4
"""Rows of a block that are exponentiated together: they stay in a processor's cache."""


@dataclass(frozen=True, slots=True)
class Channel:
    """log P(counts | word) for every word of a vocabulary (docs/theory.md, theorem 7), less a constant of the counts.

    The probabilities are those of the integer thresholds, so this is the released law itself, not a model of it.
    weights: float32, shape (dim, words), the log-odds of a trial. offsets: float32, shape (words,). memory_limit: bytes
    of a block of scores at most.
    """

    spec: QuantizerSpec
    weights: NDArray[np.float32]
    offsets: NDArray[np.float32]
    memory_limit: int = MEMORY_LIMIT

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
        self, counts: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, scores): blocks of log P(counts | word) + log_prior[word], float32, shape (rows, words).

        counts: shape (tokens, dim). There is one block at any time: it is the caller's to overwrite, and overwritten by
        the next. Raises UserError for counts of another shape, for a prior over another vocabulary, and for a memory
        limit below one token's scores.
        """
        self._check(counts)
        if log_prior is not None and log_prior.shape != self.offsets.shape:
            raise UserError(f"Expected a prior over {self.words} words, got shape {log_prior.shape}.")
        if self.memory_limit < 4 * self.words:
            raise UserError(
                f"Expected memory_limit >= {4 * self.words} bytes, one token's scores over {self.words} words, "
                f"got memory_limit={self.memory_limit}."
            )
        offsets = self.offsets if log_prior is None else (self.offsets + log_prior).astype(np.float32)
        weights = np.concatenate([self.weights, offsets[None]])
        height = min(BLOCK_ROWS, self.memory_limit // (4 * self.words), len(counts))
        block = np.empty((height, self.words), dtype=np.float32)
        ones = np.ones((len(counts), 1), dtype=np.float32)  # their column adds the offsets within the matrix product
        factors = np.concatenate([counts.astype(np.float32), ones], axis=1)
        for start in range(0, len(counts), max(height, 1)):
            rows = slice(start, min(start + height, len(counts)))
            yield rows, np.matmul(factors[rows], weights, out=block[: rows.stop - start])

    def law_on(self, device: str) -> "Law":
        """Returns the law in torch, its weights on a device (mechanisms.device_channel)."""
        import torch

        weights, offsets = (torch.from_numpy(part).to(device) for part in (self.weights, self.offsets))

        def law(counts: Observed) -> "Tensor":
            self._check(counts)
            return torch.addmm(offsets, torch.from_numpy(counts.astype(np.float32)).to(device), weights)

        return law

    def _check(self, counts: Observed) -> None:
        """Raises UserError for counts of another shape."""
        if counts.ndim != 2 or counts.shape[1] != self.spec.dim:
            raise UserError(f"Expected counts of shape (tokens, dim={self.spec.dim}), got shape {counts.shape}.")


def most_likely(
    channel: KnownChannel, counts: Observed, log_prior: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Returns the word of largest score for each token, int64, shape (tokens,): ML, or MAP under a prior."""
    best = np.empty(len(counts), dtype=np.int64)
    for rows, scores in channel.scores(counts, log_prior):
        best[rows] = scores.argmax(axis=1)
    return best


def posterior_mean(
    channel: KnownChannel,
    counts: Observed,
    log_prior: NDArray[np.float64],
    table: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Returns E[row of table | counts] for each token, float32, shape (tokens, table's width) (theorem 8)."""
    means = np.empty((len(counts), table.shape[1]), dtype=np.float32)
    for rows, scores in channel.scores(counts, log_prior):
        totals, _ = exponentiate(scores)
        means[rows] = scores @ table / totals[:, None]
    return means


def posterior(
    channel: KnownChannel,
    counts: Observed,
    log_prior: NDArray[np.float64],
    table: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns posterior_mean and the posterior's entropy, nats, float32, shape (tokens,): how unsure the server is."""
    means = np.empty((len(counts), table.shape[1]), dtype=np.float32)
    entropies = np.empty(len(counts), dtype=np.float32)
    for rows, scores in channel.scores(counts, log_prior):
        totals, energies = exponentiate(scores, energies=True)
        means[rows] = scores @ table / totals[:, None]
        entropies[rows] = np.maximum(np.log(totals) - energies / totals, 0)
    return means, entropies


def exponentiate(
    scores: NDArray[np.float32], energies: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Overwrites each row s with w = exp(s - max s); returns sum w and, where asked for, sum w ln w, shape (rows,)."""
    totals, sums = np.empty(len(scores), np.float32), np.zeros(len(scores), np.float32)
    for start in range(0, len(scores), CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        chunk = scores[rows]
        chunk -= chunk.max(axis=1, keepdims=True)
        logs = chunk.copy() if energies else chunk
        np.exp(chunk, out=chunk)
        totals[rows] = chunk.sum(axis=1)
        if energies:
            sums[rows] = np.einsum("ij,ij->i", chunk, logs)
    return totals, sums
