"""Encoders: from a public embedding table to codes in the clip cube, in closed form."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.corners import corner_signs
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from mechanisms.spec import QuantizerSpec
from mechanisms.table_sums import covariance, mean_square, projected, weighted_sum

EncoderKind = Literal["linear", "corners"]
ROTATION_STEPS = 50


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """How the cube is filled (docs/theory.md, theorem 9).

    kind: "linear" follows the embedding, by all the other fields. "corners" gives each word a corner of the cube, the
        commonest ones far apart (corner_signs); of the other fields only seed matters. Corners tell words apart best
        and say nothing of their meaning: at mu 8, 4 bits and 18 coordinates the MAP attack reads 59% of 3,000 tokens of
        WikiText-2, 40% with rotate and fill 3, and the posterior mean's relative squared error is 0.53 against 0.44.
    whitening: 0 keeps the principal coordinates' spread, 1 makes them equal.
    prior_power: words weigh prior^power in the fit; below 1 the rarer words are told apart better.
    fill: root mean square of the codes before clipping, in units of the clip. Codes are rounded to steps
        of clip / 127, so little is left of them below a fill of about 0.05.
    rotate: turn the coordinates towards the cube's corners (iterative quantization); the budget is spent there.
    """

    whitening: float = 0.5
    prior_power: float = 1.0
    fill: float = 1.0
    rotate: bool = True
    seed: int = 0
    kind: EncoderKind = "linear"

    def __post_init__(self) -> None:
        if self.kind not in get_args(EncoderKind):
            raise UserError(f"Expected kind to be linear or corners, got kind={self.kind!r}.")
        for name, low, high in (("whitening", 0.0, 1.0), ("prior_power", 0.0, 1.0), ("fill", 1e-3, 1e3)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"Expected {name} in [{low:g}, {high:g}], got {name}={value}.")


def fit_encoder(
    table: NDArray[np.float32], prior: NDArray[np.float64], spec: QuantizerSpec, settings: EncoderSettings
) -> Encoder:
    """Returns the encoder of an embedding table: fit_codes, rounded to levels; raises UserError as fit_codes does."""
    return Encoder.of(fit_codes(table, prior, spec, settings), spec.clip)


def fit_codes(
    table: NDArray[np.float32], prior: NDArray[np.float64], spec: QuantizerSpec, settings: EncoderSettings
) -> NDArray[np.float64]:
    """Returns codes, float64, shape (words, dim): weighted PCA, whitened, rotated, scaled, clipped; or corners.

    table: shape (words, width); prior: shape (words,). Nothing private enters: both are public.
    Raises UserError for a prior over another vocabulary and, unless corners are asked for, for a dim above the table's
    width or rank.
    """
    if prior.shape != (len(table),):
        raise UserError(f"Expected a prior over {len(table)} words, got shape {prior.shape}.")
    if settings.kind == "corners":
        return spec.clip * corner_signs(prior, spec.dim, settings.seed)
    require_width(settings, spec.dim, table.shape[1])
    weight = prior**settings.prior_power
    weight = weight / weight.sum()
    mean = weighted_sum(table, weight)
    spread, axes = np.linalg.eigh(covariance(table, weight, mean), UPLO="U")
    spread, axes = spread[::-1][: spec.dim], axes[:, ::-1][:, : spec.dim]
    if spread[-1] <= float(np.finfo(np.float32).eps) ** 2 * mean_square(table, weight):  # what rounding the table makes
        raise UserError(f"Expected dim at most the rank of the embedding table, got dim={spec.dim}.")
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(spec.dim)])  # a sign that no library decides
    codes = projected(table, mean, axes * spread ** (-settings.whitening / 2))
    if settings.rotate:
        codes = codes @ _towards_corners(codes, weight, settings.seed)
    root_mean_square = np.sqrt((weight @ codes**2).mean())
    filled = codes * (settings.fill * spec.clip / root_mean_square)
    clipped: NDArray[np.float64] = np.clip(filled, -spec.clip, spec.clip)
    return clipped


def require_width(settings: EncoderSettings, dim: int, width: int) -> None:
    """Raises UserError for more coordinates than the embedding has, unless corners are asked for."""
    if settings.kind != "corners" and dim > width:
        raise UserError(f"Expected dim <= {width}, the embedding's width, got dim={dim}.")


def _towards_corners(codes: NDArray[np.float64], weight: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Returns the rotation that brings codes nearest to their signs (Gong and Lazebnik, ITQ, CVPR 2011)."""
    start = simulation_generator(seed, "rotation").standard_normal((codes.shape[1], codes.shape[1]))
    rotation: NDArray[np.float64] = np.linalg.qr(start)[0]
    for _ in range(ROTATION_STEPS):
        left, _, right = np.linalg.svd((codes * weight[:, None]).T @ np.sign(codes @ rotation))
        rotation = left @ right
    return rotation
