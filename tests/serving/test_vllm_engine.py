"""The engine beside us against a vLLM server of this file, which computes with the same model or fails as one may."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field

import httpx2
import pytest
import torch
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from del_audit.cli import main
from del_audit.serving.refusal import RefusalError
from del_audit.serving.vllm_check import VllmServer, probes_of, require_same_model, served_by
from del_audit.serving.vllm_engine import VllmEngine
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, Order, WritingBatch, write
from mechanisms.models import load_causal_lm
from mechanisms.own_forward import embed, logits_within
from mechanisms.text_pieces import text_of

SECRET = "what vLLM says of a request"


@pytest.fixture(scope="module")
def language(tiny_lm_folder):
    found = load_causal_lm(str(tiny_lm_folder))
    torch.nn.init.normal_(found.model.model.norm.weight, 0, 40, generator=torch.Generator().manual_seed(1))
    return found  # its words differ in probability, as those of a trained model do


@dataclass
class FakeVllm:
    """What vLLM does with prompt_embeds. mixes: it answers as the first prompt of the same length had it."""

    language: object
    names: tuple[str, ...] = ("served",)
    embeds: bool = True
    caching: str = "False"
    mixes: bool = False
    context: int = 200
    asked: list[dict] = field(default_factory=list)
    _first: dict[int, torch.Tensor] = field(default_factory=dict)

    def client(self) -> httpx2.AsyncClient:
        routes = [
            Route("/v1/models", self._models),
            Route("/metrics", self._metrics),
            Route("/v1/completions", self._completions, methods=["POST"]),
        ]
        transport = httpx2.ASGITransport(app=Starlette(routes=routes))
        return httpx2.AsyncClient(transport=transport, base_url="http://vllm:8000")

    async def _models(self, _):
        return JSONResponse({"data": [{"id": name, "max_model_len": self.context} for name in self.names]})

    async def _metrics(self, _):
        info = f'block_size="128",enable_prefix_caching="{self.caching}",engine="0"'
        return PlainTextResponse(f"# TYPE vllm:cache_config_info gauge\nvllm:cache_config_info{{{info}}} 1.0\n")

    async def _completions(self, request):
        said = await request.json()
        self.asked.append(said)
        if not self.embeds:
            return JSONResponse({"error": {"message": "You must set `--enable-prompt-embeds`"}}, 400)
        if said["temperature"] == 0 and said.get("n", 1) > 1:
            return JSONResponse({"error": {"message": "n must be 1 when using greedy sampling"}}, 400)
        prompt = torch.load(io.BytesIO(base64.b64decode(said["prompt_embeds"])), weights_only=True)
        if self.mixes:
            prompt = self._first.setdefault(len(prompt), prompt)
        if not said.get("stream"):
            (logits,) = logits_within(self.language.model, [prompt], [(len(prompt) - 1, len(prompt))])
            token = int(logits[0].argmax())
            likely = float(logits[0].log_softmax(0)[token])
            return JSONResponse({"choices": [{"token_ids": [token], "logprobs": {"token_logprobs": [likely]}}]})
        return StreamingResponse(self._events(said, prompt), media_type="text/event-stream")

    async def _events(self, said, prompt):
        greedy, texts = said["temperature"] == 0, said.get("n", 1)
        law = GenerationSettings(said["max_tokens"], said["temperature"] or 1.0, said["top_p"], 0, greedy, said["seed"])
        batch = WritingBatch(self.language.model, [Order(prompt, law, text) for text in range(texts)])
        written = 0
        while batch.going:
            found, written = batch.step(), written + 1
            for text, token in found.items():
                why = "stop" if token is None else "length" if written == said["max_tokens"] else None
                token = said["stop_token_ids"][0] if token is None else token
                yield event({"index": text, "text": "x", "token_ids": [token], "finish_reason": why})
        yield "data: [DONE]\n\n"


def event(*choices, **others):
    return f"data: {json.dumps({'choices': choices, **others})}\n\n"


@dataclass
class Stream(httpx2.AsyncByteStream):
    """Parts of an answer; an exception among them is raised. closed: whether nobody reads any more."""

    parts: list
    closed: bool = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part.encode()

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Scripted(httpx2.AsyncBaseTransport):
    """Answers every request with a status and a stream, or with an error."""

    status: int = 200
    parts: list = field(default_factory=list)
    error: Exception | None = None
    streams: list = field(default_factory=list)

    async def handle_async_request(self, request):
        if self.error is not None:
            raise self.error
        self.streams.append(Stream(self.parts))
        return httpx2.Response(self.status, stream=self.streams[-1])

    def engine(self, language) -> VllmEngine:
        return VllmEngine(httpx2.AsyncClient(transport=self, base_url="http://vllm:8000"), "served", language)


def orders(language, text="It hurts in my knee", texts=1, **how):
    prefix = embed(language.model, language.tokenizer(text).input_ids)
    return [Order(prefix, GenerationSettings(**{"new_tokens": 7, "seed": 3, **how}), number) for number in range(texts)]


def heard(engine, asked):
    """Returns (the texts, the number of tokens, why each ended) of what an engine writes."""

    async def written():
        found = [piece async for piece in engine.write(asked)]
        await engine.close()
        return found

    pieces = asyncio.run(written())
    texts = ["".join(one.said for one in pieces if one.text == text) for text in range(len(asked))]
    return texts, sum(one.tokens for one in pieces), {one.text: one.finished for one in pieces if one.finished}


def test_greedy_answers_are_the_models_own(language):
    fake, asked = FakeVllm(language), orders(language, texts=2, greedy=True)
    (tokens,) = write(language.model, [asked[0].prefix], asked[0].settings)
    assert len(tokens) == 7
    texts, count, why = heard(VllmEngine(fake.client(), "served", language), asked)
    assert texts == [text_of(language.tokenizer, tokens)] * 2
    assert (count, why) == (14, {0: "length", 1: "length"})
    (said,) = fake.asked
    assert (said["model"], said["n"], said["temperature"], said["max_tokens"]) == ("served", 1, 0.0, 7)
    assert said["ignore_eos"]
    assert said["stop_token_ids"] == [0]


def test_sampled_answers_are_asked_for_at_once_and_keep_their_numbers(language):
    fake, asked = FakeVllm(language), orders(language, texts=3, temperature=2.5, top_p=0.95)
    settings, texts = asked[0].settings, []
    for number in range(3):
        batch, tokens = WritingBatch(language.model, [Order(asked[0].prefix, settings, number)]), []
        while batch.going:
            tokens += [token for token in batch.step().values() if token is not None]
        texts.append(text_of(language.tokenizer, tokens))
    assert len(set(texts)) == 3
    assert heard(VllmEngine(fake.client(), "served", language), asked)[0] == texts
    (said,) = fake.asked
    how = {name: said[name] for name in ("n", "seed", "temperature", "top_p", "top_k", "min_p", "repetition_penalty")}
    assert how == {
        "n": 3,
        "seed": 3,
        "temperature": 2.5,
        "top_p": 0.95,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
    }


def test_an_end_token_ends_a_text_and_is_not_counted(language):
    word = language.tokenizer("pain").input_ids
    parts = [
        ": a comment\n\n",
        event({"index": 0, "token_ids": word[:1], "finish_reason": None}),
        event({"index": 0, "token_ids": [*word[1:], 0], "finish_reason": "stop"}),
        "data: [DONE]\n\n",
    ]
    assert heard(Scripted(parts=parts).engine(language), orders(language)) == (["pain"], len(word), {0: "stop"})


GOES_ON = event({"index": 0, "token_ids": [5], "finish_reason": None})


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        (Scripted(error=httpx2.ConnectError(SECRET)), (503, "engine_unavailable")),
        (Scripted(error=httpx2.ConnectTimeout(SECRET)), (503, "engine_unavailable")),
        (Scripted(error=httpx2.RemoteProtocolError(SECRET)), (502, "engine_failed")),
        (Scripted(status=503, parts=[SECRET]), (429, "overloaded")),
        (Scripted(status=400, parts=[SECRET]), (502, "engine_failed")),
        (Scripted(parts=[GOES_ON]), (502, "engine_failed")),
        (Scripted(parts=[GOES_ON, "data: [DONE]\n\n"]), (502, "engine_failed")),
        (Scripted(parts=[GOES_ON, httpx2.ReadError(SECRET)]), (502, "engine_failed")),
        (Scripted(parts=[f'data: {{"error": {{"message": "{SECRET}"}}}}\n\n']), (502, "engine_failed")),
        (Scripted(parts=[f"data: {SECRET}\n\n"]), (502, "engine_failed")),
        (Scripted(parts=["data: []\n\n"]), (502, "engine_failed")),
        (Scripted(parts=[event({"index": 0, "token_ids": [5], "finish_reason": "abort"})]), (502, "engine_failed")),
        (Scripted(parts=[event({"index": 1, "token_ids": [5], "finish_reason": None})]), (502, "engine_failed")),
        (Scripted(parts=[event({"index": 0, "text": SECRET, "finish_reason": None})]), (502, "engine_failed")),
    ],
)
def test_what_fails_is_refused_without_what_was_said(language, answer, refusal):
    with pytest.raises(RefusalError) as caught:
        heard(answer.engine(language), orders(language))
    assert (caught.value.status, caught.value.code) == refusal
    assert SECRET not in str(caught.value)
    assert all(stream.closed for stream in answer.streams)


def test_a_reader_who_leaves_closes_the_stream(language):
    answer = Scripted(parts=[GOES_ON] * 5)

    async def first():
        async with aclosing(answer.engine(language).write(orders(language))) as pieces:
            piece = await anext(pieces)
            assert not answer.streams[0].closed
        return piece

    assert asyncio.run(first()).tokens == 1
    assert answer.streams[0].closed


def test_the_whole_service_answers_as_with_its_own_engine(service, deployed):
    served = service.server
    own, fake = served.engine, FakeVllm(deployed.language)
    key = {"headers": {"Idempotency-Key": "the same bits"}, "temperature": 0}
    first = service.chat("I took it for the pain", **key).choices[0].message.content
    served.engine = VllmEngine(fake.client(), "served", deployed.language)
    again = service.chat("I took it for the pain", **key)
    assert again.choices[0].message.content == first
    assert again.usage.completion_tokens == 6
    assert len(fake.asked) == 1
    served.engine = own


def checked(fake, language):
    async def asked():
        async with fake.client() as client:
            served = await served_by(client)
            await require_same_model(client, served.name, probes_of(language, served.context))
            return served

    return asyncio.run(asked())


def test_a_server_of_the_same_model_may_write(language):
    fake = FakeVllm(language)
    assert checked(fake, language) == VllmServer("http://vllm:8000", "served", 200)
    assert len(fake.asked) == 4
    assert len({said["prompt_embeds"] for said in fake.asked}) == 4


@pytest.mark.parametrize(
    ("faults", "said"),
    [
        ({"names": ()}, "to serve one model, got 0"),
        ({"names": ("one", "other")}, "to serve one model, got 2"),
        ({"caching": "True"}, "prefix caching is off"),
        ({"caching": ""}, "prefix caching is off"),
        ({"embeds": False}, "status 400 .You must set `--enable-prompt-embeds`"),
        ({"mixes": True}, "to write as the configuration's model does"),
    ],
)
def test_another_server_is_refused_and_told_how_to_start(language, faults, said):
    with pytest.raises(UserError, match=said) as caught:
        checked(FakeVllm(language, **faults), language)
    for part in ("--engine http://vllm:8000", "--enable-prompt-embeds", "--no-enable-prefix-caching"):
        assert part in str(caught.value)


def test_another_model_is_refused(language, tiny_lm_folder):
    other = load_causal_lm(str(tiny_lm_folder))
    torch.nn.init.normal_(other.model.model.norm.weight, 0, 40, generator=torch.Generator().manual_seed(2))
    with pytest.raises(UserError, match="to write as the configuration's model does"):
        checked(FakeVllm(other), language)


def test_probes_ask_for_words_that_differ_in_probability(language):
    own = [probe.likely for probe in probes_of(language, 200)]
    assert len({int(likely.argmax()) for likely in own}) > 1
    assert max(float(likely.max()) for likely in own) > -2


def test_a_server_that_becomes_another_closes_the_gate(language, monkeypatch):
    fake = FakeVllm(language)
    monkeypatch.setattr("del_audit.serving.vllm_check.connection", lambda _: fake.client())
    beside = VllmServer.at("http://vllm:8000")
    probes = probes_of(language, beside.context)
    beside.require_still(probes)
    fake.caching = "True"
    with pytest.raises(UserError, match="prefix caching is off"):
        beside.require_still(probes)
    fake.caching, fake.names = "False", ("another",)
    with pytest.raises(UserError, match="to serve 'served' still, got 'another'"):
        beside.require_still(probes)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://vllm", "http://vllm/v1", ""])
def test_another_url_is_a_usage_error(deployment, capsys, url):
    options = ["--certificate", str(deployment.certificate), "--accept-quick", "--engine", url]
    assert main(["serve", str(deployment.config), *options]) == 2
    assert "Expected --engine to be http(s)://HOST:PORT" in capsys.readouterr().err


def test_no_server_is_said_before_the_model_is_loaded(deployment, own_state, capsys, monkeypatch):
    monkeypatch.setattr("del_audit.serving.deployed.language_of", lambda _: pytest.fail("the model was loaded"))
    options = ["--certificate", str(deployment.certificate), "--accept-quick", "--engine", "http://127.0.0.1:9"]
    assert main(["serve", str(deployment.config), *options]) == 2
    said = capsys.readouterr().err
    assert "Expected a vLLM server at --engine http://127.0.0.1:9, got ConnectError" in said
    assert "--enable-prompt-embeds --no-enable-prefix-caching" in said
