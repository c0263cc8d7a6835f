"""The engine beside us: a vLLM server writes behind embeddings that were decoded here, which it gets as prompt_embeds.

Its API is that of OpenAI's completions: https://docs.vllm.ai/en/latest/features/prompt_embeds/.
"""

import asyncio
import base64
import io
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2
import torch
from torch import Tensor

from del_audit.serving.engine import Piece
from del_audit.serving.refusal import RefusalError
from mechanisms.generation import Order
from mechanisms.model_facts import end_tokens
from mechanisms.models import LanguageModel
from mechanisms.text_pieces import TextPieces

COMPLETIONS = "/v1/completions"
JSON = {"content-type": "application/json"}


def connection(url: str) -> httpx2.AsyncClient:
    """Returns the connection to a vLLM server; nothing of the environment, such as a proxy's address, has a part in it.

    It waits for an answer as long as the server allows its own: whoever asks sets the limit.
    """
    timeout, limits = httpx2.Timeout(None, connect=10.0), httpx2.Limits(max_connections=None)
    return httpx2.AsyncClient(base_url=url.rstrip("/"), timeout=timeout, limits=limits, trust_env=False)


def completion_body(model: str, prefix: Tensor, **fields: object) -> bytes:
    """Returns a request's JSON. model: as vLLM names it. prefix: embeddings, shape (tokens, width).

    vLLM reads them with torch.load, weights only, and casts them to the number format that it runs in.
    """
    written = io.BytesIO()
    torch.save(prefix.detach().cpu().clone(), written)  # a copy: what is saved of a view is all that lies under it
    embeddings = base64.b64encode(written.getvalue()).decode()
    return json.dumps({"model": model, "prompt_embeds": embeddings, **fields}).encode()


class VllmEngine:
    """Asks a vLLM server. name: what it calls the model. language: the same model, for its tokenizer and end tokens.

    The model's law is used as it is, as the embedded engine does: the server's own defaults of sampling and of end
    tokens have no part in it. Text is made here, from the tokens that the server returns.
    """

    def __init__(self, client: httpx2.AsyncClient, name: str, language: LanguageModel) -> None:
        self._client, self._name = client, name
        self._tokenizer, self._ends = language.tokenizer, end_tokens(language.model)

    async def write(self, orders: Sequence[Order]) -> AsyncGenerator[Piece]:
        """Yields pieces as they are written. The orders are those of one request: one prefix, one way to write.

        Raises RefusalError where the server cannot be reached, refuses or fails; what it says is not repeated.
        """
        body = await asyncio.to_thread(self._body, orders)
        greedy = orders[0].settings.greedy  # then all texts are one, and vLLM writes no more than one
        texts = [TextPieces(self._tokenizer) for _ in orders]
        left = len(orders)
        try:
            async with self._client.stream("POST", COMPLETIONS, content=body, headers=JSON) as response:
                _require_answered(response.status_code)
                async with aclosing(_said(response.aiter_lines(), 1 if greedy else len(orders))) as heard:
                    async for said in heard:
                        for text in range(len(orders)) if greedy else [said.text]:
                            yield self._piece(text, texts[text], said)
                            left -= bool(said.finished)
                        if not left:
                            return
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            raise RefusalError(503, "engine_unavailable", "The engine cannot be reached.", retry_after=5) from None
        except httpx2.HTTPError as error:
            raise RefusalError(502, "engine_failed", f"The engine broke off ({type(error).__name__}).") from None

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.aclose()

    def _body(self, orders: Sequence[Order]) -> bytes:
        how = orders[0].settings
        return completion_body(
            self._name,
            orders[0].prefix,
            stream=True,
            return_token_ids=True,
            n=1 if how.greedy else len(orders),
            max_tokens=how.new_tokens,
            temperature=0.0 if how.greedy else how.temperature,
            top_p=how.top_p,
            top_k=how.top_k,
            seed=how.seed,
            min_p=0.0,
            repetition_penalty=1.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            ignore_eos=True,
            stop_token_ids=sorted(self._ends),
        )

    def _piece(self, text: int, pieces: TextPieces, said: "_Said") -> Piece:
        tokens = [token for token in said.tokens if token not in self._ends]
        text_of = "".join(map(pieces.add, tokens)) + (pieces.finish() if said.finished else "")
        return Piece(text, text_of, len(tokens), said.finished)


@dataclass(frozen=True, slots=True)
class _Said:
    """What one event of the stream says of a text. finished: stop or length; empty where it goes on."""

    text: int
    tokens: tuple[int, ...]
    finished: str


def _require_answered(status: int) -> None:
    if status in (429, 503):
        raise RefusalError(429, "overloaded", "Too many requests wait: try again later.", retry_after=1)
    if status != 200:
        raise RefusalError(502, "engine_failed", f"The engine refused the request with status {status}.")


async def _said(lines: AsyncIterator[str], texts: int) -> AsyncGenerator[_Said]:
    """Yields what a stream of server-sent events says; raises RefusalError for anything else, and where it is cut off.

    texts: how many there are.
    """
    async for line in lines:
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            break
        try:
            found = [_choice(choice, texts) for choice in json.loads(data)["choices"]]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise RefusalError(502, "engine_failed", "The engine failed on this request.") from None
        for said in found:
            yield said
    raise RefusalError(502, "engine_failed", "The engine's answer was cut off.")


def _choice(choice: dict[str, Any], texts: int) -> _Said:
    """Returns what an event says of one text; raises ValueError, KeyError, TypeError for anything else."""
    text, finished = int(choice["index"]), choice.get("finish_reason") or ""
    if not 0 <= text < texts or finished not in ("", "stop", "length"):
        raise ValueError("no text that was asked for, or one that was given up")
    return _Said(text, tuple(map(int, choice["token_ids"])), finished)
