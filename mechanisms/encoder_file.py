"""An encoder on disk: its table as safetensors, with a card that says what it was made for. No pickle, no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mechanisms.canonical_json import Json
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.files import write_file
from mechanisms.small_file import read_small
from mechanisms.spec import QuantizerSpec

FORMAT = "del-audit encoder 1"
LARGEST = 1 << 31
"""Bytes of an encoder's file: a million words of 2,000 coordinates."""


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """What an encoder was made for. It travels in the header of the encoder's file.

    model: name of the language model whose vocabulary is encoded. model_sha256: of that model's content. spec: the
    quantizer that the codes were made for; others of the same dim and clip can use them. details: how they were made,
    as JSON values.
    """

    model: str
    model_sha256: str
    spec: QuantizerSpec
    details: Mapping[str, Json] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names, as JSON values."""
        return {
            "model": self.model,
            "model_sha256": self.model_sha256,
            "spec": self.spec.to_dict(),
            "details": dict(self.details),
        }


def encoder_bytes(encoder: Encoder, card: EncoderCard) -> bytes:
    """Returns the file of an encoder: one tensor named levels, and the card in the header.

    Raises UserError where the card's spec has another dim or clip than the encoder.
    """
    _require_fit(encoder, card.spec)
    record = {"format": FORMAT, "clip": encoder.clip, "table_sha256": encoder.sha256, **card.to_dict()}
    metadata = {"card": json.dumps(record, sort_keys=True, allow_nan=False)}
    return bytes(save({"levels": np.ascontiguousarray(encoder.levels)}, metadata=metadata))


def save_encoder(path: Path, encoder: Encoder, card: EncoderCard) -> None:
    """Writes the encoder's file, whole or not at all; raises UserError where it cannot be written."""
    write_file(path, encoder_bytes(encoder, card))


def load_encoder(
    path: Path, spec: QuantizerSpec | None = None, words: int | None = None, model_sha256: str | None = None
) -> tuple[Encoder, EncoderCard]:
    """Returns the encoder in a file and its card.

    spec, words, model_sha256: the quantizer, vocabulary size and language model that it is to be used with.
    Raises UserError for a file that cannot be read, is damaged or no encoder's, and for one trained for another model.
    """
    return read_encoder(read_small(path, LARGEST, "encoder's"), str(path), spec, words, model_sha256)


def read_encoder(
    data: bytes,
    name: str,
    spec: QuantizerSpec | None = None,
    words: int | None = None,
    model_sha256: str | None = None,
) -> tuple[Encoder, EncoderCard]:
    """Returns the encoder in a file's bytes and its card; name stands in the errors, load_encoder's."""
    try:
        levels = load(data)["levels"]
        record = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["card"])
        card = EncoderCard(record["model"], record["model_sha256"], QuantizerSpec(**record["spec"]), record["details"])
        encoder = Encoder(np.ascontiguousarray(levels), record["clip"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:  # UserError is a ValueError
        raise UserError(f"Expected {name!r} to hold an encoder with its card: {error}.") from None
    if record["format"] != FORMAT or record["table_sha256"] != encoder.sha256:
        raise UserError(f"Expected {name!r} to hold the encoder that its card names: it is damaged.")
    _require_fit(encoder, card.spec)
    trained = f"{name!r} is a projection trained for another model, {card.model!r}."
    if spec is not None:
        _require_fit(encoder, spec, trained)
    if words is not None and encoder.words != words:
        raise UserError(f"Expected an encoder of {words} words, got {encoder.words}: {trained}")
    if model_sha256 is not None and card.model_sha256 != model_sha256:
        raise UserError(
            f"Expected an encoder of the model {model_sha256[:12]}, got {card.model_sha256[:12]}: {trained}"
        )
    return encoder, card


def _require_fit(encoder: Encoder, spec: QuantizerSpec, why: str = "it was made for another quantizer.") -> None:
    for name in ("dim", "clip"):
        wanted, got = getattr(spec, name), getattr(encoder, name)
        if wanted != got:
            raise UserError(f"Expected an encoder of {name}={wanted}, got {name}={got}: {why}")
