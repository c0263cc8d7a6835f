"""What a causal language model is, asked of the model itself: embeddings, width, context, opening and end tokens.

Configurations name these differently, nest them or leave them out, so the model is asked where it can answer.
"""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase

if TYPE_CHECKING:
    from transformers import PretrainedConfig

NO_STATED_CONTEXT = 1 << 20
"""Tokens. The context of a model that states none: longer than any text here, and a number like any other."""
CONTEXT_NAMES = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_sequence_length",
    "context_length",
    "seq_length",
)
WINDOW_NAME = re.compile(r"(window|window_size|chunk_size|chunk_length|block_size|local_attention)$")

FLOOR_NAME = re.compile(r"(floor_scale|_n_floor)$")
"""Lengths from which on the scores of attention are scaled by a place that counts padding (Llama 4, Inkling)."""

OTHER_PARTS = re.compile(r"(vision|visual|image|audio|speech|encoder)")
"""Parts of a model that do not read text, by their names."""


def text_config(model: PreTrainedModel) -> "PretrainedConfig":
    """Returns the configuration of the part that reads text; for a model of text alone, its configuration."""
    ask = getattr(model.config, "get_text_config", None)
    return model.config if ask is None else ask(decoder=True)


def input_weight(model: PreTrainedModel) -> Tensor:
    """Returns the input embedding's weight, shape (words, width): rows as stored, without the model's own factors."""
    weight: Tensor = model.get_input_embeddings().weight
    return weight


def width_of(model: PreTrainedModel) -> int:
    """Returns the width of the embeddings that the model reads."""
    return int(input_weight(model).shape[1])


def words_of(model: PreTrainedModel) -> int:
    """Returns the number of words that the model has an embedding of."""
    return int(input_weight(model).shape[0])


def context_of(model: PreTrainedModel, tokenizer: "PreTrainedTokenizerBase | None" = None) -> int:
    """Returns the longest input that the model was made for, in tokens.

    What its configuration states, and no more than its table of positions holds. A model that states nothing has the
    tokenizer's model_max_length where that is a length, else NO_STATED_CONTEXT.
    """
    config = text_config(model)
    stated = [length for name in CONTEXT_NAMES for length in _length(getattr(config, name, None))][:1]
    limits = [*stated, *_position_rows(model)] or _length(getattr(tokenizer, "model_max_length", None))
    return min([*limits, NO_STATED_CONTEXT])


def require_context(model: PreTrainedModel, tokens: int) -> None:
    """Raises UserError for a sequence over the model's context."""
    limit = context_of(model)
    if tokens > limit:
        raise UserError(f"Expected a sequence of at most {limit} tokens, the model's context, got {tokens}.")


def windows_of(model: PreTrainedModel) -> list[int]:
    """Returns the lengths of attention windows and chunks that the configuration names, in tokens."""
    named = text_config(model).to_dict()
    return [length for name, value in named.items() if WINDOW_NAME.search(name) for length in _length(value)]


def turns_of(model: PreTrainedModel) -> tuple[int, ...]:
    """Returns lengths beyond which the model reads all places of a batch in another way, in tokens, in their order.

    Rotations with factors for long texts turn where the longest row of a batch passes the length that the model was
    first trained on, and turn the places before it as well. Others scale attention from some place on, and count
    padding. Lengths that the context does not reach are left out.
    """
    config, turns = text_config(model), set[int]()
    rotations = getattr(config, "rope_parameters", None) or {}
    for rotation in (rotations, *rotations.values()):
        if isinstance(rotation, dict) and any(name.startswith("long_") for name in rotation):
            first = rotation.get("original_max_position_embeddings")
            turns.update(_length(getattr(config, "original_max_position_embeddings", None) if first is None else first))
    for name, value in config.to_dict().items():
        if FLOOR_NAME.search(name):
            turns.update(length - 1 for length in _length(value) if length > 1)
    return tuple(sorted(turn for turn in turns if turn < context_of(model)))


def end_tokens(model: PreTrainedModel) -> frozenset[int]:
    """Returns the tokens that end a text, as the model's configurations name them: none, one or several."""
    return frozenset(_named(model, "eos_token_id"))


def opening_token(model: PreTrainedModel) -> int | None:
    """Returns the token that stands before every text: the model's opening token, else the first that ends a text.

    Models without an opening token are trained on texts that follow one another, parted by the end token. None where
    the model names neither.
    """
    return next(_named(model, "bos_token_id"), next(_named(model, "eos_token_id"), None))


def opening_tokens(model: PreTrainedModel) -> list[int]:
    """Returns the opening token as a list, empty where there is none."""
    token = opening_token(model)
    return [] if token is None else [token]


def _named(model: PreTrainedModel, name: str) -> Iterator[int]:
    """Yields the tokens that the model's configurations give a name, its own first."""
    for config in (model.config, text_config(model), getattr(model, "generation_config", None)):
        value = getattr(config, name, None)
        yield from value if isinstance(value, list | tuple) else [] if value is None else [value]


def _length(value: object) -> list[int]:
    """Returns the value alone where it is a length that something could have, else nothing."""
    if isinstance(value, bool) or not isinstance(value, int):
        return []
    return [value] if 0 < value < NO_STATED_CONTEXT else []


def _position_rows(model: PreTrainedModel) -> list[int]:
    """Returns how many places each table of learned positions holds: what stands before the first place is left out."""
    rows = []
    for name, module in model.named_modules():
        last = name.rsplit(".", 1)[-1]
        if OTHER_PARTS.search(name):
            continue
        if isinstance(module, nn.Embedding) and ("position" in last or last == "wpe") and "relative" not in last:
            padding = -1 if module.padding_idx is None else module.padding_idx
            offset = getattr(module, "offset", padding + 1)
            rows.append(int(module.num_embeddings) - int(offset))
    return rows
