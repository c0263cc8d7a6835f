"""Text from a frozen language model behind given embeddings: greedy or sampled, in batches, token by token.

The model's law is used as it is. Of its own generation settings only the end tokens count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.model_facts import end_tokens, input_weight
from mechanisms.own_forward import embed
from mechanisms.randomness import simulation_generator
from mechanisms.stepping import CachedReader, require_context
from mechanisms.text_pieces import TextPieces
from mechanisms.validation import whole_at_least

GENERATION_BATCH = 32
"""Texts written at once: a step reads all weights, whatever the batch."""
SHORTLIST = 1024
"""Words that are sorted first; all of them only where these hold less than the nucleus."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """How text is written; the defaults are the paper's. Text ends before an end-of-text token.

    new_tokens: at most. temperature: divides the logits. top_k: the likeliest words that may be drawn, 0 for all.
    top_p: of these, the fewest that together have this probability. greedy: the likeliest word always; then the three
    do nothing. seed: of the draws; each text has draws of its own, whatever is written beside it.
    Raises UserError for values out of range.
    """

    new_tokens: int = 200
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    greedy: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("new_tokens", 1), ("top_k", 0), ("seed", 0)):
            value = getattr(self, name)
            whole_at_least(name, value, least)
        if not 0 < self.temperature < float("inf"):
            raise UserError(f"Expected temperature > 0 and finite, got temperature={self.temperature!r}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"Expected top_p in (0, 1], got top_p={self.top_p!r}.")


def write(model: PreTrainedModel, prefixes: Sequence[Tensor], settings: GenerationSettings) -> list[list[int]]:
    """Returns the tokens written after each prefix, without end tokens; raises UserError as write_stepwise does."""
    written: list[list[int]] = [[] for _ in prefixes]
    for step in write_stepwise(model, prefixes, settings):
        for text, token in step:
            written[text].append(token)
    return written


def write_stepwise(
    model: PreTrainedModel, prefixes: Sequence[Tensor], settings: GenerationSettings
) -> Iterator[list[tuple[int, int]]]:
    """Yields for each step of the model the new tokens: (index of the prefix, token) of every text that goes on.

    prefixes: embeddings, shape (>= 1, width) each, of any lengths; GENERATION_BATCH of them are written at a time.
    Raises UserError for an empty prefix, and for one that with the new tokens is over the model's context.
    """
    if any(not len(prefix) for prefix in prefixes):
        raise UserError("Expected prefixes of at least one embedding, got an empty one.")
    if prefixes:
        require_context(model, max(map(len, prefixes)) + settings.new_tokens)
    for start in range(0, len(prefixes), GENERATION_BATCH):
        chosen = range(start, min(start + GENERATION_BATCH, len(prefixes)))
        yield from _write_batch(model, {index: prefixes[index] for index in chosen}, settings)


def _write_batch(
    model: PreTrainedModel, prefixes: dict[int, Tensor], settings: GenerationSettings
) -> Iterator[list[tuple[int, int]]]:
    """Yields the steps of one batch; a text that has ended leaves it."""
    orders = [Order(prefix, settings, text) for text, prefix in prefixes.items()]
    batch, names = WritingBatch(model, orders), list(prefixes)
    while batch.going:
        step = batch.step()
        yield [(names[text], token) for text, token in step.items() if token is not None]


@dataclass(frozen=True, slots=True)
class Order:
    """A text to write. prefix: embeddings, shape (>= 1, width). text: its number among those of one seed."""

    prefix: Tensor
    settings: GenerationSettings
    text: int = 0


class WritingBatch:
    """Texts that are written side by side, step by step, each by its own settings: what is beside it changes nothing.

    A text leaves the batch with an end token, after its settings' new_tokens, or when it is dropped.
    """

    def __init__(self, model: PreTrainedModel, orders: Sequence[Order]) -> None:
        self._model, self._orders, self._ends = model, list(orders), end_tokens(model)
        self._draws = [simulation_generator(one.settings.seed, "generation", str(one.text)) for one in orders]
        self._rows = list(range(len(orders)))  # the text of each row that is still read
        self._reading, self._last = CachedReader(model), dict[int, int]()
        self._written = [0] * len(orders)
        self.going = set(self._rows)
        """The texts that are not finished, by their place among the orders."""

    def drop(self, text: int) -> None:
        """Writes no more of a text."""
        self.going.discard(text)

    @property
    def joins(self) -> bool:
        """Whether another batch can be joined to this one now: it has written a token, and its cache allows it."""
        return bool(self._last) and self._reading.joins

    def join(self, other: "WritingBatch") -> None:
        """Adds the texts of another batch, whose places follow on; the other is not to be used any more.

        Raises UserError where one of them does not join.
        """
        for batch in (self, other):
            batch._forget_finished()
        self._reading.join(other._reading)
        first = len(self._orders)
        self._orders += other._orders
        self._draws += other._draws
        self._written += other._written
        self._rows += [first + text for text in other._rows]
        self._last |= {first + text: token for text, token in other._last.items()}
        self.going |= {first + text for text in other.going}

    def step(self) -> dict[int, int | None]:
        """Returns the next token of each text that goes on, None where that one ended it; one step of the model."""
        logits = self._next_logits()
        tokens = self._choose(logits)
        found: dict[int, int | None] = {}
        for text, token in tokens.items():
            self._written[text] += 1
            found[text] = None if token in self._ends else token
            if token in self._ends or self._written[text] == self._orders[text].settings.new_tokens:
                self.going.discard(text)
        self._last = tokens
        return found

    def _next_logits(self) -> Tensor:
        """Returns the logits of the texts that go on, in the order of the rows."""
        if self._last:
            self._forget_finished()
            return self._reading.read(embed(self._model, [self._last[text] for text in self._rows])[:, None])
        like = input_weight(self._model)
        rows = [one.prefix.detach().to(like) for one in self._orders]
        mask = None
        if len({len(row) for row in rows}) > 1:
            mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True, 0, "left")
        logits = self._reading.read(pad_sequence(rows, True, 0.0, "left"), mask)
        return logits[self._forget_finished()]

    def _forget_finished(self) -> list[int]:
        """Forgets the rows whose text is finished, and returns the places that the others had."""
        stays = [row for row, text in enumerate(self._rows) if text in self.going]
        if len(stays) < len(self._rows):
            self._reading.keep(stays)
            self._rows = [self._rows[row] for row in stays]
        return stays

    def _choose(self, logits: Tensor) -> dict[int, int]:
        """Returns the next token of each row's text: rows of the same settings are chosen together."""
        uniforms = np.array([self._draws[text].random() for text in self._rows])
        alike: dict[GenerationSettings, list[int]] = {}
        for row, text in enumerate(self._rows):
            law = replace(self._orders[text].settings, new_tokens=1, seed=0)
            alike.setdefault(law, []).append(row)
        found: dict[int, int] = {}
        for law, rows in alike.items():
            part = logits if len(rows) == len(logits) else logits[rows]
            chosen = choose(part, law, uniforms[rows]).tolist()
            found |= {self._rows[row]: token for row, token in zip(rows, chosen, strict=True)}
        return {text: found[text] for text in self._rows}


