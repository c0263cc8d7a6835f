"""Where no masked language model is at hand: a causal one, read forwards, with what follows as a second opinion."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attacks.ranking import Guesses
from mechanisms.errors import UserError
from mechanisms.models import LanguageModel


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
                f"reach={self.reach} and right={self.right}."
            )

    @property
    def opening(self) -> int | None:
        """The token that is read before everything."""
        tokenizer = self.language.tokenizer
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id  # type: ignore[no-any-return]

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
        device = model.get_input_embeddings().weight.device
        whole = torch.from_numpy(tokens).to(device)
        reading = torch.cat([torch.tensor([self.opening], device=device), whole])
        step = model(input_ids=reading[None, : first + 1], use_cache=True)
        guesses = []
        for place in range(first, first + count):
            logs, words = torch.log_softmax(step.logits[0, -1].float(), 0).topk(self.candidates)
            right = whole[place + 1 : place + 1 + self.right]
            scores = logs + self._likelihood(step.past_key_values, words, right) if len(right) else logs
            order = scores.argsort(descending=True, stable=True)
            guesses.append((words[order].int().cpu().numpy(), scores[order].cpu().numpy()))
            if place + 1 < first + count:
                step = model(input_ids=whole[None, place : place + 1], past_key_values=step.past_key_values)
        return guesses

    def _likelihood(self, cache: object, words: Tensor, right: Tensor) -> Tensor:
        """Returns log P(right | what the cache has read, word) of each word, float32, shape (words,)."""
        branches = copy.deepcopy(cache)
        branches.batch_repeat_interleave(len(words))  # type: ignore[attr-defined]
        inputs = torch.cat([words[:, None], right[:-1].expand(len(words), -1)], 1)
        logits = self.language.model(input_ids=inputs, past_key_values=branches).logits.float()
        targets = right.expand(len(words), -1)
        chosen = torch.log_softmax(logits, 2).gather(2, targets[:, :, None])[:, :, 0]
        return chosen.sum(1)
