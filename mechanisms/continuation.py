"""What a frozen causal language model makes of embeddings put in front: scores and generated text."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from mechanisms.abilities import abilities
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, write
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import input_weight
from mechanisms.own_forward import embed, logits_within
from mechanisms.progress import Progress
from mechanisms.stepping import CachedReader, require_context

__all__ = ["BATCH", "embed", "generate", "require_context", "response_losses", "score"]

BATCH = 16
"""Texts scored at once."""


def response_losses(
    model: PreTrainedModel, prefixes: Sequence[Tensor], responses: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Returns for each pair the next-token losses of the response after the prefix, nats, shape (tokens of response,).

    prefixes: embeddings, each shape (>= 1, width), of any number format. The losses are those of the model's own
    forward pass, caps and scales of its logits included; differentiable in prefixes, float32, on the model's device.
    Raises UserError for an empty response, and for a sequence over the model's context.
    """
    if any(not len(response) for response in responses):
        raise UserError("Expected responses of at least one token, got an empty one.")
    like = input_weight(model)
    rows = [
        torch.cat([prefix.to(like), embed(model, response[:-1])])
        for prefix, response in zip(prefixes, responses, strict=True)
    ]
    require_context(model, max(map(len, rows)))
    spans = [(len(prefix) - 1, len(row)) for prefix, row in zip(prefixes, rows, strict=True)]
    losses = []
    for logits, response in zip(logits_within(model, rows, spans), responses, strict=True):
        target = torch.as_tensor(list(response), device=logits.device)
        losses.append(functional.cross_entropy(logits.float(), target, reduction="none"))
    return losses


def score(
    model: PreTrainedModel,
    prefixes: Sequence[Tensor],
    responses: Sequence[Sequence[int]],
    progress: Progress | None = None,
) -> NDArray[np.float64]:
    """Returns the mean loss of each response after its prefix, nats a token, float64, shape (pairs,).

    A prefix that is given several times, as the same object, is read once where the model's cache is exact.
    progress: an object with update(n), told of every pair that is done. Raises UserError as response_losses does.
    """
    if len(prefixes) != len(responses) or any(not len(response) for response in responses):
        got = f"{len(responses)} for {len(prefixes)} prefixes, the shortest of {min(map(len, responses), default=0)}"
        raise UserError(f"Expected a response of at least one token for each prefix, got {got}.")
    pairs: dict[int, list[int]] = {}
    for pair, prefix in enumerate(prefixes):
        pairs.setdefault(id(prefix), []).append(pair)
    several = len(pairs) < len(prefixes) and _may_share(model, prefixes, responses)
    groups = list(pairs.values()) if several else [[pair] for pair in range(len(prefixes))]
    means = np.empty(len(prefixes))
    with torch.no_grad():
        for start in range(0, len(groups), BATCH):
            part = groups[start : start + BATCH]
            found = (
                _after_shared(model, prefixes, responses, part) if several else _after(model, prefixes, responses, part)
            )
            for pair, loss in found:
                means[pair] = float(loss.double().mean())
                if progress is not None:
                    progress.update(1)
    return means


def _may_share(model: PreTrainedModel, prefixes: Sequence[Tensor], responses: Sequence[Sequence[int]]) -> bool:
    """Returns whether a cache of any prefix reads any response as the model reads both together."""
    able, shortest, longest = abilities(model), min(map(len, prefixes)), max(map(len, prefixes))
    return able.cache and able.turned(shortest) == able.turned(longest + max(map(len, responses)))


def _after(
    model: PreTrainedModel,
    prefixes: Sequence[Tensor],
    responses: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
) -> Iterator[tuple[int, Tensor]]:
    """Yields (pair, its losses), each pair's prefix and response read together."""
    chosen = [pair for group in groups for pair in group]
    losses = response_losses(model, [prefixes[pair] for pair in chosen], [responses[pair] for pair in chosen])
    yield from zip(chosen, losses, strict=True)


def _after_shared(
    model: PreTrainedModel,
    prefixes: Sequence[Tensor],
    responses: Sequence[Sequence[int]],
    groups: Sequence[Sequence[int]],
) -> Iterator[tuple[int, Tensor]]:
    """Yields (pair, its losses) of groups that share a prefix each: that is read first, and once."""
    rows = [prefixes[group[0]] for group in groups]
    require_context(model, max(len(prefixes[p]) + len(responses[p]) - 1 for group in groups for p in group))
    mask = None
    if len({len(row) for row in rows}) > 1:
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True, 0, "left")
    reading = CachedReader(model)
    opening = reading.read(pad_sequence([row.detach() for row in rows], True, 0.0, "left"), mask)
    behind = [(row, pair) for row, group in enumerate(groups) for pair in group]
    for start in range(0, len(behind), BATCH):
        part = behind[start : start + BATCH]
        inputs = pad_sequence([embed(model, responses[pair][:-1]) for _, pair in part], batch_first=True)
        logits = opening[[row for row, _ in part]][:, None]
        if inputs.shape[1]:
            logits = torch.cat([logits, reading.copied([row for row, _ in part]).read_through(inputs)], 1)
        for said, (_, pair) in zip(logits, part, strict=True):
            target = torch.as_tensor(list(responses[pair]), device=said.device)
            yield pair, functional.cross_entropy(said[: len(target)], target, reduction="none")


def generate(
    model: PreTrainedModel,
    prefixes: Sequence[Tensor],
    new_tokens: int,
    seed: int,
    temperature: float = 0.7,
    top_p: float = 0.9,
) -> list[list[int]]:
    """Returns sampled continuations of prefixes, at most new_tokens tokens each, ended by an end-of-text token.

    The defaults are the paper's sampling. The same seed repeats the same text on the same machine.
    """
    return write(model, prefixes, GenerationSettings(new_tokens, temperature, top_p, seed=seed))
