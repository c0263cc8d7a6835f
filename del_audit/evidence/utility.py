"""What the server still makes of a release, always beside its controls (docs/theory.md, theorem 12)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from del_audit.service.prompts import Prompts, strangers
from del_audit.statistics.bootstrap import Clusters, bootstrap_mean
from del_audit.statistics.figure import Figure
from del_audit.statistics.gain_interval import NATS, gain_mean, share_of_gain
from del_audit.statistics.intervals import clustered_mean
from mechanisms.continuation import embed, generate, score
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel, SentenceEncoder
from mechanisms.progress import Progress
from mechanisms.text_pieces import text_of

__all__ = [
    "Answering",
    "Prediction",
    "Prompts",
    "clean_losses",
    "coherences",
    "condition_answers",
    "condition_losses",
    "mean_cosine",
    "measure_coherence",
    "measure_prediction",
    "paired_gain",
    "predict",
    "references",
    "released_losses",
]

T = TypeVar("T")
RELEASED = "released prompt"
OTHER = "another user's released prompt"
ALONE = "soft prompt alone"
NOBODY = "no prompt"
CLEAN = "clean prompt"
OTHER_CLEAN = "another user's clean prompt"
COPY = "the prompt itself as answer"
UNRELATED = "an unrelated response"

Measured = dict[str, NDArray[np.float64]]
"""One value a prompt for each condition."""


class Answering(Protocol):
    """A server as the evaluation sees it: messages in, losses and text out. None is a request without a prompt."""

    def losses(
        self, messages: Sequence[bytes | None], responses: Sequence[Sequence[int]], progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """Returns the mean loss of each response after its message, nats a token, shape (messages,)."""
        ...

    def answer(self, messages: Sequence[bytes | None], new_tokens: int, seed: int) -> list[str]:
        """Returns one continuation a message."""
        ...


@dataclass(frozen=True, slots=True)
class Prediction:
    """losses: mean next-token loss of the true response in each condition, nats a token.

    gain: loss with another user's prompt less loss with the right one, through the same release: what of the prompt
    itself arrives. over: the same over no prompt and over the soft prompt alone: a service may be worse than sending
    nothing although it tells users apart. clean_gain: the gain without the mechanism. share: gain over clean_gain; None
    where the clean gain's lower end is not above zero, so that a share of it says nothing.
    """

    losses: dict[str, Figure]
    gain: Figure
    over: dict[str, Figure]
    clean_gain: Figure
    share: Figure | None


def condition_losses(language: LanguageModel, server: Answering, prompts: Prompts, progress: Progress) -> Measured:
    """Returns the loss of each true response in every condition, nats a token, shape (prompts,) each.

    Another user's prompt is one of another document. progress: an object with update(n); six updates a prompt.
    Raises UserError as strangers does.
    """
    model, responses = language.model, prompts.responses
    opening, _ = _clean_prefixes(model, prompts)
    released, readable = released_losses(server, prompts, progress), clean_losses(language, prompts, progress)
    return {
        **released,
        ALONE: server.losses([None] * len(prompts), responses, progress),
        NOBODY: score(model, [opening] * len(prompts), responses, progress),
        **readable,
    }


def released_losses(server: Answering, prompts: Prompts, progress: Progress) -> Measured:
    """Returns the loss of each true response after its own release and after another user's; as condition_losses."""
    others = _picked(prompts.messages, strangers(prompts.clusters))
    losses = server.losses([*prompts.messages, *others], [*prompts.responses, *prompts.responses], progress)
    return {RELEASED: losses[: len(prompts)], OTHER: losses[len(prompts) :]}


def clean_losses(language: LanguageModel, prompts: Prompts, progress: Progress) -> Measured:
    """Returns the loss of each true response after its clean prompt and another user's; as condition_losses."""
    _, clean = _clean_prefixes(language.model, prompts)
    both = [*clean, *_picked(clean, strangers(prompts.clusters))]
    losses = score(language.model, both, [*prompts.responses, *prompts.responses], progress)
    return {CLEAN: losses[: len(prompts)], OTHER_CLEAN: losses[len(prompts) :]}


def predict(
    losses: Mapping[str, NDArray[np.float64]], clusters: Clusters, seed: int, per_document: int = 1
) -> Prediction:
    """Returns the figures of condition_losses, paired by prompt, with intervals over documents.

    per_document: the most prompts that one document can have, fixed before any is drawn. The gains' intervals allow for
    one document that was not seen (`gain_interval`); those of the losses, which have no bound, do not.
    Raises UserError as gain_mean does.
    """
    figures = {
        name: bootstrap_mean(values, NATS, "prompts", seed, clusters=clusters, within=(0.0, math.inf))
        for name, values in losses.items()
    }
    gains = {control: losses[control] - losses[RELEASED] for control in (OTHER, NOBODY, ALONE)}
    clean_gains = losses[OTHER_CLEAN] - losses[CLEAN]
    own = {control: gain_mean(values, seed, clusters, per_document) for control, values in gains.items()}
    clean = gain_mean(clean_gains, seed, clusters, per_document)
    share = share_of_gain(gains[OTHER], clean_gains, seed, clusters, per_document) if clean.lower > 0 else None
    return Prediction(figures, own.pop(OTHER), own, clean, share)


