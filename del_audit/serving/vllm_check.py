"""Whether a vLLM server may write: it serves one model, which is ours, takes embeddings, and keeps no prefixes."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import torch
from torch import Tensor

from del_audit.serving.vllm_engine import COMPLETIONS, JSON, completion_body, connection
from mechanisms.errors import UserError
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.own_forward import embed, logits_within
from mechanisms.randomness import simulation_generator

FLAGS = "--enable-prompt-embeds --no-enable-prefix-caching"
PROBES, PROBE_TOKENS = 4, 160
"""Prompts that are asked, all of one length: more than a block of vLLM's cache, which is 128 tokens on a CPU."""
AGREES = 0.5
"""Nats within which log-probabilities are those of one model. Measured over 16 prompts on SmolLM2-135M: bfloat16 rounds
0.17 at most, and weights with noise of a tenth of their deviation differ by 1.25 in the median."""
_CACHING = re.compile(r'^vllm:cache_config_info\{.*\benable_prefix_caching="(\w*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Probe:
    """A prompt whose next token is known here. prompt: embeddings, shape (tokens, width). likely: log-probabilities."""

    prompt: Tensor
    likely: Tensor


@dataclass(frozen=True, slots=True)
class VllmServer:
    """What a vLLM server serves. name: what it calls its model. context: tokens that it reads and writes at most."""

    url: str
    name: str
    context: int

    @classmethod
    def at(cls, url: str) -> "VllmServer":
        """Returns what the server at a URL says of itself; raises UserError as `served_by` does."""

        async def asked() -> VllmServer:
            async with connection(url) as client:
                return await served_by(client)

        return asyncio.run(asked())

    def require_still(self, probes: Sequence[Probe]) -> None:
        """Raises UserError unless the server is what it was, and the model of these probes; not for an event loop."""

        async def asked() -> None:
            async with connection(self.url) as client:
                now = await served_by(client)
                if (now.name, now.context) != (self.name, self.context):
                    raise UserError(f"Expected {_option(client)} to serve {self.name!r} still, got {now.name!r}.")
                await require_same_model(client, self.name, probes)

        asyncio.run(asked())


async def served_by(client: httpx2.AsyncClient) -> VllmServer:
    """Returns what a server says that it serves.

    Raises UserError where it does not answer, serves no model or several, or does not say that it keeps no prefixes: a
    cache mixes prompts where its keys leave out what sets them apart (github.com/vllm-project/vllm/issues/56655).
    """
    listed = await _get(client, "/v1/models")
    try:
        found = [VllmServer(str(client.base_url), str(m["id"]), int(m["max_model_len"])) for m in listed.json()["data"]]
    except (ValueError, LookupError, TypeError):
        raise UserError(
            f"Expected a vLLM server at {_option(client)}, got one that lists no models as vLLM does: give its address."
        ) from None
    if len(found) != 1:
        raise UserError(
            f"Expected the vLLM server at {_option(client)} to serve one model, got {len(found)}: start it with the "
            f"model of the configuration alone, without adapters, and with {FLAGS}."
        )
    if set(_CACHING.findall((await _get(client, "/metrics")).text)) != {"False"}:
        raise UserError(
            f"Expected the vLLM server at {_option(client)} to say in /metrics that prefix caching is off, got another "
            f"word or none: start it with {FLAGS}, without --disable-log-stats."
        )
    return found[0]


def probes_of(language: LanguageModel, context: int) -> list[Probe]:
    """Returns prompts of random words, as embeddings, all of one length, behind the model's opening token.

    context: tokens that the server reads and writes at most.
    """
    length = min(PROBE_TOKENS, context - 1, language.context_tokens - 1)
    opening = opening_tokens(language.model)
    generator = simulation_generator(0, "vllm probes")
    words = generator.integers(len(language.tokenizer), size=(PROBES, length - len(opening))).tolist()
    prompts = [embed(language.model, [*opening, *row]) for row in words]
    with torch.no_grad():
        logits = logits_within(language.model, prompts, [(length - 1, length)] * PROBES)
    return [Probe(prompt, own[0].float().log_softmax(0)) for prompt, own in zip(prompts, logits, strict=True)]


async def require_same_model(client: httpx2.AsyncClient, name: str, probes: Sequence[Probe]) -> None:
    """Raises UserError unless the server continues embeddings as the model that is loaded here does.

    It is asked for the likeliest token after each prompt. Here it must be as likely as the likeliest, and have the
    probability that the server states, both within AGREES. So another model is found out, and an answer that belongs to
    another prompt of the same length.
    """
    for probe in probes:
        token, theirs = await _next_token(client, name, probe.prompt)
        here = float(probe.likely[token]) if 0 <= token < len(probe.likely) else -torch.inf
        best = float(probe.likely.max())
        if not (here >= best - AGREES and abs(here - theirs) <= AGREES):
            raise UserError(
                f"Expected the vLLM server at {_option(client)} to write as the configuration's model does, got a next "
                f"token of log-probability {theirs:.2f} that has {here:.2f} here, where the likeliest has {best:.2f}: "
                f"serve the configuration's model as it is, with {FLAGS}."
            )


async def _next_token(client: httpx2.AsyncClient, name: str, prompt: Tensor) -> tuple[int, float]:
    """Returns (the token that the server writes after a prompt, the logarithm of the probability that it states)."""
    how = {"max_tokens": 1, "temperature": 0.0, "logprobs": 1, "return_token_ids": True, "ignore_eos": True}
    plain = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    body = completion_body(name, prompt, **how, **plain)
    try:
        response = await client.post(COMPLETIONS, content=body, headers=JSON)
        said = response.json()
        if response.status_code == 200:
            choice = said["choices"][0]
            return int(choice["token_ids"][0]), float(choice["logprobs"]["token_logprobs"][0])
        why = f"status {response.status_code} ({_reason(said)})"
    except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
        why = type(error).__name__
    raise UserError(
        f"Expected the vLLM server at {_option(client)} to continue embeddings, got {why}: start it with {FLAGS}."
    )


async def _get(client: httpx2.AsyncClient, path: str) -> httpx2.Response:
    try:
        response = await client.get(path, timeout=30.0)
    except httpx2.HTTPError as error:
        raise UserError(
            f"Expected a vLLM server at {_option(client)}, got {type(error).__name__}: start `vllm serve` there with "
            f"{FLAGS}, wait until it answers, and look at its address."
        ) from None
    if response.status_code != 200:
        raise UserError(
            f"Expected a vLLM server at {_option(client)}, got status {response.status_code} at {path}: look at its "
            "address."
        )
    return response


def _option(client: httpx2.AsyncClient) -> str:
    return f"--engine {str(client.base_url).rstrip('/')}"


def _reason(said: Any) -> str:
    """Returns the server's own sentence, which is about random words."""
    error = said.get("error") if isinstance(said, dict) else None
    return str(error.get("message") if isinstance(error, dict) else "without a reason")[:300]
