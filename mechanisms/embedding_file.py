"""The input embeddings alone, out of the one file that holds them: the rest of the model is neither read nor built."""

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from torch import nn

from mechanisms.abilities import possible_factors
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import width_of

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


def empty_model(folder: Path) -> PreTrainedModel:
    """Returns the causal language model of a folder's config.json without weights: shapes and names alone."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model


def names_a_factor(model: PreTrainedModel) -> bool:
    """Returns whether the configuration names a factor that only a loaded model can say the place of."""
    plain = {1.0, math.sqrt(width_of(model))}
    return _scale(model.get_input_embeddings()) == 1 and not plain.issuperset(possible_factors(model))


def stored_table(folder: Path, model: PreTrainedModel) -> NDArray[np.float32] | None:
    """Returns the rows that the model's own input embedding looks up, float32, shape (words, width).

    They are read from the folder's files and multiplied by the embedding's own scale. model: names the tensor; its
    weights are not asked for. Returns None where no file holds the table as floating-point numbers under a name that
    is known, and where it is unknown what the embedding does to a row.
    """
    embedding = model.get_input_embeddings()
    files, scale = _files_of_tensors(folder), _scale(embedding)
    key = next(_keys(model, embedding, files), None)
    if key is None or scale is None:
        return None
    with safe_open(files[key], framework="pt") as tensors:
        stored = tensors.get_tensor(key)
    if stored.dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        return None
    if stored.shape != embedding.weight.shape:
        return None
    table: NDArray[np.float32] = stored.float().numpy()
    return table if scale == 1 else table * np.float32(scale)


def _files_of_tensors(folder: Path) -> dict[str, Path]:
    """Returns the file of each tensor, inside the folder; an index is followed where there is no single file."""
    if (folder / WEIGHTS).is_file():
        with safe_open(folder / WEIGHTS, framework="pt") as tensors:
            return dict.fromkeys(tensors.keys(), folder / WEIGHTS)
    named = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
    return {key: folder / file for key, file in named.items() if (folder / file).parent == folder}


def _keys(model: PreTrainedModel, embedding: nn.Module, files: dict[str, Path]) -> Iterator[str]:
    """Yields names under which files hold the embedding's weight, the model's own first.

    Others are the name without the part that holds the layers, as the base model's files have it, the name of what is
    tied to it, and, as models of several parts are stored under other paths, the one name with the same end.
    """
    name = next(name for name, module in model.named_modules() if module is embedding)
    own, base = f"{name}.weight", f"{model.base_model_prefix}."
    tied = [other for pair in _tied(model).items() if own in pair for other in pair]
    yield from (key for key in (own, own.removeprefix(base), base + own, *tied) if key in files)
    alike = [key for key in files if key.endswith(f".{name.rsplit('.', 1)[-1]}.weight")]
    yield from alike if len(alike) == 1 else ()


def _tied(model: PreTrainedModel) -> dict[str, str]:
    """Returns the names of weights that are one weight, in pairs."""
    return dict(getattr(model, "all_tied_weights_keys", None) or {})


def _scale(embedding: nn.Module) -> float | None:
    """Returns what the embedding multiplies its rows by, None where it does something unknown."""
    if type(embedding) is nn.Embedding:
        return 1.0
    scales = [getattr(embedding, name, None) for name in ("scalar_embed_scale", "embed_scale")]
    return next((float(scale) for scale in scales if isinstance(scale, int | float)), None)
