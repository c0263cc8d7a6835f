"""A model's own forward pass over embeddings: whatever it does to its logits, caps and scales among them, is done."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mechanisms.abilities import abilities
from mechanisms.cached_sequences import accepted
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import words_of

LOGITS_BYTES = 1 << 30
"""Logits of rows that are read together, at most, where no gradient is asked for: float32, and one row at least."""


def embed(model: PreTrainedModel, tokens: Sequence[int]) -> Tensor:
    """Returns the model's own embeddings of tokens, shape (tokens, width), in its number format and on its device."""
    table = model.get_input_embeddings()
    embedded: Tensor = table(torch.as_tensor(list(tokens), dtype=torch.long, device=table.weight.device))
    factor = abilities(model).factor
    return embedded if factor == 1 else embedded * factor


def embedding_table(model: PreTrainedModel) -> NDArray[np.float32]:
    """Returns the embeddings of all words as the model looks them up, float32, shape (words, width)."""
    with torch.no_grad():
        table: NDArray[np.float32] = embed(model, range(words_of(model))).float().cpu().numpy()
    return table


def logits_within(model: PreTrainedModel, rows: Sequence[Tensor], spans: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Returns the logits after some places of each row, shape (stop - start, words) each, differentiable in rows.

    rows: embeddings, shape (tokens, width) each. spans: (start, stop) of the places. Rows are read side by side as
    `read_together` groups them, padded behind.
    """
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for chosen in _together(model, rows, spans):
        lengths = {len(rows[index]) for index in chosen}
        inputs = pad_sequence([rows[index] for index in chosen], batch_first=True)
        extra: dict[str, object] = {"use_cache": False, "return_dict": True}
        if len(lengths) > 1:
            mask = [torch.ones(len(rows[index]), dtype=torch.long, device=inputs.device) for index in chosen]
            extra["attention_mask"] = pad_sequence(mask, batch_first=True)
        first, last = min(spans[index][0] for index in chosen), max(spans[index][1] for index in chosen)
        if abilities(model).chooses:
            extra["logits_to_keep"] = torch.arange(first, last, device=inputs.device)
        logits = model(inputs_embeds=inputs, **accepted(model, **extra)).logits
        offset = first if abilities(model).chooses else 0
        for said, index in zip(logits, chosen, strict=True):
            start, stop = spans[index]
            found[index] = said[start - offset : stop - offset]
    return found


def read_together(model: PreTrainedModel, lengths: Sequence[int]) -> list[list[int]]:
    """Returns the indices of sequences that may be read side by side, padded behind where their lengths differ.

    All of them where that changes nothing for this model, else those of one length; never on both sides of a turn.
    """
    able = abilities(model)
    groups: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        groups.setdefault(able.turned(length) if able.pads else length, []).append(index)
    return list(groups.values())


def _together(model: PreTrainedModel, rows: Sequence[Tensor], spans: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Yields the indices of rows that are read together."""
    able = abilities(model)
    for group in read_together(model, [len(row) for row in rows]):
        places = max(spans[index][1] for index in group) - (min(spans[i][0] for i in group) if able.chooses else 0)
        room = max(1, LOGITS_BYTES // (4 * able.words * max(1, places)))
        at_once = len(group) if torch.is_grad_enabled() else room
        yield from (group[start : start + at_once] for start in range(0, len(group), at_once))
