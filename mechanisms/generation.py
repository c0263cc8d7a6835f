"""Text from a frozen language model behind given embeddings: greedy or sampled, in batches, token by token.

The model's law is used as it is. Of its own generation settings only the end tokens count.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    ends, like = end_tokens(model), input_weight(model)
    rows = [prefix.detach().to(like) for prefix in prefixes.values()]
    mask = None
    if len({len(row) for row in rows}) > 1:
        mask = pad_sequence([torch.ones(len(row), dtype=torch.long) for row in rows], True, 0, "left")
    draws = {text: simulation_generator(settings.seed, "generation", str(text)) for text in prefixes}
    reading, going = CachedReader(model), list(prefixes)
    logits = reading.read(pad_sequence(rows, True, 0.0, "left"), mask)
    for step in range(settings.new_tokens):
        uniforms = np.array([draws[text].random() for text in going])
        tokens = choose(logits, settings, uniforms).tolist()
        stays = [row for row, token in enumerate(tokens) if token not in ends]
        going, tokens = [going[row] for row in stays], [tokens[row] for row in stays]
        yield list(zip(going, tokens, strict=True))
        if not going or step + 1 == settings.new_tokens:
            return
        if len(stays) < len(logits):
            reading.keep(stays)
        logits = reading.read(embed(model, tokens)[:, None])


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
