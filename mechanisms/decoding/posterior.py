"""Decoders from the exact posterior over the vocabulary under a unigram prior."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import most_likely, posterior_mean
from mechanisms.decoding.public_parts import PublicParts
from mechanisms.mechanism import KnownChannel, Observed
from mechanisms.table_sums import weighted_sum

if TYPE_CHECKING:  # which needs torch
    from mechanisms.device_channel import DeviceReader


@dataclass(frozen=True, slots=True)
class PosteriorMeanDecoder:
    """e' = mean + gain (E[e | counts] - mean) under a unigram prior (docs/theory.md, theorem 8).

    gain = 1 has the smallest squared error but shrinks towards the mean, off the embeddings that the model
    knows. gain = 1 / sqrt(1 - relative squared error) gives back the spread of real embeddings: by the law of total
    variance the posterior mean's spread is the table's less its squared error.
    """

    channel: KnownChannel
    log_prior: NDArray[np.float64]
    table: NDArray[np.float32]
    mean: NDArray[np.float64]
    gain: float = 1.0
    on_device: "DeviceReader | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, parts: PublicParts) -> "PosteriorMeanDecoder":
        """Returns the decoder with the gain of `fit` on the parts' simulated release."""
        return cls.fit(parts.channel, parts.prior, parts.table, parts.released, parts.tokens, parts.on_device)

    @classmethod
    def plain(cls, parts: PublicParts) -> "PosteriorMeanDecoder":
        """Returns the decoder with gain 1."""
        return cls(
            parts.channel,
            parts.log_prior,
            parts.table,
            weighted_sum(parts.table, parts.prior),
            on_device=parts.on_device,
        )

    @classmethod
    def fit(
        cls,
        channel: KnownChannel,
        prior: NDArray[np.float64],
        table: NDArray[np.float32],
        public_counts: Observed,
        public_tokens: NDArray[np.int64],
        on_device: "DeviceReader | None" = None,
    ) -> "PosteriorMeanDecoder":
        """Returns the decoder whose gain gives the decoded public tokens the spread of their true embeddings.

        public_counts: what a simulated release of public_tokens shows. on_device: what reads the channel in its place.
        """
        mean = weighted_sum(table, prior)
        plain = cls(channel, np.log(prior), table, mean, on_device=on_device)
        decoded = plain.decode(public_counts)
        true_spread = float(((table[public_tokens] - mean) ** 2).sum())
        spread = float(((decoded - mean) ** 2).sum())
        gain = float(np.sqrt(true_spread / spread))
        return replace(plain, gain=gain)

    def pooled(self, channel: KnownChannel) -> "PosteriorMeanDecoder":
        """Returns it with gain 1: the gain makes up for the shrinking of one release, and of several overshoots."""
        return replace(self, channel=channel, gain=1.0, on_device=self.on_device and self.on_device.over(channel))

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        if self.on_device is not None:
            means = self.on_device.posterior(counts)[0]
        else:
            means = posterior_mean(self.channel, counts, self.log_prior, self.table)
        return (self.mean + self.gain * (means - self.mean)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class MostLikelyDecoder:
    """The embedding of the most probable word under a unigram prior: always a real word's, right or wrong."""

    channel: KnownChannel
    log_prior: NDArray[np.float64]
    table: NDArray[np.float32]
    on_device: "DeviceReader | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, parts: PublicParts) -> "MostLikelyDecoder":
        """Returns the decoder under the parts' prior."""
        return cls(parts.channel, parts.log_prior, parts.table, parts.on_device)

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width), each a row of the table."""
        if self.on_device is not None:
            return self.table[self.on_device.most_likely(counts)]
        return self.table[most_likely(self.channel, counts, self.log_prior)]
