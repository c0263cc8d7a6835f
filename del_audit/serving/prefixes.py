"""What the language model reads of a chat: its template around segments that are public text or released messages.

Segments are tokenized apart: no token spans two of them, so that a released turn stands where its own tokens would.
"""

import secrets
from collections.abc import Sequence

import torch
from torch import Tensor

from del_audit.serving.protocol import Segment
from del_audit.serving.refusal import RefusalError
from mechanisms.continuation import embed
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import Receiver
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.soft_prompt import SoftPrompt


class Prefixes:
    """Turns segments into embeddings. receiver: the server's half of the certified mechanism.

    A soft prompt stands in front of everything; without one, text to go on with begins with the model's opening token,
    and a chat with whatever its template begins with.
    """

    def __init__(self, language: LanguageModel, receiver: Receiver, soft_prompt: SoftPrompt | None) -> None:
        self._model, self._tokenizer, self._receiver = language.model, language.tokenizer, receiver
        self._opening = embed(self._model, opening_tokens(self._model))
        self._soft = None if soft_prompt is None else soft_prompt.vectors.to(self._opening)

    def of(self, turns: Sequence[Segment]) -> Tensor:
        """Returns what the model reads before it answers, shape (tokens, width), in its number format.

        Raises RefusalError for a chat without a template, or of roles that it does not take, and UserError for a
        message that the mechanism did not make.
        """
        with torch.no_grad():
            if all(not turn.role for turn in turns):
                front = self._opening if self._soft is None else self._soft
                return torch.cat([front, *(self._content(turn) for turn in turns)])
            front = self._opening[:0] if self._soft is None else self._soft
            between = template_pieces(self._tokenizer, [turn.role for turn in turns])
            parts = [self._clear(between[0])]
            for turn, piece in zip(turns, between[1:], strict=True):
                parts += [self._content(turn), self._clear(piece)]
            return torch.cat([front, *parts])

    def _content(self, turn: Segment) -> Tensor:
        if isinstance(turn.content, str):
            return self._clear(turn.content)
        return torch.from_numpy(self._receiver.embeddings(turn.content)).to(self._opening)

    def _clear(self, text: str) -> Tensor:
        return embed(self._model, self._tokenizer(text, add_special_tokens=False).input_ids)


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
