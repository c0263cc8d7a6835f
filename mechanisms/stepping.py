"""Reading embeddings step by step through a frozen language model and its key-value cache."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mechanisms.errors import UserError


class Reading:
    """A batch of sequences that a causal language model is reading: what it has read stays in its key-value cache.

    Everything goes in through inputs_embeds, on the model's device and in its number format; logits come out as
    float32. Raises UserError for an encoder-decoder, and on reading for a model that keeps no cache.
    """

    def __init__(self, model: Any) -> None:
        if getattr(model.config, "is_encoder_decoder", False):
            raise UserError(f"Expected a causal language model, got the encoder-decoder {type(model).__name__}.")
        self._model = model
        self._like: Tensor = model.get_input_embeddings().weight
        self._takes = set(inspect.signature(model.forward).parameters)
        self._cache: Any = None
        self._mask: Tensor | None = None

    def read(self, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        """Returns the next-token logits after inputs, float32, shape (rows, vocabulary).

        inputs: embeddings, shape (rows, tokens, width). mask: 1 where a token is, 0 where padding stands in front,
        shape (rows, tokens); with the first inputs, and only where rows differ in length.
        """
        return self._read(inputs, mask, last=1)[:, -1]

    def read_through(self, inputs: Tensor) -> Tensor:
        """Returns the next-token logits after each of the inputs, float32, shape (rows, tokens, vocabulary)."""
        return self._read(inputs, None, last=0)

    @torch.no_grad()
    def _read(self, inputs: Tensor, mask: Tensor | None, last: int) -> Tensor:
        """Returns the logits after the last inputs, all of them where last is 0."""
        extra: dict[str, Any] = {}
        if mask is not None or self._mask is not None:
            fresh = torch.ones(inputs.shape[:2], dtype=torch.long) if mask is None else mask
            fresh = fresh.to(self._like.device)
            self._mask = fresh if self._mask is None else torch.cat([self._mask, fresh], dim=1)
            extra["attention_mask"] = self._mask
            if "position_ids" in self._takes:  # a token's position is counted without the padding
                extra["position_ids"] = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        if "logits_to_keep" in self._takes:
            # a place, not a count: the rows of a slice are not contiguous, and the head would copy itself for each
            length = inputs.shape[1]
            extra["logits_to_keep"] = torch.arange(length - (last or length), length, device=self._like.device)
        output = self._model(
            inputs_embeds=inputs.to(self._like), past_key_values=self._cache, use_cache=True, return_dict=True, **extra
        )
        self._cache = getattr(output, "past_key_values", None)
        if self._cache is None:
            name = type(self._model).__name__
            raise UserError(f"Expected a causal language model with a key-value cache, got {name}, which keeps none.")
        logits: Tensor = output.logits.float()
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all sequences but these."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self._like.device)
        self._cache.batch_select_indices(chosen)
        if self._mask is not None:
            self._mask = self._mask[chosen]

    def copied(self, rows: Sequence[int]) -> "Reading":
        """Returns a batch that goes on from these sequences, each as often as it is named; this reading stays."""
        copied = Reading(self._model)
        copied._cache, copied._mask = copy.deepcopy(self._cache), self._mask
        copied.keep(rows)
        return copied

    def branch(self, read: Sequence[int]) -> "Reading":
        """Returns a batch that goes on from within the one sequence read so far: row r has its first read[r] inputs.

        This reading stays as it is. Raises UserError for a model that does not take position_ids, whose positions
        would count what is hidden.
        """
        if "position_ids" not in self._takes:
            raise UserError(f"Expected a model that takes position_ids, got {type(self._model).__name__}.")
        branched = Reading(self._model)
        branched._cache = copy.deepcopy(self._cache)
        branched._cache.batch_repeat_interleave(len(read))
        places = torch.arange(self._cache.get_seq_length(), device=self._like.device)
        limits = torch.as_tensor(list(read), device=self._like.device)
        branched._mask = (places[None] < limits[:, None]).long()
        return branched


def require_context(model: Any, tokens: int) -> None:
    """Raises UserError for a sequence over the model's context."""
    limit = int(model.config.max_position_embeddings)
    if tokens > limit:
        raise UserError(f"Expected a sequence of at most {limit} tokens, the model's context, got {tokens}.")
