"""Sequences in a language model's own cache: read on, kept, copied, branched. `Reading` says where that is exact."""

import copy
import functools
import inspect
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import input_weight


def accepted(model: PreTrainedModel, **arguments: object) -> dict[str, object]:
    """Returns those of the arguments that the model's forward takes."""
    names, takes_any = _parameters(type(model))  # type: ignore[arg-type]
    optional = ("position_ids", "logits_to_keep")  # which a model that takes anything may ignore
    return {name: value for name, value in arguments.items() if name in names or (takes_any and name not in optional)}


@functools.cache
def _parameters(kind: "type[PreTrainedModel]") -> tuple[frozenset[str], bool]:
    """Returns the names that a kind of model takes, and whether it takes others as well."""
    parameters = inspect.signature(kind.forward).parameters
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values())
    return frozenset(parameters), takes_any


JOINABLE = frozenset({"DynamicLayer"})
"""Kinds of layers that hold every place of a sequence, and nothing else."""


class CachedSequences:
    """A batch that a model has read into its cache. Exact for some models and some lengths only, see Abilities.

    chooses: whether the model makes the logits of chosen places alone. at_once: whether several inputs can be read
    together behind others.
    """

    def __init__(self, model: PreTrainedModel, *, chooses: bool, at_once: bool = True) -> None:
        self._model, self._chooses, self._at_once = model, chooses, at_once
        self._like = input_weight(model)
        self._cache: Any = None
        self._mask: Tensor | None = None

    @property
    def layers(self) -> set[str]:
        """The kinds of the cache's layers; empty where it has none."""
        return {type(layer).__name__ for layer in getattr(self._cache, "layers", [])}

    def read(self, inputs: Tensor, mask: Tensor | None, last: int) -> Tensor:
        """Returns the logits after the last inputs, all of them where last is 0, float32, shape (rows, last, words).

        inputs: embeddings, shape (rows, tokens, width). mask: 0 where padding stands in front, shape (rows, tokens).
        Raises LookupError for a model that keeps no cache.
        """
        if self._cache is not None and not self._at_once and inputs.shape[1] > 1:
            steps = [self._step(inputs[:, place : place + 1], None, 1) for place in range(inputs.shape[1])]
            return torch.cat(steps[-last:], 1)
        return self._step(inputs, mask, last)

    @torch.no_grad()
    def _step(self, inputs: Tensor, mask: Tensor | None, last: int) -> Tensor:
        extra: dict[str, Tensor] = {}
        if mask is not None or self._mask is not None:
            fresh = torch.ones(inputs.shape[:2], dtype=torch.long) if mask is None else mask
            fresh = fresh.to(self._like.device)
            self._mask = fresh if self._mask is None else torch.cat([self._mask, fresh], dim=1)
            extra["attention_mask"] = self._mask
            # a token's position is counted without the padding
            extra["position_ids"] = (self._mask.cumsum(1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
        length = inputs.shape[1]
        if self._chooses:
            # a place, not a count: the rows of a slice are not contiguous, and the head would copy itself for each
            extra["logits_to_keep"] = torch.arange(length - (last or length), length, device=self._like.device)
        output = self._model(
            inputs_embeds=inputs.to(self._like).clone(),  # some models scale what they are given in place
            **accepted(self._model, past_key_values=self._cache, use_cache=True, return_dict=True, **extra),
        )
        self._cache = getattr(output, "past_key_values", None)
        if self._cache is None:
            raise LookupError(f"{type(self._model).__name__} keeps no cache")
        logits: Tensor = output.logits.float()
        return logits[:, length - (last or length) :] if not self._chooses else logits

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all sequences but these; one may be named several times."""
        chosen = torch.tensor(rows, dtype=torch.long, device=self._like.device)
        self._cache.reorder_cache(chosen)  # of all kinds of layers; batch_select_indices forgets some states
        if self._mask is not None:
            self._mask = self._mask[chosen]

    def join(self, other: "CachedSequences") -> None:
        """Adds another batch's sequences behind these: the shorter one is padded in front, useless padding is cut off.

        For caches whose layers are all of JOINABLE, of a model that reads padding in front without a trace. The other
        batch is not to be used any more.
        """
        masks = [one._whole_mask() for one in (self, other)]
        longest = max(mask.shape[1] for mask in masks)
        mask = torch.cat([pad(mask, (longest - mask.shape[1], 0)) for mask in masks])
        cut = int(mask.any(0).int().argmax())
        for own, theirs in zip(self._cache.layers, other._cache.layers, strict=True):
            own.keys, own.values = (
                torch.cat([pad(each, (0, 0, longest - each.shape[-2], 0)) for each in both])[..., cut:, :]
                for both in ((own.keys, theirs.keys), (own.values, theirs.values))
            )
        self._mask = mask[:, cut:]

    def _whole_mask(self) -> Tensor:
        """Returns the mask of all that is cached, also where nothing is hidden."""
        if self._mask is not None:
            return self._mask
        keys = self._cache.layers[0].keys
        return torch.ones(keys.shape[0], keys.shape[-2], dtype=torch.long, device=self._like.device)

    def copied(self, rows: Sequence[int]) -> "CachedSequences":
        """Returns a batch that goes on from these sequences; this one stays."""
        copied = CachedSequences(self._model, chooses=self._chooses, at_once=self._at_once)
        copied._cache, copied._mask = copy.deepcopy(self._cache), self._mask
        copied.keep(rows)
        return copied

    def branch(self, read: Sequence[int]) -> "CachedSequences":
        """Returns a batch that goes on from within the one sequence: row r sees its first read[r] inputs alone."""
        branched = self.copied([0] * len(read))
        places = torch.arange(self._cache.get_seq_length(), device=self._like.device)
        limits = torch.as_tensor(list(read), device=self._like.device)
        branched._mask = (places[None] < limits[:, None]).long()
        return branched
