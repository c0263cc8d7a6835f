"""The soft prompt: virtual tokens in front of a released prompt, kept as a PEFT prompt-tuning adapter."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from mechanisms.assets import AssetRecord
from mechanisms.errors import UserError
from mechanisms.mechanism import Description
from mechanisms.model_facts import text_config
from mechanisms.models import LanguageModel
from mechanisms.user_path import user_path

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


def load_soft_prompt(name: str, width: int, base_model: AssetRecord | None = None) -> SoftPrompt:
    """Returns the soft prompt of a PEFT adapter folder, or of one that ships with the package: `shipped:NAME`.

    width: of the model's embeddings. base_model: the model that it is to stand in front of, held against the card
    where it has one. Raises UserError for a missing or corrupt adapter, for another width and for another base model.
    """
    folder = SHIPPED / name.removeprefix(SHIPPED_PREFIX) if name.startswith(SHIPPED_PREFIX) else Path(name)
    user_path(str(folder / WEIGHTS_FILE), "soft_prompt")
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        shipped = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
        raise UserError(
            f"Expected soft_prompt to be a PEFT adapter folder or one of {[SHIPPED_PREFIX + s for s in shipped]}, "
            f"got {name!r}: it holds no {WEIGHTS_FILE}."
        )
    try:
        data = weights.read_bytes()  # once: the hash is of what is parsed
        vectors = load(data)["prompt_embeddings"]
    except (OSError, SafetensorError, KeyError) as error:
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
    trained_for = card.get("base_model") or {}
    if base_model is not None and trained_for.get("sha256", base_model.sha256) != base_model.sha256:
        raise UserError(
            f"Expected a soft prompt for {base_model.name!r} (sha256 {base_model.sha256[:12]}), got "
            f"soft_prompt={name!r}, which was trained for {trained_for.get('name')!r} "
            f"(sha256 {trained_for['sha256'][:12]})."
        )
    return SoftPrompt(name, vectors.float(), card, hashlib.sha256(data).hexdigest())


def mechanism_warning(prompt: SoftPrompt, mechanism: Description) -> str | None:
    """Returns a sentence where the card says that the soft prompt was trained for other mechanisms, None otherwise.

    Such a prompt works, but less well than its own would (table 7 of the paper), so it is not refused.
    """
    trained_for = prompt.card.get("mechanisms")
    if trained_for is None:
        spec = prompt.card.get("spec")
        known = [] if spec is None else [spec]
        same = spec is None or spec == mechanism.to_dict()
    else:
        known = [one["spec"] for one in trained_for]
        same = mechanism.fingerprint.hex() in [one["fingerprint"] for one in trained_for]
    if same:
        return None
    return f"soft_prompt={prompt.name!r} was trained for {known}, not for {mechanism.to_dict()}."


def save_soft_prompt(vectors: Tensor, language: LanguageModel, folder: Path) -> None:
    """Writes virtual tokens, shape (tokens, width), into a folder as the adapter that PEFT itself loads."""
    from peft import PromptTuningConfig, PromptTuningInit, TaskType

    config = text_config(language.model)
    PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        num_virtual_tokens=len(vectors),
        prompt_tuning_init=PromptTuningInit.RANDOM,
        base_model_name_or_path=language.record.name,
        inference_mode=True,
        token_dim=vectors.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=getattr(config, "num_attention_heads", 1),  # a model may have none
        num_layers=getattr(config, "num_hidden_layers", 1),
    ).save_pretrained(folder)
    save_file({"prompt_embeddings": vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS_FILE)
