"""Answers and errors in the shapes of OpenAI's API."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from del_audit.serving.refusal import RefusalError

_KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
DONE = b"data: [DONE]\n\n"


def error_body(error: RefusalError) -> dict[str, Any]:
    """Returns an error as OpenAI's API has it."""
    kind = _KINDS.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"error": {"message": error.said, "type": kind, "param": error.param, "code": error.code}}


@dataclass(frozen=True, slots=True)
class Reply:
    """What all parts of one answer share. name: unique. chat: a chat completion, or a text completion."""

    name: str
    model: str
    fingerprint: str
    chat: bool
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, texts: Sequence[str], finished: Sequence[str], usage: tuple[int, int]) -> dict[str, Any]:
        """Returns the whole answer; finished: why each text ended."""
        return {
            **self._head("chat.completion" if self.chat else "text_completion"),
            "choices": [self._choice(index, *said) for index, said in enumerate(zip(texts, finished, strict=True))],
            "usage": _usage(usage),
        }

    def opening(self, choices: int) -> bytes:
        """Returns the events that open a streamed chat; nothing for a text completion."""
        if not self.chat:
            return b""
        return b"".join(self._part(index, {"role": "assistant", "content": ""}, None) for index in range(choices))

    def piece(self, choice: int, text: str) -> bytes:
        """Returns the event of more text."""
        return self._part(choice, {"content": text} if self.chat else text, None)

    def end(self, choice: int, finished: str) -> bytes:
        """Returns the event of a text that ended."""
        return self._part(choice, {} if self.chat else "", finished)

    def usage(self, usage: tuple[int, int]) -> bytes:
        """Returns the event that says what was used."""
        return _event({**self._chunk_head(), "choices": [], "usage": _usage(usage)})

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{'chatcmpl' if self.chat else 'cmpl'}-{self.name}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
        }

    def _chunk_head(self) -> dict[str, Any]:
        return self._head("chat.completion.chunk" if self.chat else "text_completion")

    def _choice(self, index: int, text: str, finished: str) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
        return {"index": index, **said, "logprobs": None, "finish_reason": finished}

    def _part(self, index: int, said: Mapping[str, Any] | str, finished: str | None) -> bytes:
        content = {"delta": said} if self.chat else {"text": said}
        choice = {"index": index, **content, "logprobs": None, "finish_reason": finished}
        return _event({**self._chunk_head(), "choices": [choice]})


def error_event(error: RefusalError) -> bytes:
    """Returns the event of an error in the middle of a stream."""
    return _event(error_body(error))


def _event(content: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _usage(usage: tuple[int, int]) -> dict[str, int]:
    prompt, written = usage
    return {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": prompt + written}


class Stopping:
    """Cuts a text that comes in pieces before the first of its stops; what may be the start of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.stopped = False
        """Whether a stop was found: nothing is shown after it."""

    def add(self, piece: str) -> str:
        """Returns what can be shown now."""
        if self.stopped:
            return ""
        text = self._held + piece
        if found := [place for stop in self._stops if (place := text.find(stop)) >= 0]:
            self.stopped, self._held = True, ""
            return text[: min(found)]
        keep = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def finish(self) -> str:
        """Returns what was held back, since nothing follows."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Returns how many characters at the end of text begin a stop."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
