"""Decoders: from released counts back to embeddings, at the server. All of it is post-processing: free of epsilon."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel, posterior_mean
from mechanisms.encoder import Encoder
from mechanisms.quantizer import StochasticQuantizer


class Decoder(Protocol):
    """Whatever turns counts, shape (tokens, dim), into embeddings, float32, shape (tokens, width)."""

    def decode(self, counts: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns one embedding a token."""
        ...


@dataclass(frozen=True, slots=True)
class LinearDecoder:
    """The best affine decoder in squared error under the prior: e' = mean + D (y - centre), in closed form.

    matrix: float64, shape (width, dim). mean: shape (width,). centre: shape (dim,).
    """

    quantizer: StochasticQuantizer
    matrix: NDArray[np.float64]
    mean: NDArray[np.float64]
    centre: NDArray[np.float64]

    @classmethod
    def fit(
        cls, quantizer: StochasticQuantizer, encoder: Encoder, prior: NDArray[np.float64], table: NDArray[np.float32]
    ) -> "LinearDecoder":
        """Returns the Wiener decoder: the quantizer's variance (A^2 - v^2) / u is part of the fit."""
        spec, codes = quantizer.spec, encoder.codes.astype(np.float64)
        mean, centre = prior @ table.astype(np.float64), prior @ codes
        weighted = (codes - centre) * prior[:, None]
        noise = (spec.scale**2 - prior @ codes**2) / spec.trials
        covariance = weighted.T @ (codes - centre) + np.diag(noise)
        matrix = np.asarray(np.linalg.solve(covariance, weighted.T @ (table - mean)).T, dtype=np.float64)
        return cls(quantizer, matrix, mean, centre)

    def decode(self, counts: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        released = self.quantizer.dequantize(counts) - self.centre
        return (self.mean + released @ self.matrix.T).astype(np.float32)


@dataclass(frozen=True, slots=True)
class PosteriorMeanDecoder:
    """e' = mean + gain (E[e | counts] - mean) under a unigram prior (docs/theory.md, theorem 8).

    gain = 1 has the smallest squared error but shrinks towards the mean, off the embeddings that the model
    knows. gain = 1 / sqrt(1 - relative squared error) gives back the spread of real embeddings: by the law of total
    variance the posterior mean's spread is the table's less its squared error.
    """

    channel: Channel
    log_prior: NDArray[np.float64]
    table: NDArray[np.float32]
    mean: NDArray[np.float64]
    gain: float = 1.0

    @classmethod
    def fit(
        cls,
        channel: Channel,
        prior: NDArray[np.float64],
        table: NDArray[np.float32],
        public_counts: NDArray[np.uint8],
        public_tokens: NDArray[np.int64],
    ) -> "PosteriorMeanDecoder":
        """Returns the decoder whose gain gives the decoded public tokens the spread of their true embeddings.

        public_counts: a simulated release of public_tokens, shape (tokens, dim).
        """
        mean = prior @ table
        plain = cls(channel, np.log(prior), table, mean)
        decoded = plain.decode(public_counts)
        true_spread = float(((table[public_tokens] - mean) ** 2).sum())
        spread = float(((decoded - mean) ** 2).sum())
        return cls(channel, plain.log_prior, table, mean, gain=float(np.sqrt(true_spread / spread)))

    def decode(self, counts: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        means = posterior_mean(self.channel, counts, self.log_prior, self.table)
        return (self.mean + self.gain * (means - self.mean)).astype(np.float32)
