"""What the server still makes of a release, always beside its controls (docs/theory.md, theorem 12)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import bootstrap_mean, bootstrap_ratio
from mechanisms.continuation import embed, generate, score
from mechanisms.models import LanguageModel, SentenceEncoder
from mechanisms.server import Server

T = TypeVar("T")
NATS = "nats a token"


@dataclass(frozen=True, slots=True)
class Prompts:
    """Private prompts: their messages, their clean tokens, and the responses that really followed."""

    messages: list[bytes]
    clean: list[list[int]]
    responses: list[list[int]]

    def __len__(self) -> int:
        return len(self.messages)

    def first(self, count: int) -> "Prompts":
        """Returns the first count of them."""
        return Prompts(self.messages[:count], self.clean[:count], self.responses[:count])


@dataclass(frozen=True, slots=True)
class Prediction:
    """losses: mean next-token loss of the true response in each condition, nats a token.

    gain: loss with another user's prompt less loss with the right one, through the same release: what of the prompt
    itself arrives. clean_gain: the same without the mechanism. share: the one over the other; None where the clean
    gain is not above zero, so that a share of it says nothing.
    """

    losses: dict[str, Figure]
    gain: Figure
    clean_gain: Figure
    share: Figure | None


def measure_prediction(
    language: LanguageModel, server: Server, prompts: Prompts, seed: int, progress: Any
) -> Prediction:
    """Returns perplexity's evidence: the loss of each response in every condition, paired by document."""
    model, responses = language.model, prompts.responses
    nobody = [torch.empty(0, model.config.hidden_size) for _ in responses]
    opening = embed(model, [_opening_token(model)])
    clean = [torch.cat([opening, embed(model, tokens)]) for tokens in prompts.clean]
    losses = {
        "released prompt": server.losses(prompts.messages, responses, progress),
        "another user's released prompt": server.losses(_rolled(prompts.messages), responses, progress),
        "soft prompt alone": server.losses([None] * len(prompts), responses, progress),
        "no prompt": score(model, [torch.cat([opening, row]) for row in nobody], responses, progress),
        "clean prompt": score(model, clean, responses, progress),
        "another user's clean prompt": score(model, _rolled(clean), responses, progress),
    }
    figures = {name: _mean(values, seed) for name, values in losses.items()}
    gains = losses["another user's released prompt"] - losses["released prompt"]
    clean_gains = losses["another user's clean prompt"] - losses["clean prompt"]
    gain, clean_gain = _mean(gains, seed), _mean(clean_gains, seed)
    share = None
    if clean_gain.lower > 0:
        share = bootstrap_ratio(gains, clean_gains, "share of the clean gain", "prompts", seed)
    return Prediction(figures, gain, clean_gain, share)


def paired_gain(server: Server, prompts: Prompts, seed: int, progress: Any) -> Figure:
    """Returns the gain alone: two conditions instead of six."""
    own = server.losses(prompts.messages, prompts.responses, progress)
    other = server.losses(_rolled(prompts.messages), prompts.responses, progress)
    return _mean(other - own, seed)


def measure_coherence(
    language: LanguageModel,
    server: Server,
    sentences: SentenceEncoder,
    prompts: Prompts,
    new_tokens: int,
    seed: int,
    progress: Any,
) -> dict[str, Figure]:
    """Returns the cosine of each condition's text with the true response, mean over documents.

    The prompt itself and an unrelated response are scored as answers too: coherence rewards copying.
    """
    model, tokenizer = language.model, language.tokenizer
    opening = embed(model, [_opening_token(model)])
    clean = [torch.cat([opening, embed(model, tokens)]) for tokens in prompts.clean]
    references = _texts(tokenizer, prompts.responses)
    answers: dict[str, list[str]] = {}
    for name, messages in (
        ("released prompt", prompts.messages),
        ("another user's released prompt", _rolled(prompts.messages)),
        ("soft prompt alone", [None] * len(prompts)),
    ):
        answers[name] = server.answer(messages, new_tokens, seed)
        progress.update(len(prompts))
    for name, prefixes in (("no prompt", [opening] * len(prompts)), ("clean prompt", clean)):
        answers[name] = _texts(tokenizer, generate(model, prefixes, new_tokens, seed))
        progress.update(len(prompts))
    answers["the prompt itself as answer"] = _texts(tokenizer, prompts.clean)
    answers["an unrelated response"] = _rolled(references)
    truth = sentences.embed(references)
    return {
        name: bootstrap_mean((sentences.embed(texts) * truth).sum(axis=1), "cosine", "prompts", seed)
        for name, texts in answers.items()
    }


def _opening_token(model: Any) -> int:
    begin = model.config.bos_token_id
    return int(begin if begin is not None else model.config.eos_token_id)


def _rolled(rows: Sequence[T]) -> list[T]:
    """Returns rows moved by one, so that every document meets another's."""
    return [*rows[1:], *rows[:1]]


def _texts(tokenizer: Any, rows: Sequence[Sequence[int]]) -> list[str]:
    return [tokenizer.decode(list(row), skip_special_tokens=True) for row in rows]


def _mean(values: NDArray[np.float64], seed: int) -> Figure:
    return bootstrap_mean(values, NATS, "prompts", seed)
