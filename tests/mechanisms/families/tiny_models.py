"""Tiny random models of many families, made in the tests.

Soft caps and scales are strong (a cap of 2, a scale of 7), windows are shorter than the sequences that the tests read,
and the weights are large, so that a path that skips one of them is far off.
"""

from copy import deepcopy
from pathlib import Path
from shutil import copy
from typing import Any

import torch
from families.attention import ATTENTION
from families.experts import EXPERTS
from families.refused import REFUSED
from families.settings import WORDS
from families.states import STATES
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

__all__ = ["FAMILIES", "REFUSED", "WORDS", "make", "write"]

SPREAD = 0.3
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {**ATTENTION, **EXPERTS, **STATES, **REFUSED}
"""What a family is called here: its model type and its settings."""


def make(family: str, **changes: Any) -> Any:
    """Returns a random model of the family, with changes to its settings, in eval mode and without gradients."""
    kind, settings = FAMILIES[family]
    config = AutoConfig.for_model(kind, **deepcopy({**settings, **changes}))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "t5":
            from transformers import T5ForConditionalGeneration

            model = T5ForConditionalGeneration(config)
        else:
            model = AutoModelForCausalLM.from_config(config)
        _enlarge(model)
    return model.eval().requires_grad_(False)


@torch.no_grad()
def _enlarge(model: nn.Module) -> None:
    """Gives every matrix entries of spread SPREAD."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | Conv1D):
            module.weight.normal_(std=SPREAD)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 3 and "expert" in name:
            parameter.normal_(std=SPREAD)


def write(family: str, tokenizer_folder: Path, folder: Path, **changes: Any) -> Path:
    """Writes the family's model into folder with the tiny tokenizer, and returns the folder."""
    make(family, **changes).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if (tokenizer_folder / name).is_file():
            copy(tokenizer_folder / name, folder / name)
    return folder
