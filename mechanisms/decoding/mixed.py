"""A mix of the linear decoder and the posterior mean, fitted on a simulated public release."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.channel import Channel, posterior
from mechanisms.decoding.protocols import Decoder
from mechanisms.decoding.public_parts import CodeParts
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.table_sums import weighted_sum

if TYPE_CHECKING:  # which needs torch
    from mechanisms.device_channel import DeviceReader


@dataclass(frozen=True, slots=True)
class MixSettings:
    """bins: groups of tokens by the entropy of their posterior, of equal size, each with coefficients of its own.

    spread: 0 keeps the least squared error; 1 gives decoded tokens the spread of true embeddings, as the posterior
    mean's gain does; between, that power of it. spread_by_bin: restores it in each bin by itself: the uncertain
    tokens, which least squares shrinks most, are stretched most. Raises UserError for values out of range.
    """

    bins: int = 4
    spread: float = 1.0
    spread_by_bin: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.bins, bool) or not isinstance(self.bins, int) or not 1 <= self.bins <= 64:
            raise UserError(f"Expected bins in 1..64, got bins={self.bins!r}.")
        if not 0 <= self.spread <= 1:
            raise UserError(f"Expected spread in [0, 1], got spread={self.spread!r}.")


@dataclass(frozen=True, slots=True)
class MixedDecoder:
    """e' = mean + gain (a (linear - mean) + b (posterior mean - mean)), with a, b, gain by the posterior's entropy.

    What a + b leaves below 1 goes to the mean. linear: any decoder that reads tokens one by one, in closed form or
    trained. edges: the entropies that part the bins, nats, shape (bins - 1,). coefficients: a and b, shape (bins, 2).
    gains: shape (bins,). Since the coefficients are fitted for one quantizer, there is one such decoder a noise level.
    """

    linear: Decoder
    channel: Channel
    log_prior: NDArray[np.float64]
    table: NDArray[np.float32]
    mean: NDArray[np.float64]
    edges: NDArray[np.float64]
    coefficients: NDArray[np.float64]
    gains: NDArray[np.float64]
    on_device: "DeviceReader | None" = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, parts: CodeParts) -> "MixedDecoder":
        """Returns the mix of the parts' linear decoder and the posterior mean; raises UserError as fit does."""
        return cls.fit(
            *(parts.linear, parts.channel, parts.prior, parts.table, parts.released, parts.tokens),
            on_device=parts.on_device,
        )

    @classmethod
    def fit(
        cls,
        linear: Decoder,
        channel: Channel,
        prior: NDArray[np.float64],
        table: NDArray[np.float32],
        public_counts: Observed,
        public_tokens: NDArray[np.int64],
        settings: MixSettings | None = None,
        on_device: "DeviceReader | None" = None,
    ) -> "MixedDecoder":
        """Returns the decoder whose coefficients have the least squared error on the public release, in closed form.

        public_counts: a simulated release of public_tokens, shape (tokens, dim). on_device: what reads the channel in
        its place. Raises UserError for fewer than 32 tokens a bin.
        """
        settings = settings if settings is not None else MixSettings()
        if len(public_tokens) < 32 * settings.bins:
            raise UserError(f"Expected {32 * settings.bins} public tokens or more, got {len(public_tokens)}.")
        mean, log_prior = weighted_sum(table, prior), np.log(prior)
        means, entropies = _read(on_device, channel, public_counts, log_prior, table)
        parts = np.stack([linear.decode(public_counts) - mean, means - mean])
        true = table[public_tokens] - mean
        edges = np.quantile(entropies.astype(np.float64), np.arange(1, settings.bins) / settings.bins)
        bins = np.digitize(entropies, edges)
        coefficients = np.tile(_least_squares(parts, true), (settings.bins, 1))
        for group in np.unique(bins):  # a bin without tokens, where entropies tie, keeps the common coefficients
            coefficients[group] = _least_squares(parts[:, bins == group], true[bins == group])
        decoded = np.einsum("tp,ptw->tw", coefficients[bins], parts)
        gains = np.full(settings.bins, _spread_ratio(decoded, true) ** settings.spread)
        if settings.spread_by_bin:
            for group in np.unique(bins):
                gains[group] = _spread_ratio(decoded[bins == group], true[bins == group]) ** settings.spread
        return cls(linear, channel, log_prior, table, mean, edges, coefficients, gains, on_device)

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        means, entropies = _read(self.on_device, self.channel, counts, self.log_prior, self.table)
        bins = np.digitize(entropies, self.edges)
        share = (self.gains[:, None] * self.coefficients)[bins]
        mixed = share[:, :1] * (self.linear.decode(counts) - self.mean) + share[:, 1:] * (means - self.mean)
        return (self.mean + mixed).astype(np.float32)


def _read(
    on_device: "DeviceReader | None",
    channel: Channel,
    counts: Observed,
    log_prior: NDArray[np.float64],
    table: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return posterior(channel, counts, log_prior, table) if on_device is None else on_device.posterior(counts)


def _least_squares(parts: NDArray[np.float64], true: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the coefficients of parts, shape (parts, tokens, width), nearest to true; the smallest where several."""
    moments = np.einsum("ptw,qtw->pq", parts, parts)
    solution: NDArray[np.float64] = np.linalg.lstsq(moments, np.einsum("ptw,tw->p", parts, true), rcond=1e-9)[0]
    return solution


def _spread_ratio(decoded: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Returns the factor that gives decoded rows the mean squared length of the true ones; 1 where they have none."""
    size = float((decoded**2).sum())
    return float(np.sqrt((true**2).sum() / size)) if size > 0 else 1.0
