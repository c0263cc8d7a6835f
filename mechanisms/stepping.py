"""Reading embeddings step by step through a frozen language model: from its cache where that is exact."""

from collections.abc import Sequence

import torch
from torch import Tensor

from mechanisms.abilities import abilities
from mechanisms.cached_sequences import JOINABLE, CachedSequences
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import input_weight, require_context
from mechanisms.own_forward import logits_within

__all__ = ["CachedReader", "require_context"]


class CachedReader:
    """A batch of sequences that a causal language model is reading.

    Everything goes in through inputs_embeds, on the model's device and in its number format; logits come out as
    float32, and are those that the model's own forward gives for the whole sequence. What was read stays in the model's
    cache. Where the cache is not exact (no cache, padding that leaves traces, places hidden beyond a window, a turn
    that is passed; see Abilities), the inputs are kept instead and read again at each step, which is slower. Raises
    UserError as `abilities` does.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self._able = model, abilities(model)
        self._like = input_weight(model)
        self._cached: CachedSequences | None = None
        self._rows: list[Tensor] | None = None  # what each sequence has read; None where the cache alone is needed
        self._places = 0  # that the cache has, padding and hidden ones among them
        self._hides = False  # whether some of them are hidden from some rows

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
        inputs = inputs.to(self._like)
        if self._cached is None and self._rows is None:
            self._begin(len(inputs), inputs.shape[1], padded=mask is not None)
        if self._rows is not None:
            new = inputs if mask is None else [row[kept.bool()] for row, kept in zip(inputs, mask, strict=True)]
            self._rows = [torch.cat([row, rest]) for row, rest in zip(self._rows, new, strict=True)]
        before, self._places = self._places, self._places + inputs.shape[1]
        if not self._stays_exact(before):
            self._cached = None
        if self._cached is not None:
            return self._cached.read(inputs, mask, last)
        rows, wanted = self._rows or [], last or inputs.shape[1]
        return torch.stack(logits_within(self._model, rows, [(len(row) - wanted, len(row)) for row in rows])).float()

    def _begin(self, rows: int, places: int, padded: bool) -> None:
        """Decides where what is read is kept: in the cache, here, or, where the cache may cease to do, in both."""
        if self._able.cache and (not padded or (self._able.pads_front and not self._able.turned(places))):
            self._cached = CachedSequences(self._model, chooses=self._able.chooses, at_once=self._able.at_once)
        if self._cached is None or rows == 1 or self._able.turns:
            self._rows = [self._like.new_empty(0, self._like.shape[1])] * rows

    def _stays_exact(self, before: int) -> bool:
        """Returns whether the cache, of so many places before, does for as many as there are now."""
        turns = bool(before) and self._able.turned(before) != self._able.turned(self._places)
        return not turns and (not self._hides or self._may_hide(self._places))

    def _may_hide(self, places: int) -> bool:
        """Returns whether places of a cache of this length can be hidden without a trace."""
        limit = self._able.branch_limit
        return self._able.branches and (limit is None or places <= limit)

    def keep(self, rows: Sequence[int]) -> None:
        """Forgets all sequences but these; one may be named several times."""
        if self._cached is not None:
            self._cached.keep(rows)
        if self._rows is not None:
            cached = self._cached is not None and not self._hides and not self._able.turns
            self._rows = None if cached and len(rows) != 1 else [self._rows[row] for row in rows]

    @property
    def joins(self) -> bool:
        """Whether another batch of the same model can be joined to this one, once both have read."""
        able, cached = self._able, self._cached
        plain = able.pads_front and not able.turns and not self._hides
        return cached is not None and plain and cached.layers == JOINABLE

    def join(self, other: "CachedReader") -> None:
        """Adds the sequences of another batch behind these; the other is not to be used any more.

        Raises UserError where one of them does not join.
        """
        if self._cached is None or other._cached is None or not (self.joins and other.joins):
            raise UserError("Expected two batches that can be joined, got one that cannot.")
        self._cached.join(other._cached)
        self._rows, self._places = None, max(self._places, other._places)

    def copied(self, rows: Sequence[int]) -> "CachedReader":
        """Returns a batch that goes on from these sequences, each as often as it is named; this reading stays."""
        copied = CachedReader(self._model)
        copied._places, copied._hides = self._places, self._hides
        copied._rows = None if self._rows is None else [self._rows[row] for row in rows]
        copied._cached = None if self._cached is None else self._cached.copied(rows)
        return copied

    def branch(self, read: Sequence[int]) -> "CachedReader":
        """Returns a batch that goes on from within the one sequence read so far: row r has its first read[r] inputs.

        This reading stays as it is. Raises UserError where more than one sequence was read.
        """
        if self._rows is None or len(self._rows) != 1:
            raise UserError("Expected one sequence to branch from, got several.")
        branched, (row,) = CachedReader(self._model), self._rows
        plain = not self._hides and self._places == len(row)  # without padding
        if self._cached is not None and plain and self._may_hide(len(row) + 1):
            branched._cached, branched._places, branched._hides = self._cached.branch(read), len(row), True
        if branched._cached is None or self._able.branch_limit is not None:
            branched._rows = [row[:count] for count in read]
        return branched
