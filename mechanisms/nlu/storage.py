"""What training for tasks makes: a folder of weights with a JSON card, which a run folder publishes."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.training.checkpoint import CARD, RunFolder, save_tensors

WEIGHTS_FILE = "weights.safetensors"


def publish(run: RunFolder, tensors: Mapping[str, Tensor], card: Mapping[str, Json]) -> None:
    """Makes a run's folder appear with weights and card."""
    whole = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    run.publish(lambda folder: save_tensors(whole, folder / WEIGHTS_FILE), card)


def read_folder(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the weights and the card of a folder that publish wrote with this kind in its card.

    Raises UserError for a missing or unreadable file, another kind, weights that are not the card's, and weights with
    NaN or infinity.
    """
    weights = folder / WEIGHTS_FILE
    try:
        card = json.loads((folder / CARD).read_text(encoding="utf8"))
        data = weights.read_bytes()  # once: the hash is of what is parsed
        digest = hashlib.sha256(data).hexdigest()
        tensors = load(data)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"Cannot read {folder} as a {kind}: {error}.") from None
    if not isinstance(card, dict) or card.get("kind") != kind:
        raise UserError(f"Expected {folder} to hold a {kind}, got another kind of card.")
    stated = (card.get("files") or {}).get(WEIGHTS_FILE, card.get("weights_sha256"))  # the latter in older cards
    if stated != digest:
        raise UserError(f"Expected {weights} to be what its card describes, got another sha256: {digest}.")
    for part, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"Expected finite weights in {weights}, got NaN or infinity in {part!r}: the training went wrong. "
                f"Train the {kind} again, with a lower learning rate."
            )
    return tensors, card


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns the sha256 of named tensors, in hexadecimal."""
    return hashlib.sha256(
        save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    ).hexdigest()
