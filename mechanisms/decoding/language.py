"""The posterior under the language model's own left-to-right prior. It costs one step of the model a prompt token."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mechanisms.abilities import abilities
from mechanisms.channel import MEMORY_LIMIT
from mechanisms.decoding.public_parts import PublicParts
from mechanisms.device_channel import Law, evidence_on
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, Observed
from mechanisms.model_facts import input_weight, opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.own_forward import embed
from mechanisms.stepping import CachedReader
from mechanisms.table_sums import weighted_sum
from mechanisms.validation import at_least

Estimate = Literal["mean", "most-likely"]
"""mean: E[row of the table | counts]. most-likely: the row of the most probable word."""

GAIN_PROMPTS = 32
"""Public prompts, and the tokens of each, whose simulated release sets the gain."""


@dataclass(frozen=True, slots=True)
class LanguagePrior:
    """The prior of token i: (1 - unigram_share) softmax(temper logits_i) + unigram_share times the unigram prior.

    logits_i: the model's, after the opening and the decoded tokens before i.
    temper: 1 trusts the model as it is, 0 makes all words alike; below 1 softens what follows from wrongly decoded
    tokens. unigram_share: a floor that no confident error of the model takes away. feedback: what the model reads of
    the tokens before. output: what is returned. batch: prompts at once. Raises UserError for values out of range.
    """

    temper: float = 1.0
    unigram_share: float = 0.5
    feedback: Estimate = "mean"
    output: Estimate = "mean"
    batch: int = 32

    def __post_init__(self) -> None:
        if not 0 <= self.temper <= 10:
            raise UserError(f"Expected temper in [0, 10], got temper={self.temper!r}.")
        if not 0 <= self.unigram_share <= 1:
            raise UserError(f"Expected unigram_share in [0, 1], got unigram_share={self.unigram_share!r}.")
        for name in ("feedback", "output"):
            if getattr(self, name) not in get_args(Estimate):
                raise UserError(f"Expected {name} to be mean or most-likely, got {name}={getattr(self, name)!r}.")
        at_least("batch", self.batch, 1)


@dataclass(frozen=True, slots=True)
class LanguagePosteriorDecoder:
    """Decodes a prompt from left to right: log P(word | counts_i) + log prior_i[word] is token i's posterior.

    prior_i is the LanguagePrior after opening and the tokens decoded before i, so the whole is a greedy filter, not the
    exact posterior given all counts (docs/theory.md, theorem 8). opening: embeddings that the model reads first, a soft
    prompt's or an opening token's, shape (tokens, width); where it is empty, the first token has the unigram prior.
    gain: stretches a posterior mean about the prior's mean, as PosteriorMeanDecoder's, where it is returned and where
    it is fed back: the model reads stretched embeddings better. The most likely word's row stays as it is.
    memory_limit: bytes of scores at once. Raises UserError for a model of a smaller vocabulary than the table's.
    """

    language: LanguageModel
    channel: KnownChannel
    log_prior: NDArray[np.float64]
    table: NDArray[np.float32]
    opening: Tensor
    settings: LanguagePrior = field(default_factory=LanguagePrior)
    gain: float = 1.0
    memory_limit: int = MEMORY_LIMIT

    def __post_init__(self) -> None:
        words = abilities(self.language.model).words
        if words < len(self.table):
            raise UserError(f"Expected a model of {len(self.table)} words, the table's, got {words} logits.")
        if self.log_prior.shape != (len(self.table),):
            raise UserError(f"Expected a prior over {len(self.table)} words, got shape {self.log_prior.shape}.")

    @classmethod
    @torch.no_grad()
    def of(cls, parts: PublicParts) -> "LanguagePosteriorDecoder":
        """Returns the decoder behind the parts' soft prompt, or an opening token, its gain set on a simulated release.

        Raises UserError where the parts have no language model.
        """
        language = parts.language
        if language is None:
            raise UserError("Expected parts with the language model that serves, got none.")
        opening = embed(language.model, opening_tokens(language.model))
        if parts.soft_prompt is not None:
            opening = parts.soft_prompt.vectors.to(opening)
        prompts = [
            np.asarray(document[:GAIN_PROMPTS], dtype=np.int64) for document in parts.words.documents if len(document)
        ]
        prompts = prompts[:GAIN_PROMPTS]
        decoder = cls(language, parts.channel, parts.log_prior, parts.table, opening)
        return decoder.fit_gain(parts.simulated(prompts, "language prior gain"), prompts)

    def fit_gain(
        self,
        public_counts: Sequence[Observed],
        public_prompts: Sequence[NDArray[np.int64]],
        rounds: int = 2,
    ) -> "LanguagePosteriorDecoder":
        """Returns the decoder with the gain that gives decoded public prompts the spread of their true embeddings.

        public_counts: a simulated release of public_prompts, shape (tokens, dim) each. rounds: how often the gain is
        corrected from gain=1, since it changes what the model reads, and that the spread.
        """
        mean = weighted_sum(self.table, np.exp(self.log_prior))
        true = ((self.table[np.concatenate(public_prompts)] - mean) ** 2).sum()
        fitted = replace(self, gain=1.0)
        for _ in range(rounds):
            decoded = ((np.concatenate(fitted.decode_prompts(public_counts)) - mean) ** 2).sum()
            fitted = replace(fitted, gain=fitted.gain * float(np.sqrt(true / decoded)))
        return fitted

    def decode(self, counts: Observed) -> NDArray[np.float32]:
        """Returns the embeddings of one prompt's counts, float32, shape (tokens, width)."""
        return self.decode_prompts([counts])[0]

    def decode_prompts(self, prompts: Sequence[Observed]) -> list[NDArray[np.float32]]:
        """Returns the embeddings of each prompt, float32, shape (tokens, width) each, in the order of prompts.

        A prompt's embeddings do not depend on the others. Raises UserError for counts of another shape, and for a
        prompt that does not fit the model's context behind the opening.
        """
        limit = self.language.context_tokens
        for counts in prompts:
            law = next(self.channel.scores(counts), None)  # refuses another shape before anything is read
            if law is not None and law[1].shape[1] != len(self.table):
                raise UserError(f"Expected a law over {len(self.table)} words, the table's, got {law[1].shape[1]}.")
            if len(self.opening) + len(counts) > limit:
                raise UserError(
                    f"Expected opening and prompt of at most {limit} tokens, the model's context, got "
                    f"{len(self.opening)} + {len(counts)}."
                )
        table = _Posterior.of(self)
        at_once = max(1, min(self.settings.batch, self.memory_limit // (_BLOCKS * 4 * len(self.table))))
        order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index]))
        decoded: dict[int, NDArray[np.float32]] = {}
        for start in range(0, len(order), at_once):
            chosen = order[start : start + at_once]
            decoded.update(zip(chosen, self._decode([prompts[index] for index in chosen], table), strict=True))
        return [decoded[index] for index in range(len(prompts))]

    def _decode(self, prompts: Sequence[Observed], table: "_Posterior") -> list[NDArray[np.float32]]:
        """Returns the embeddings of prompts, sorted by falling length: they start together, the short ones end first.

        No padding is needed: all of them stand behind the same opening.
        """
        reading, logits = CachedReader(self.language.model), None
        if len(self.opening):
            logits = reading.read(self.opening.expand(len(prompts), *self.opening.shape))
        lengths = np.array([len(counts) for counts in prompts])
        returned: list[list[Tensor]] = [[] for _ in prompts]
        for position in range(int(lengths.max(initial=0))):
            active = int((lengths > position).sum())
            if logits is not None and active < len(logits):
                reading.keep(range(active))
                logits = logits[:active]
            counts = np.stack([prompt[position] for prompt in prompts[:active]])
            output, feedback = table.estimate(counts, logits, self.settings)
            for row, embedding in zip(returned, output, strict=False):  # the first rows are the active ones
                row.append(embedding)
            if position + 1 < lengths.max():
                logits = reading.read(feedback[:, None])
        width = self.table.shape[1]
        return [torch.stack(row).cpu().numpy() if row else np.empty((0, width), np.float32) for row in returned]


