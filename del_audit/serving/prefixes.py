"""What the language model reads of a chat: its template around segments that are public text or released messages.

Segments are tokenized apart: no token spans two of them, so that a released turn stands where its own tokens would.
"""

import secrets
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from del_audit.serving.protocol import Segment
from del_audit.serving.refusal import RefusalError
from mechanisms.continuation import embed
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import Observed, Receiver
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.soft_prompt import SoftPrompt


class Reader(Receiver, Protocol):
    """The server's half of a mechanism, which also says what was released of each token."""

    def observed(self, message: bytes) -> Observed:
        """Returns what was released of each token, one row per token; raises UserError as `embeddings` does."""
        ...


class Prefixes:
    """Turns segments into embeddings. receiver: the server's half of the certified mechanism.

    A soft prompt stands in front of everything; without one, text to go on with begins with the model's opening token,
    and a chat with whatever its template begins with.
    """

    def __init__(self, language: LanguageModel, receiver: Reader, soft_prompt: SoftPrompt | None) -> None:
        self._model, self._tokenizer, self._receiver = language.model, language.tokenizer, receiver
        self._most = language.context_tokens
        self._opening = embed(self._model, opening_tokens(self._model))
        self._soft = None if soft_prompt is None else soft_prompt.vectors.to(self._opening)

    def of(self, turns: Sequence[Segment]) -> Tensor:
        """Returns what the model reads before it answers, shape (tokens, width), in its number format.

        Raises RefusalError for a chat without a template, or of roles that it does not take, for no token at all, and
        for more than the model reads, before any is decoded; UserError for a message that the mechanism did not make.
        """
        front, parts = self._parts(turns)
        tokens = sum(len(part) if isinstance(part, list) else len(self._receiver.observed(part)) for part in parts)
        if tokens > self._most:
            raise RefusalError(
                400, "context_length_exceeded", f"Expected a prompt of at most {self._most} tokens, got {tokens}."
            )
        if not tokens + len(front):
            raise RefusalError(400, "invalid_request", "Expected a prompt of at least one token, got none.")
        with torch.no_grad():
            return torch.cat([front, *map(self._embedded, parts)])

    def _parts(self, turns: Sequence[Segment]) -> tuple[Tensor, list[list[int] | bytes]]:
        """Returns the embeddings in front, and behind them tokens of clear text, or a released message."""
        if all(not turn.role for turn in turns):
            front = self._opening if self._soft is None else self._soft
            return front, [self._content(turn) for turn in turns]
        front = self._opening[:0] if self._soft is None else self._soft
        between = template_pieces(self._tokenizer, [turn.role for turn in turns])
        parts: list[list[int] | bytes] = [self._clear(between[0])]
        for turn, piece in zip(turns, between[1:], strict=True):
            parts += [self._content(turn), self._clear(piece)]
        return front, parts

    def _content(self, turn: Segment) -> list[int] | bytes:
        return self._clear(turn.content) if isinstance(turn.content, str) else turn.content

    def _clear(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return found

    def _embedded(self, part: list[int] | bytes) -> Tensor:
        if isinstance(part, list):
            return embed(self._model, part)
        return torch.from_numpy(self._receiver.embeddings(part)).to(self._opening)


def template_pieces(tokenizer: PreTrainedTokenizerBase, roles: Sequence[str]) -> list[str]:
    """Returns what a model's template writes before the first turn, between turns, and after the last.

    Raises RefusalError without a template, and for turns that it refuses or changes.
    """
    marks = [f"\ue000{secrets.token_hex(8)}\ue001" for _ in roles]
    chat = [{"role": role, "content": mark} for role, mark in zip(roles, marks, strict=True)]
    if not tokenizer.chat_template:
        raise RefusalError(
            400, "no_chat_template", "This model has no chat template: use /v1/completions, which goes on with a text."
        )
    try:
        text = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # a template is the model's own program
        raise RefusalError(
            400, "template_refused", f"The model's chat template refuses these turns ({', '.join(roles)}): {error}."
        ) from None
    pieces = []
    for mark in marks:
        before, found, text = text.partition(mark)
        if not found:
            raise RefusalError(400, "template_refused", "The model's chat template drops or reorders turns like these.")
        pieces.append(before)
    return [*pieces, text]
