"""The soft prompt: virtual tokens in front of a released prompt, kept as a PEFT prompt-tuning adapter."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from mechanisms.adapter_config import (
    CONFIG_FILE,
    TRAIN,
    AdapterConfig,
    adapter_config,
    read_card,
    require_base_model,
    shown,
)
from mechanisms.assets import AssetRecord
from mechanisms.description import Description
from mechanisms.errors import UserError
from mechanisms.model_facts import text_config
from mechanisms.models import LanguageModel
from mechanisms.user_path import user_path

SHIPPED = Path(__file__).parent / "weights"
SHIPPED_PREFIX = "shipped:"
WEIGHTS_FILE = "adapter_model.safetensors"
PICKLED_FILE = "adapter_model.bin"
CARD_FILE = "card.json"
KEY = "prompt_embeddings"
FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True)
class SoftPrompt:
    """vectors: float32, shape (virtual tokens, width). card: how they were made. sha256: of the weights' file.

    base_model: the model that adapter_config.json names, "" where it names none.
    """

    name: str
    vectors: Tensor
    card: dict[str, Any]
    sha256: str
    base_model: str = ""


def load_soft_prompt(name: str, width: int, base_model: AssetRecord | None = None) -> SoftPrompt:
    """Returns the soft prompt of a PEFT adapter folder, or of one that ships with the package: `shipped:NAME`.

    width: of the model's embeddings. base_model: the model that it is to stand in front of, held against the card
    and against adapter_config.json. Raises UserError for a missing or corrupt adapter, for one with which PEFT would
    compute something else than these vectors in front of a prompt, for another width and for another base model.
    """
    folder = SHIPPED / name.removeprefix(SHIPPED_PREFIX) if name.startswith(SHIPPED_PREFIX) else Path(name)
    user_path(str(folder / WEIGHTS_FILE), "soft_prompt")
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        shipped = sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) if SHIPPED.is_dir() else []
        raise UserError(
            f"Expected soft_prompt to be a PEFT adapter folder or one of {[SHIPPED_PREFIX + s for s in shipped]}, "
            f"got {name!r}: {_found_instead(folder)}"
        )
    config = adapter_config(folder, name)
    try:
        data = weights.read_bytes()  # once: the hash is of what is parsed
        tensors = load(data)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"Expected {WEIGHTS_FILE} of soft_prompt={name!r} to hold prompt_embeddings: {error}. Copy the adapter "
            "again, or train it again."
        ) from None
    vectors = _vectors(tensors, config, width, name)
    digest = hashlib.sha256(data).hexdigest()
    card = _card(folder, digest, name)
    if base_model is not None:
        require_base_model(config, card, base_model, name)
    return SoftPrompt(name, vectors, card, digest, config.base_model)


def _found_instead(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no such folder with {WEIGHTS_FILE}."
    if (folder / PICKLED_FILE).is_file():
        return (
            f"it holds no {WEIGHTS_FILE}, only {PICKLED_FILE}, which is pickled and can run code when it is read. Save "
            "the adapter again with a current PEFT (save_pretrained), which writes safetensors."
        )
    return f"it holds no {WEIGHTS_FILE}."


def _vectors(tensors: Mapping[str, Tensor], config: AdapterConfig, width: int, name: str) -> Tensor:
    """Returns the vectors, float32; raises UserError unless they are all that the file holds, whole and finite."""
    if tensors.keys() != {KEY}:
        raise UserError(
            f"Expected {WEIGHTS_FILE} of soft_prompt={name!r} to hold {KEY} and nothing else, got "
            f"{shown(sorted(tensors))}: PEFT reads that one, and would use others as well. {TRAIN}"
        )
    vectors = tensors[KEY]
    if vectors.dtype not in FLOATS:
        raise UserError(
            f"Expected floating-point vectors (16, 32 or 64 bits) in soft_prompt={name!r}, got {vectors.dtype}. Save "
            "them as float32."
        )
    shape = tuple(vectors.shape)
    if len(shape) == 2 and shape[1] != width:
        raise UserError(
            f"Expected a soft prompt of vectors of width {width}, got shape {shape} in soft_prompt={name!r}: it was "
            f"trained for another model. {TRAIN}"
        )
    stated = (config.tokens, config.width or width)
    if shape != stated:
        raise UserError(
            f"Expected vectors of shape {stated} (num_virtual_tokens, token_dim) in soft_prompt={name!r}, as its "
            f"{CONFIG_FILE} says, got shape {shape}: PEFT could not load them. Copy the adapter again, or train it "
            "again."
        )
    vectors = vectors.float()
    wrong = int((~torch.isfinite(vectors)).sum())
    if wrong:
        raise UserError(
            f"Expected finite vectors in soft_prompt={name!r}, got NaN or infinity in {wrong} of {vectors.numel()} "
            "values: the file is damaged. Copy it again, or train it again, with a lower learning rate if it is new."
        )
    return vectors


def _card(folder: Path, digest: str, name: str) -> dict[str, Any]:
    """Returns card.json, {} where there is none; raises UserError for a damaged one, and for one of other vectors."""
    path = folder / CARD_FILE
    card = read_card(path, name) if path.is_file() else {}
    if (card.get("files") or {}).get(WEIGHTS_FILE, digest) != digest:
        raise UserError(
            f"Expected {WEIGHTS_FILE} of soft_prompt={name!r} to have the hash in its {CARD_FILE}, got another "
            f"content. Copy the adapter again; if you replaced the vectors, remove {CARD_FILE}, which describes the "
            "former ones."
        )
    return card


def model_warning(prompt: SoftPrompt) -> str | None:
    """Returns a sentence where nothing says which model the soft prompt was trained for, None otherwise."""
    if prompt.base_model or prompt.card.get("base_model"):
        return None
    return (
        f"soft_prompt={prompt.name!r} does not say which model it was trained for, so only its width was compared. "
        f"Write the model's name as base_model_name_or_path into its {CONFIG_FILE}."
    )


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
    save_file({KEY: vectors.detach().float().cpu().contiguous()}, folder / WEIGHTS_FILE)