_BLOCKS = 4
"""Matrices of prompts and words that are held at once: logits, prior, scores, posterior."""


@dataclass(frozen=True, slots=True)
class _Posterior:
    """The channel's law, the prior and the embedding table on the model's device."""

    law: Law
    log_prior: Tensor
    table: Tensor
    mean: Tensor
    gain: float

    @classmethod
    def of(cls, decoder: LanguagePosteriorDecoder) -> "_Posterior":
        device = input_weight(decoder.language.model).device
        parts = (decoder.log_prior, decoder.table, weighted_sum(decoder.table, np.exp(decoder.log_prior)))
        log_prior, table, mean = (torch.from_numpy(part.astype(np.float32, copy=False)).to(device) for part in parts)
        law = evidence_on(decoder.channel, str(device), None, len(table))
        return cls(law, log_prior, table, mean, decoder.gain)

    @torch.no_grad()
    def estimate(self, counts: Observed, logits: Tensor | None, settings: LanguagePrior) -> tuple[Tensor, Tensor]:
        """Returns output and feedback of one position, float32, shape (prompts, width) each.

        logits: None where the model has read nothing yet; the prior is then the unigrams'.
        """
        scores = self.law(counts) + self._log_prior(logits, settings)
        estimates: dict[str, Tensor] = {}
        if "most-likely" in (settings.output, settings.feedback):
            estimates["most-likely"] = self.table[scores.argmax(1)]
        if "mean" in (settings.output, settings.feedback):
            estimates["mean"] = self.mean + self.gain * (torch.softmax(scores, 1) @ self.table - self.mean)
        return estimates[settings.output], estimates[settings.feedback]

    def _log_prior(self, logits: Tensor | None, settings: LanguagePrior) -> Tensor:
        if logits is None:
            return self.log_prior
        return language_log_prior(logits, self.log_prior, settings.temper, settings.unigram_share)


def language_log_prior(logits: Tensor, unigrams: Tensor, temper: float, unigram_share: float) -> Tensor:
    """Returns log((1 - unigram_share) softmax(temper logits) + unigram_share unigrams), shape (rows, words).

    logits: of a language model, float32, shape (rows, at least words). unigrams: a log prior, shape (words,); rows of
    it where unigram_share is 1.
    """
    if unigram_share == 1:
        return unigrams.expand(len(logits), -1)
    return mixed(torch.log_softmax(temper * logits[:, : len(unigrams)], 1), unigrams, unigram_share)


def mixed(model: Tensor, unigrams: Tensor, unigram_share: float) -> Tensor:
    """Returns log((1 - unigram_share) exp(model) + unigram_share exp(unigrams)) of two log probabilities."""
    if unigram_share in (0, 1):
        return unigrams if unigram_share else model
    return torch.logaddexp(model + math.log1p(-unigram_share), unigrams + math.log(unigram_share))
