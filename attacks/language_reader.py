"""The language model that attacks read with: the prior of the next word after the words to its left."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attacks.base import AttackerKnowledge
from mechanisms.abilities import abilities
from mechanisms.continuation import embed
from mechanisms.decoding.language import language_log_prior, mixed
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedModel
from mechanisms.model_facts import opening_tokens
from mechanisms.own_forward import logits_within
from mechanisms.stepping import CachedReader

LEAST_UNIGRAM = -60.0
"""Log probability. A ratio to a rarer word would leave float32."""


@dataclass(frozen=True, slots=True)
class Reader:
    """The language model as the prior of the next word. opening: embeddings that it reads first, (0 or 1, width)."""

    model: PreTrainedModel
    opening: Tensor
    unigrams: Tensor
    temper: float
    share: float
    context: int

    @classmethod
    def of(cls, public: AttackerKnowledge, temper: float, share: float) -> "Reader":
        """Returns the reader of a public language model; raises UserError where there is none that fits."""
        if public.language is None:
            raise UserError("Expected a language model to attack with, got none.")
        model = public.language.model
        words = abilities(model).words
        if words < public.words:
            raise UserError(f"Expected a language model of {public.words} words, the mechanism's, got {words} logits.")
        opening = embed(model, opening_tokens(model))
        unigrams = torch.from_numpy(public.log_prior.astype(np.float32)).to(opening.device)
        return cls(model, opening, unigrams, temper, share, public.language.context_tokens)

    def log_prior(self, logits: Tensor) -> Tensor:
        """Returns log prior of every word, float32, shape (rows, words), from logits of shape (rows, >= words)."""
        return language_log_prior(logits, self.unigrams, self.temper, self.share)

    def lift(self, logits: Tensor) -> Tensor:
        """Returns log prior less log unigram of every word, float32, shape (rows, words); may overwrite logits.

        A search spends much of its time here, so the mixture is made in place: log((1 - share) p / unigram + share).
        """
        if not 0 < self.share < 1 or float(self.unigrams.min()) < LEAST_UNIGRAM:
            return self.log_prior(logits) - self.unigrams
        kept = logits[:, : len(self.unigrams)].mul_(self.temper)
        kept = kept.sub_(kept.logsumexp(1, keepdim=True)).sub_(self.unigrams)
        return kept.exp_().mul_(1 - self.share).add_(self.share).log_()

    def log_prior_of(self, logits: Tensor, words: Tensor) -> Tensor:
        """Returns log prior of some words, shape (rows, some), from logits of shape (rows, >= words)."""
        kept = logits[:, : len(self.unigrams)]
        kept = kept if self.temper == 1 else self.temper * kept  # a pass over the vocabulary is dear
        model = kept.gather(1, words) - kept.logsumexp(1, keepdim=True)
        return mixed(model, self.unigrams[words], self.share)

    def along(self, tokens: Sequence[int]) -> Tensor:
        """Returns the log prior of every word at each place of a sequence, given the tokens left of it.

        float32, shape (tokens, words). Where nothing is read before the first token, it has the unigram prior.
        """
        (logits,) = self.logits_along([tokens])
        priors = self.log_prior(logits.float())
        return priors if len(logits) == len(tokens) else torch.cat([self.unigrams[None], priors])

    @torch.no_grad()
    def logits_along(self, prompts: Sequence[Sequence[int]]) -> list[Tensor]:
        """Returns the model's logits before each token of each prompt, (tokens, words), given the tokens left of it.

        Where the model has no opening token there are none before the first token. The prompts are read together.
        """
        inputs = [torch.cat([self.opening, embed(self.model, list(tokens)[:-1])]) for tokens in prompts]
        read = [row for row in inputs if len(row)]
        said = iter(logits_within(self.model, read, [(0, len(row)) for row in read]) if read else ())
        return [next(said) if len(row) else self.unigrams[None][:0] for row in inputs]

    @torch.no_grad()
    def right_of(
        self,
        words: Sequence[int],
        places: Tensor,
        chosen: Tensor,
        ends: Tensor,
        reach: int,
        likely: Callable[[Tensor, Tensor], Tensor],
        rows: int = 64,
    ) -> Tensor:
        """Returns how well the text goes on once `chosen` stands at `places`, nats, float32, shape (pairs,).

        words: the prompt as it stands. ends: of each pair, the place at which what counts to its right ends; at most
        `reach` places count. likely: from the logits before some places, shape (some, >= words), and these places, to
        the log-likelihood of each, shape (some,). rows: pairs that are read at once.
        """
        reading = CachedReader(self.model)
        reading.read(torch.cat([self.opening, embed(self.model, words)])[None])
        standing = torch.tensor([*words, *[words[-1]] * reach], device=places.device)
        found = torch.empty(len(places), device=places.device)
        for start in range(0, len(places), rows):
            part = slice(start, start + rows)
            here = places[part]
            nexts = here[:, None] + torch.arange(1, reach + 1, device=here.device)
            inputs = torch.cat([chosen[part, None], standing[nexts[:, :-1]]], 1)
            branch = reading.branch((here + len(self.opening)).tolist())
            logits = branch.read_through(embed(self.model, inputs.flatten().tolist()).view(*inputs.shape, -1))
            inside = nexts < ends[part, None]
            each = torch.zeros(inside.shape, device=found.device)
            counted = (logits.flatten(0, 1), nexts.flatten()) if inside.all() else (logits[inside], nexts[inside])
            found[part] = each.masked_scatter(inside, likely(*counted)).sum(1)
        return found

    def require_room(self, tokens: int) -> None:
        """Raises UserError for a prompt that does not fit the model's context."""
        require_room(self.context, len(self.opening), tokens)


def require_room(context: int, opening: int, tokens: int) -> None:
    """Raises UserError for a prompt of so many tokens that does not fit a context behind so many opening ones."""
    if opening + tokens > context:
        raise UserError(
            f"Expected prompts of at most {context - opening} tokens, which the model's context holds, got {tokens}. "
            "Shorten the prompts."
        )
