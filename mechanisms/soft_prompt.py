"""The soft prompt: virtual tokens in front of a released prompt, kept as a PEFT prompt-tuning adapter."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from mechanisms.errors import UserError

SHIPPED = Path(__file__).parent / "weights"
SHIPPED_PREFIX = "shipped:"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "card.json"


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """vectors: float32, shape (virtual tokens, width). card: how they were made. sha256: of the weights' file."""

    name: str
    vectors: Tensor
    card: dict[str, Any]
    sha256: str


def load_soft_prompt(name: str, width: int) -> SoftPrompt:
    """Returns the soft prompt of a PEFT adapter folder, or of one that ships with the package: `shipped:NAME`.

    width: of the model's embeddings. Raises UserError for a missing or corrupt adapter and for another width.
    """
    folder = SHIPPED / name.removeprefix(SHIPPED_PREFIX) if name.startswith(SHIPPED_PREFIX) else Path(name)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        shipped = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
        raise UserError(
            f"Expected soft_prompt to be a PEFT adapter folder or one of {[SHIPPED_PREFIX + s for s in shipped]}, "
            f"got {name!r}: it holds no {WEIGHTS_FILE}."
        )
    try:
        vectors = load_file(weights)["prompt_embeddings"]
    except (SafetensorError, KeyError) as error:
        raise UserError(
            f"Expected {WEIGHTS_FILE} of soft_prompt={name!r} to hold prompt_embeddings: {error}."
        ) from None
    if vectors.ndim != 2 or vectors.shape[1] != width or not torch.isfinite(vectors).all():
        raise UserError(
            f"Expected a soft prompt of finite vectors of width {width}, got shape {tuple(vectors.shape)} "
            f"in soft_prompt={name!r}: it was trained for another model."
        )
    card_path = folder / CARD_FILE
    try:
        card = json.loads(card_path.read_text(encoding="utf8")) if card_path.is_file() else {}
    except ValueError as error:
        raise UserError(f"Expected {CARD_FILE} of soft_prompt={name!r} to hold JSON: {error}.") from None
    return SoftPrompt(name, vectors.float(), card, hashlib.sha256(weights.read_bytes()).hexdigest())
