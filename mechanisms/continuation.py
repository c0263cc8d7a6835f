"""What a frozen causal language model makes of embeddings put in front: scores and generated text."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, write
from mechanisms.stepping import require_context

__all__ = ["BATCH", "embed", "generate", "require_context", "response_losses", "score"]

BATCH = 16
"""Texts scored at once."""


def embed(model: Any, tokens: Sequence[int]) -> Tensor:
    """Returns the model's own embeddings of tokens, shape (tokens, width), in its number format and on its device."""
    table = model.get_input_embeddings()
    embedded: Tensor = table(torch.as_tensor(list(tokens), dtype=torch.long, device=table.weight.device))
    return embedded


def response_losses(model: Any, prefixes: Sequence[Tensor], responses: Sequence[Sequence[int]]) -> list[Tensor]:
    """Returns for each pair the next-token losses of the response after the prefix, nats, shape (tokens of response,).

    prefixes: embeddings, each shape (>= 1, width), of any number format. One forward pass over the padded batch;
    differentiable in prefixes. Losses are float32 and on the model's device.
    Raises UserError for an empty response, and for a sequence over the model's context.
    """
    if any(not len(response) for response in responses):
        raise UserError("Expected responses of at least one token, got an empty one.")
    like = model.get_input_embeddings().weight
    rows = [
        torch.cat([prefix.to(like), embed(model, response[:-1])])
        for prefix, response in zip(prefixes, responses, strict=True)
    ]
    require_context(model, max(map(len, rows)))
    mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], batch_first=True)
    inputs = pad_sequence(rows, batch_first=True)
    hidden = model.base_model(inputs_embeds=inputs, attention_mask=mask.to(inputs.device)).last_hidden_state
    losses = []
    for states, prefix, response in zip(hidden, prefixes, responses, strict=True):
        logits = model.get_output_embeddings()(states[len(prefix) - 1 : len(prefix) - 1 + len(response)])
        target = torch.as_tensor(list(response), device=logits.device)
        losses.append(functional.cross_entropy(logits.float(), target, reduction="none"))
    return losses


def score(
    model: Any, prefixes: Sequence[Tensor], responses: Sequence[Sequence[int]], progress: Any = None
) -> NDArray[np.float64]:
    """Returns the mean loss of each response after its prefix, nats a token, float64, shape (pairs,).

    progress: an object with update(n), told of every pair that is done.
    """
    means: list[float] = []
    with torch.no_grad():
        for start in range(0, len(prefixes), BATCH):
            part = slice(start, start + BATCH)
            losses = response_losses(model, prefixes[part], responses[part])
            means += [float(loss.double().mean()) for loss in losses]
            if progress is not None:
                progress.update(len(losses))
    return np.array(means)


def generate(
    model: Any, prefixes: Sequence[Tensor], new_tokens: int, seed: int, temperature: float = 0.7, top_p: float = 0.9
) -> list[list[int]]:
    """Returns sampled continuations of prefixes, at most new_tokens tokens each, ended by an end-of-text token.

    The defaults are the paper's sampling. The same seed repeats the same text on the same machine.
    """
    return write(model, prefixes, GenerationSettings(new_tokens, temperature, top_p, seed=seed))