@torch.no_grad()
def choose(logits: Tensor, settings: GenerationSettings, uniforms: NDArray[np.float64]) -> Tensor:
    """Returns the next token of each row, int64, shape (rows,): the likeliest, or the one that its number draws.

    logits: float32, shape (rows, vocabulary). uniforms: in [0, 1), shape (rows,), where the law's inverse is taken.
    """
    if settings.greedy:
        return logits.argmax(1)
    scaled, words = logits / settings.temperature, logits.shape[1]
    allowed = min(settings.top_k or words, words)
    total = None if allowed < words else scaled.logsumexp(1, keepdim=True)
    for width in (min(SHORTLIST, allowed), allowed):
        best = scaled.topk(width, dim=1)
        if total is None and width < allowed:
            continue
        share = (best.values - (best.values.logsumexp(1, keepdim=True) if total is None else total)).double().exp()
        mass = share.cumsum(1)
        if width == allowed or bool((mass[:, -1] >= settings.top_p).all()):
            break
    nucleus = (mass - share < settings.top_p).sum(1, keepdim=True)  # the words before which top_p is not reached yet
    drawn = torch.from_numpy(uniforms).to(mass)[:, None] * mass.gather(1, nucleus - 1)
    place = torch.minimum(torch.searchsorted(mass, drawn, right=True), nucleus - 1)
    return best.indices.gather(1, place)[:, 0]


def stream_texts(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prefixes: Sequence[Tensor],
    settings: GenerationSettings,
) -> Iterator[tuple[int, str]]:
    """Yields (index of the prefix, piece of its text) as the texts grow; raises UserError as write_stepwise does."""
    pieces = [TextPieces(tokenizer) for _ in prefixes]
    for step in write_stepwise(model, prefixes, settings):
        for text, token in step:
            if piece := pieces[text].add(token):
                yield text, piece
    for text, rest in enumerate(pieces):
        if piece := rest.finish():
            yield text, piece
