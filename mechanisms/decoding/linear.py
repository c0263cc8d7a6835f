"""The linear decoder in closed form; the paper's trained one is mechanisms.trained_projection.TrainedDecoder."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.decoding.public_parts import CodeParts
from mechanisms.encoder import Encoder
from mechanisms.mechanism import Observed
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.table_sums import cross_sum, weighted_sum


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
    def of(cls, parts: CodeParts) -> "LinearDecoder":
        """Returns the parts' own linear decoder where it is in closed form, else the fit."""
        if isinstance(parts.linear, cls):
            return parts.linear
        return cls.fit(parts.quantizer, parts.encoder, parts.prior, parts.table)

    @classmethod
    def fit(
        cls, quantizer: StochasticQuantizer, encoder: Encoder, prior: NDArray[np.float64], table: NDArray[np.float32]
    ) -> "LinearDecoder":
        """Returns the Wiener decoder: the quantizer's variance (A^2 - v^2) / u is part of the fit."""
        spec, codes = quantizer.spec, encoder.codes.astype(np.float64)
        mean, centre = weighted_sum(table, prior), prior @ codes
        weighted = (codes - centre) * prior[:, None]
        noise = (spec.scale**2 - prior @ codes**2) / spec.trials
        covariance = weighted.T @ (codes - centre) + np.diag(noise)
        matrix = np.asarray(np.linalg.solve(covariance, cross_sum(weighted, table, mean)).T, dtype=np.float64)
        return cls(quantizer, matrix, mean, centre)

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        released = self.quantizer.dequantize(counts) - self.centre
        return (self.mean + released @ self.matrix.T).astype(np.float32)
