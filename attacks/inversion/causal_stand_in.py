"""Where no masked language model is at hand: a causal one, read forwards, with what follows as a second opinion."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.ranking import Guesses
from mechanisms.errors import UserError
from mechanisms.model_facts import input_weight, opening_token
from mechanisms.models import LanguageModel
from mechanisms.own_forward import embed
from mechanisms.stepping import CachedReader


@dataclass(frozen=True, slots=True)
class CausalStandIn:
    """Ranks the model's candidates after the left context by log P(candidate | left) + log P(right | left, candidate).

    candidates: a place, words. right: tokens after the place whose likelihood counts. reach: tokens before it that are
    read at least; the text is read in stretches of twice as many. Raises UserError for a model without a token that
    opens or ends a text, and for a reach over its context.
    """

    language: LanguageModel
    candidates: int
    right: int
    reach: int

    def __post_init__(self) -> None:
        if self.opening is None:
            raise UserError("Expected a language model with a token that opens or ends a text, got neither.")
        if 1 + 2 * self.reach + self.right > self.language.context_tokens:
            raise UserError(
                f"Expected 1 + 2 reach + right <= {self.language.context_tokens}, the model's context, got "
                f"reach={self.reach} and right={self.right}. Give input inference a masked model, or leave it out."
            )

    @property
    def opening(self) -> int | None:
        """The token that is read before everything."""
        tokenizer = self.language.tokenizer
        for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
            if token is not None:
                return int(token)
        return opening_token(self.language.model)

    def fill(self, tokens: NDArray[np.int64]) -> Guesses:
        """Returns the candidates of each token, best first; none depends on the token itself."""
        parts = []
        for first in range(0, len(tokens), self.reach):
            start = max(0, first - self.reach)
            parts += self._stretch(tokens[start:], first - start, min(self.reach, len(tokens) - first))
        return Guesses(np.stack([words for words, _ in parts]), np.stack([scores for _, scores in parts]))

    @torch.no_grad()
    def _stretch(
        self, tokens: NDArray[np.int64], first: int, count: int
    ) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
        """Returns words and scores of places first, first + 1, ..., count of them, all tokens before them read."""
        model = self.language.model
        whole = torch.from_numpy(tokens).to(input_weight(model).device)
        reading = CachedReader(model)
        said = reading.read(embed(model, [int(self.opening or 0), *tokens[:first].tolist()])[None])
        guesses = []
        for place in range(first, first + count):
            logs, words = torch.log_softmax(said[0], 0).topk(self.candidates)
            right = whole[place + 1 : place + 1 + self.right]
            scores = logs + self._likelihood(reading, words, right) if len(right) else logs
            order = scores.argsort(descending=True, stable=True)
            guesses.append((words[order].int().cpu().numpy(), scores[order].cpu().numpy()))
            if place + 1 < first + count:
                said = reading.read(embed(model, tokens[place : place + 1].tolist())[None])
        return guesses

    def _likelihood(self, reading: CachedReader, words: Tensor, right: Tensor) -> Tensor:
        """Returns log P(right | what was read, word) of each word, float32, shape (words,)."""
        inputs = torch.cat([words[:, None], right[:-1].expand(len(words), -1)], 1)
        rows = embed(self.language.model, inputs.flatten().tolist()).view(*inputs.shape, -1)
        logits = reading.copied([0] * len(words)).read_through(rows)
        targets = right.expand(len(words), -1)
        chosen = torch.log_softmax(logits, 2).gather(2, targets[:, :, None])[:, :, 0]
        return chosen.sum(1)
