"""Tensors with a JSON card: folders of what is done, single files of what is under way, each by one rename."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save, save_file
from torch import Tensor

from mechanisms.errors import UserError

WEIGHTS_FILE = "weights.safetensors"
CARD_FILE = "card.json"


def write_folder(folder: Path, tensors: Mapping[str, Tensor], card: dict[str, Any]) -> None:
    """Writes weights and card beside the folder, then renames: it appears whole or not at all.

    The card gets the weights' sha256. Raises UserError for a folder that exists.
    """
    if folder.exists():
        raise UserError(f"Expected a folder that does not exist yet, got {folder}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        weights = beside / WEIGHTS_FILE
        save_file({name: tensor.detach().contiguous() for name, tensor in tensors.items()}, weights)
        whole = {**card, "weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
        (beside / CARD_FILE).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf8")
        for path in (beside, *beside.iterdir()):
            path.chmod(0o755 if path.is_dir() else 0o644)
        os.replace(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def read_folder(folder: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the weights and the card of a folder that write_folder wrote with this kind in its card.

    Raises UserError for a missing or unreadable file, another kind, weights that are not the card's, and weights with
    NaN or infinity.
    """
    weights = folder / WEIGHTS_FILE
    try:
        card = json.loads((folder / CARD_FILE).read_text(encoding="utf8"))
        data = weights.read_bytes()  # once: the hash is of what is parsed
        digest = hashlib.sha256(data).hexdigest()
        tensors = load(data)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"Cannot read {folder} as a {kind}: {error}.") from None
    if not isinstance(card, dict) or card.get("kind") != kind:
        raise UserError(f"Expected {folder} to hold a {kind}, got another kind of card.")
    if card.get("weights_sha256") != digest:
        raise UserError(f"Expected {weights} to be what its card describes, got another sha256: {digest}.")
    for part, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UserError(
                f"Expected finite weights in {weights}, got NaN or infinity in {part!r}: the training went wrong. "
                f"Train the {kind} again, with a lower learning rate."
            )
    return tensors, card


def write_progress(path: Path, tensors: Mapping[str, Tensor], state: dict[str, Any]) -> None:
    """Writes tensors and a JSON state as one safetensors file, beside it first, then renamed over the last one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in tensors.items()}, beside, {"state": json.dumps(state)}
    )
    os.replace(beside, path)


def read_progress(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Returns what write_progress wrote last, or None where there is nothing yet.

    Raises UserError for a file that cannot be read.
    """
    if not path.exists():
        return None
    try:
        data = path.read_bytes()  # once: state and tensors are of one file, whatever is renamed over it
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        state: dict[str, Any] = json.loads(header["__metadata__"]["state"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"Cannot go on from {path}: {error}. Delete it to start again.") from None
    return tensors, state


def digest_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """Returns the sha256 of named tensors, in hexadecimal."""
    return hashlib.sha256(
        save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    ).hexdigest()


def digest_of(content: Any) -> str:
    """Returns the sha256 of JSON content, in hexadecimal."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
