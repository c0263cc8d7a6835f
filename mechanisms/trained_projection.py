"""The paper's linear pair as files: its start in closed form, and the encoder and decoder of a trained one.

The matrices are in units of the clip: v = clip * clamp(E e, -1, 1) and e' = D (y / clip), y scaled down to norm
clip * sqrt(dim) first, as the paper's code does. No torch is imported here: a client tabulates E without it.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from mechanisms.canonical_json import Json
from mechanisms.decoding.public_parts import CodeParts
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.mechanism import Observed
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.spec import QuantizerSpec
from mechanisms.user_path import user_path

if TYPE_CHECKING:
    from torch import Tensor

PROJECTION_FILE = "projection.safetensors"
CARD_FILE = "card.json"
Rows = TypeVar("Rows", NDArray[np.float32], NDArray[np.float64], "Tensor")


@dataclass(frozen=True, slots=True)
class TrainedDecoder:
    """The paper's decoder: e' = D y without bias. matrix: float32, shape (width, dim), in units of the clip."""

    quantizer: StochasticQuantizer
    matrix: NDArray[np.float32]

    @classmethod
    def of(cls, parts: CodeParts) -> "TrainedDecoder":
        """Returns the decoder of the parts' trained projection; raises UserError where they have none."""
        if not isinstance(parts.linear, cls):
            raise UserError("Expected parts of a trained projection, got a linear decoder in closed form.")
        return parts.linear

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns embeddings, float32, shape (tokens, width)."""
        released = self.quantizer.dequantize(counts) / np.float32(self.quantizer.spec.clip)
        return np.asarray(bounded(released) @ self.matrix.T, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class TrainedProjection:
    """encoder: the table of codes. decoder: the trained linear one. sha256: of the matrices' file."""

    encoder: Encoder
    decoder: TrainedDecoder
    card: dict[str, Json]
    sha256: str


def load_projection(folder: Path, table: NDArray[np.float32], spec: QuantizerSpec) -> TrainedProjection:
    """Returns the projection that `train_projection` wrote to a folder, for a model's table and a quantizer.

    table: the model's embeddings, float32, shape (words, width). spec: any scale, bits and clip; the codes keep their
    size in units of the clip. Raises UserError for a folder without a whole projection, one that was trained
    for another model or width, and one of another dim.
    """
    path, card_path = folder / PROJECTION_FILE, folder / CARD_FILE
    user_path(str(path), "a trained projection's folder")
    if not path.is_file() or not card_path.is_file():
        raise UserError(f"Expected {folder} to hold a trained projection: {PROJECTION_FILE} and {CARD_FILE}, got none.")
    try:
        data = path.read_bytes()  # once: the hash is of what is parsed
        matrices = load(data)
        encoder, decoder = matrices["encoder"], matrices["decoder"]
        card = json.loads(card_path.read_text(encoding="utf8"))
        trained_for, files = card["table_sha256"], card["files"]
        named, stated = card["base_model"]["name"], files.get(PROJECTION_FILE)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"Expected {folder} to hold a whole projection, got a damaged one: {error}.") from None
    digest = hashlib.sha256(data).hexdigest()
    if stated != digest:
        raise UserError(
            f"Expected {path} to have the hash in its card, got another content. Copy the projection again, or train "
            "it again."
        )
    for part, matrix in (("encoder", encoder), ("decoder", decoder)):
        if not np.isfinite(matrix).all():
            raise UserError(
                f"Expected finite values in {path}, got {part} of {shape_and_values(matrix)}: the training went wrong. "
                "Train the projection again, with a lower learning rate."
            )
    width = table.shape[1]
    if encoder.ndim != 2 or encoder.shape[1] != width or decoder.shape != encoder.shape[::-1]:
        raise UserError(
            f"Expected a projection of embeddings of width {width}, got encoder {encoder.shape} and decoder "
            f"{decoder.shape} in {folder}: it was trained for another model, {named!r}."
        )
    if trained_for != table_sha256(table):
        raise UserError(
            f"Expected a projection for this model's embeddings, got one trained for {named!r} in {folder}."
        )
    if len(encoder) != spec.dim:
        raise UserError(f"Expected a projection to dim={spec.dim}, got dim={len(encoder)} in {folder}.")
    codes = Encoder.of(table @ encoder.T * np.float32(spec.clip), spec.clip)
    return TrainedProjection(codes, TrainedDecoder(StochasticQuantizer(spec), decoder), card, digest)


def principal_pair(
    table: NDArray[np.float32],
    prior: NDArray[np.float64],
    spec: QuantizerSpec,
    fill: float,
    noise: bool,
    whitening: float = 0.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns the pair that training starts from: E, shape (dim, width), and D, shape (width, dim).

    E projects onto the principal directions of the table's second moments under the prior (there is no bias that could
    take the mean away); whitening: 0 keeps their spread, 1 makes them equal. E is scaled so that the codes' root mean
    square is fill before clipping. D is then the best linear decoder in squared error, of the quantizer's release
    where noise is on. Raises UserError for a dim over the rank of the table.
    """
    words = table.astype(np.float64)
    if spec.dim > words.shape[1]:
        raise UserError(f"Expected dim <= {words.shape[1]}, the embedding's width, got dim={spec.dim}.")
    power, axes = np.linalg.eigh((words * prior[:, None]).T @ words)
    power, axes = power[::-1][: spec.dim], axes[:, ::-1][:, : spec.dim]
    if power[-1] <= float(np.finfo(np.float32).eps) ** 2 * power.sum():
        raise UserError(f"Expected dim at most the rank of the embedding table, got dim={spec.dim}.")
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(spec.dim)])  # a sign that no library decides
    size = power ** (-whitening / 2)
    encoder = (axes * (size * fill / np.sqrt((power * size**2).mean()))).T
    codes = np.clip(words @ encoder.T, -1, 1)
    weighted = codes * prior[:, None]
    covariance = weighted.T @ codes
    if noise:
        covariance += np.diag(((spec.scale / spec.clip) ** 2 - prior @ codes**2) / spec.trials)
    return encoder, np.linalg.solve(covariance, weighted.T @ words).T


def bounded(codes: Rows) -> Rows:
    """Returns rows scaled down to the norm of the cube's corner, sqrt(dim): an array or a tensor, shape (rows, dim)."""
    corner = codes.shape[-1]
    squared = (codes * codes).sum(-1)[:, None].clip(corner)
    scaled: Rows = codes * (corner / squared) ** 0.5
    return scaled


def table_sha256(table: NDArray[np.float32]) -> str:
    """Returns the hash of an embedding table, shape and values."""
    digest = hashlib.sha256(repr(table.shape).encode())
    digest.update(np.ascontiguousarray(table, dtype="<f4").data)
    return digest.hexdigest()