def measure_prediction(
    language: LanguageModel, server: Answering, prompts: Prompts, seed: int, progress: Progress
) -> Prediction:
    """Returns perplexity's evidence: the loss of each response in every condition, paired by prompt."""
    return predict(condition_losses(language, server, prompts, progress), prompts.clusters, seed, prompts.per_document)


def paired_gain(server: Answering, prompts: Prompts, seed: int, progress: Progress) -> Figure:
    """Returns the gain alone: two conditions instead of six."""
    losses = released_losses(server, prompts, progress)
    return gain_mean(losses[OTHER] - losses[RELEASED], seed, prompts.clusters, prompts.per_document)


def condition_answers(
    language: LanguageModel, server: Answering, prompts: Prompts, new_tokens: int, seed: int, progress: Progress
) -> dict[str, list[str]]:
    """Returns the text that is written in every condition, one a prompt.

    The prompt itself and an unrelated response stand among them: coherence rewards copying, and style alone.
    progress: an object with update(n); five updates a prompt.
    """
    model, tokenizer = language.model, language.tokenizer
    other = strangers(prompts.clusters)
    opening, clean = _clean_prefixes(model, prompts)
    answers: dict[str, list[str]] = {}
    for name, messages in (
        (RELEASED, prompts.messages),
        (OTHER, _picked(prompts.messages, other)),
        (ALONE, [None] * len(prompts)),
    ):
        answers[name] = server.answer(messages, new_tokens, seed)
        progress.update(len(prompts))
    for name, prefixes in ((NOBODY, [opening] * len(prompts)), (CLEAN, clean)):
        answers[name] = _texts(tokenizer, generate(model, prefixes, new_tokens, seed))
        progress.update(len(prompts))
    answers[COPY] = _texts(tokenizer, prompts.clean)
    answers[UNRELATED] = _picked(references(language, prompts), other)
    return answers


def references(language: LanguageModel, prompts: Prompts) -> list[str]:
    """Returns the true responses as text."""
    return _texts(language.tokenizer, prompts.responses)


def coherences(vectors: Mapping[str, NDArray[np.float32]], truth: NDArray[np.float32]) -> Measured:
    """Returns the cosine of each text with its true response, shape (prompts,) for each condition.

    vectors, truth: unit sentence embeddings, shape (prompts, dim).
    """
    return {name: (rows.astype(np.float64) * truth.astype(np.float64)).sum(axis=1) for name, rows in vectors.items()}


def measure_coherence(
    language: LanguageModel,
    server: Answering,
    sentences: SentenceEncoder,
    prompts: Prompts,
    new_tokens: int,
    seed: int,
    progress: Progress,
) -> dict[str, Figure]:
    """Returns the cosine of each condition's text with the true response, mean over prompts."""
    answers = condition_answers(language, server, prompts, new_tokens, seed, progress)
    vectors = {name: sentences.embed(texts) for name, texts in answers.items()}
    measured = coherences(vectors, sentences.embed(references(language, prompts)))
    return {
        name: mean_cosine(values, prompts.clusters, seed, prompts.per_document) for name, values in measured.items()
    }


def mean_cosine(values: NDArray[np.float64], clusters: Clusters, seed: int, per_document: int = 1) -> Figure:
    """Returns the mean cosine with its interval over documents; per_document: the most prompts that one can have."""
    inside = np.clip(values, -1.0, 1.0)  # single precision may leave them a little outside
    return clustered_mean(inside, clusters, per_document, "cosine", "prompts", seed, within=(-1.0, 1.0))


def _clean_prefixes(model: PreTrainedModel, prompts: Prompts) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Returns the opening token's embedding, and each clean prompt's behind it."""
    opening = embed(model, opening_tokens(model))
    return opening, [torch.cat([opening, embed(model, tokens)]) for tokens in prompts.clean]


def _picked(rows: Sequence[T], order: Sequence[int]) -> list[T]:
    return [rows[index] for index in order]


def _texts(tokenizer: PreTrainedTokenizerBase, rows: Sequence[Sequence[int]]) -> list[str]:
    return [text_of(tokenizer, row) for row in rows]
