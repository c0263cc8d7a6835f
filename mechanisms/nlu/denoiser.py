"""The denoiser: a small transformer at the server that brings what the release gave nearer to what clean text gives.

After Mai et al., Split-and-Denoise (ICML 2024), as the DEL paper changes it. There the user, who knows the clean tokens
and the noise, denoises one pooled vector. Here the server denoises, and is given nothing but the release.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.nlu.initial import draw_parameters
from mechanisms.nlu.states import padded
from mechanisms.validation import at_least

Place = Literal["states", "embeddings"]


@dataclass(frozen=True, slots=True)
class DenoiserShape:
    """place: what is denoised, the language model's last hidden states, or the embeddings that it reads.

    layers: six, as the paper. inner: width between the layers, a multiple of heads.
    """

    place: Place = "states"
    layers: int = 6
    heads: int = 4
    inner: int = 192

    def __post_init__(self) -> None:
        if self.place not in get_args(Place):
            raise UserError(f"Expected place to be one of {', '.join(get_args(Place))}, got place={self.place!r}.")
        for name in ("layers", "heads", "inner"):
            at_least(name, getattr(self, name), 1)
        if self.inner % self.heads or self.inner % 2:
            raise UserError(f"Expected inner to be even and a multiple of heads={self.heads}, got inner={self.inner}.")

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        return asdict(self)


class Denoiser(nn.Module):
    """clean = mean + gain (noisy - noisy mean) + spread * network, coordinate by coordinate but for the network.

    Mean, gain and spread are the least-squares fit of each clean coordinate on its noisy one. The network, which sees
    all tokens of a release, starts at zero: what it learns comes on top of that fit.
    """

    mean: Tensor
    noisy_mean: Tensor
    noisy_spread: Tensor
    gain: Tensor
    spread: Tensor

    def __init__(self, width: int, shape: DenoiserShape, seed: int) -> None:
        super().__init__()
        self.width = width
        self.shape = shape
        for name, value in (("mean", 0.0), ("noisy_mean", 0.0), ("noisy_spread", 1.0), ("gain", 1.0), ("spread", 1.0)):
            self.register_buffer(name, torch.full((width,), value))
        with torch.random.fork_rng(devices=()):  # torch draws values that are replaced below
            self.read = nn.Linear(width, shape.inner)
            layer = nn.TransformerEncoderLayer(
                shape.inner, shape.heads, 4 * shape.inner, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.layers = nn.TransformerEncoder(layer, shape.layers, enable_nested_tensor=False)
            self.norm = nn.LayerNorm(shape.inner)
            self.write = nn.Linear(shape.inner, width)
        draw_parameters(self, seed, "denoiser")
        nn.init.zeros_(self.write.weight)

    def fit_affine(self, noisy: Sequence[Tensor], clean: Sequence[Tensor]) -> None:
        """Sets the coordinatewise fit from public pairs of sequences, each shape (tokens, width).

        Raises UserError for fewer than two tokens.
        """
        x, y = torch.cat(list(noisy)).double(), torch.cat(list(clean)).double()
        if len(x) < 2:
            raise UserError(f"Expected two public tokens or more for the denoiser, got {len(x)}.")
        x_mean, y_mean = x.mean(0), y.mean(0)
        variance, covariance = ((x - x_mean) ** 2).mean(0), ((x - x_mean) * (y - y_mean)).mean(0)
        still = variance <= 1e-12 * variance.max()  # coordinates that say nothing
        gain = torch.where(still, 0.0, covariance / variance.where(~still, torch.ones_like(variance)))
        spread = ((y - y_mean) ** 2).mean(0).sqrt()
        fitted = {
            "mean": y_mean,
            "noisy_mean": x_mean,
            "noisy_spread": torch.where(still, 1.0, variance.sqrt()),
            "gain": gain,
            "spread": spread.clamp(min=1e-6 * float(spread.max())),
        }
        for name, value in fitted.items():
            getattr(self, name).copy_(value)

    def forward(self, noisy: Tensor, mask: Tensor) -> Tensor:
        """Returns the estimate of the clean vectors, shape (rows, longest, width), like noisy.

        mask: bool, shape (rows, longest), True where a token is.
        """
        centred = noisy - self.noisy_mean
        inner = self.read(centred / self.noisy_spread) + _positions(noisy.shape[1], self.shape.inner, noisy.device)
        correction = self.write(self.norm(self.layers(inner, src_key_padding_mask=~mask)))
        estimate: Tensor = self.mean + self.gain * centred + self.spread * correction
        return estimate

    def denoise(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Returns the estimate for each sequence, shape (tokens, width)."""
        values, mask = padded([row.to(self.mean.device) for row in rows])
        return [row[: len(noisy)] for row, noisy in zip(self(values, mask), rows, strict=True)]

    def error(self, estimates: Sequence[Tensor], clean: Sequence[Tensor]) -> Tensor:
        """Returns the mean squared error a coordinate, in units of that coordinate's variance over clean public text.

        1 is what the clean mean alone reaches.
        """
        difference = (torch.cat(list(estimates)) - torch.cat(list(clean))) / self.spread
        return (difference**2).mean()


def _positions(length: int, inner: int, device: torch.device) -> Tensor:
    """Returns the sinusoids of Vaswani et al. (2017), shape (length, inner)."""
    rate = torch.exp(torch.arange(0, inner, 2, device=device) * (-torch.log(torch.tensor(10000.0)) / inner))
    angle = torch.arange(length, device=device)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
