"""What the frozen language model makes of embeddings with soft tokens in front: its last hidden states."""

from collections.abc import Sequence, Sized
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from mechanisms.cached_sequences import accepted
from mechanisms.continuation import embed, require_context
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.models import LanguageModel
from mechanisms.own_forward import read_together
from mechanisms.validation import at_least


def initial_soft_tokens(language: LanguageModel, text: str, count: int) -> Tensor:
    """Returns the embeddings of a text, repeated to count virtual tokens, float32, shape (count, width).

    Raises UserError for a text without tokens and a count below 1.
    """
    tokens = list(language.tokenizer(text, add_special_tokens=False).input_ids)
    if not tokens:
        raise UserError(f"Expected initial_text to hold at least one word, got initial_text={text!r}.")
    at_least("virtual_tokens", count, 1)
    return embed(language.model, (tokens * count)[:count]).detach().clone()


def padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Returns rows padded at their end, shape (rows, longest, width), and which places hold one, bool."""
    mask = pad_sequence([torch.ones(len(row), dtype=torch.bool, device=row.device) for row in rows], batch_first=True)
    return pad_sequence(list(rows), batch_first=True), mask


def read_states(model: PreTrainedModel, soft: Tensor, rows: Sequence[Tensor], bfloat16: bool = False) -> list[Tensor]:
    """Returns the last hidden states over each row, float32, shape (tokens, width): the soft tokens' own are left out.

    rows: embeddings, each shape (tokens >= 1, width). bfloat16: the model's products in bfloat16, faster and coarser.
    Differentiable in soft and in rows. Raises UserError for rows of another width and for rows over the context.
    """
    width = soft.shape[1]
    wrong = [row for row in rows if row.shape[1] != width]
    if wrong:
        raise UserError(f"Expected embeddings of width {width}, got width {wrong[0].shape[1]}: another model's?")
    require_context(model, len(soft) + max(map(len, rows)))
    groups = read_together(model, [len(soft) + len(row) for row in rows])
    if len(groups) > 1:
        states = list(rows)
        for group in groups:
            for index, read in zip(group, read_states(model, soft, [rows[i] for i in group], bfloat16), strict=True):
                states[index] = read
        return states
    inputs, mask = padded([torch.cat([soft, row.to(soft.device)]) for row in rows])
    asked = accepted(model.base_model, use_cache=False, attention_mask=mask.long())
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext():
        hidden = model.base_model(inputs_embeds=inputs, **asked)[0]
    return [states[len(soft) : len(soft) + len(row)].float() for states, row in zip(hidden, rows, strict=True)]


def by_length(rows: Sequence[Sized], batch: int) -> list[list[int]]:
    """Returns the indices of rows in batches of like length, so that little is padded."""
    order = np.argsort([len(row) for row in rows], kind="stable").tolist()
    return [order[start : start + batch] for start in range(0, len(order), batch)]


@torch.no_grad()
def cached_states(
    model: PreTrainedModel, soft: Tensor, rows: Sequence[Tensor], batch: int, label: str, bfloat16: bool = False
) -> list[Tensor]:
    """Returns read_states of all rows, in their order, without gradients; label names the progress bar."""
    states: list[Tensor] = [soft] * len(rows)
    for chosen in tqdm(by_length(rows, batch), desc=label, unit="batch", leave=False):
        for index, read in zip(chosen, read_states(model, soft, [rows[i] for i in chosen], bfloat16), strict=True):
            states[index] = read
    return states
