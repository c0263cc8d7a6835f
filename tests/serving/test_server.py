"""The server: what it refuses, when it stops serving, and what it says of it."""

import asyncio
import gc
import hashlib
import json
import logging
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest
import torch

from del_audit.serving.events import read_event
from del_audit.serving.exchanges import Exchanges
from del_audit.serving.gate import Certified, Gate, certified
from del_audit.serving.keys import Keys, require_keys_for
from del_audit.serving.logs import JsonLines
from del_audit.serving.protocol import REQUEST_TYPE, Request, Sampling, Segment, request_bytes
from del_audit.serving.refusal import RefusalError
from del_audit.serving.transformers_engine import TransformersEngine
from mechanisms.client_bundle import load_client
from mechanisms.continuation import embed
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, Order, WritingBatch, write

HOW = Sampling(6, 0.0, 1.0, 1, 1)


def asked(service, segments, how=HOW, **changes):
    request = Request(service.server.gate.require().sha256, os.urandom(16), None, tuple(segments), how)
    return replace(request, **changes)


def posted(service, body, headers=None, path="/v1/generate", method="POST"):
    async def sent():
        transport = httpx2.ASGITransport(app=service.server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as connection:
            given = {"content-type": REQUEST_TYPE, **(headers or {})}
            return await connection.request(method, path, content=body, headers=given)

    return asyncio.run(sent())


def code_of(response):
    return response.status_code, response.json()["error"]["code"]


def message(deployment, text="It hurts in my knee"):
    return load_client(deployment.bundle, accept_quick=True).release(text)


def test_what_is_not_the_certificates_is_refused(service, deployment):
    released = Segment("user", message(deployment))
    good = asked(service, [released])
    assert posted(service, request_bytes(good)).status_code == 200
    other = replace(good, certificate=b"x" * 32)
    assert code_of(posted(service, request_bytes(other))) == (409, "certificate_mismatch")
    foreign = bytearray(released.content)
    foreign[5] ^= 1  # of another spec
    assert code_of(posted(service, request_bytes(asked(service, [Segment("user", bytes(foreign))])))) == (
        400,
        "invalid_request",
    )
    assert code_of(posted(service, b"nonsense")) == (400, "invalid_request")
    assert code_of(posted(service, b"{}", {"content-type": "application/json"})) == (415, "unsupported_media_type")
    assert code_of(posted(service, b"x" * ((1 << 22) + 1))) == (413, "request_too_large")
    unknown = replace(good, after=(os.urandom(16), 0))
    assert code_of(posted(service, request_bytes(unknown))) == (409, "unknown_exchange")
    long = asked(service, [released], replace(HOW, max_tokens=65))
    assert code_of(posted(service, request_bytes(long))) == (400, "max_tokens_too_large")
    deep = asked(service, [Segment("user", "word " * 120), released], replace(HOW, max_tokens=60))
    assert code_of(posted(service, request_bytes(deep))) == (400, "context_length_exceeded")
    assert service.server._open == 0


def test_a_certificate_that_ends_stops_the_service(service, deployment):
    body = request_bytes(asked(service, [Segment("user", message(deployment))]))
    gate, until = service.server.gate, service.server.gate.require().until
    for now in (until, until + timedelta(days=1)):
        gate.now = lambda now=now: now
        assert code_of(posted(service, body)) == (503, "certificate_ended")
        assert posted(service, b"", path="/health", method="GET").status_code == 503
    gate.now = lambda: datetime.now(UTC)
    assert code_of(posted(service, body)) == (503, "clock_set_back")


def test_a_certificate_that_does_not_hold_any_more_stops_the_service(service, deployment, tmp_path):
    body = request_bytes(asked(service, [Segment("user", message(deployment))]))
    gate, check = service.server.gate, service.server.gate.check

    def revoked():
        raise UserError("It was revoked.")

    gate.check = revoked
    gate.look()
    assert code_of(posted(service, body)) == (503, "checks_failed")
    assert gate.why == "It was revoked."
    gate.check = check
    gate.look()
    assert posted(service, body).status_code == 200


def test_a_gate_does_not_open_for_a_certificate_that_does_not_hold(deployment, own_state, tmp_path):
    changed = tmp_path / "certificate.json"
    changed.write_bytes(deployment.certificate.read_bytes().replace(b'"name":"tiny"', b'"name":"tony"', 1))
    for path, quick, said in (
        (changed, True, "signature"),
        (deployment.certificate, False, "it is quick"),
        (tmp_path / "none.json", True, "none.json"),
    ):
        with pytest.raises(UserError, match=said):
            certified(path, (), quick)


@pytest.mark.parametrize(
    "name", ["configuration", "model", "tokenizer", "soft_prompt", "encoder", "public_texts", "spec"]
)
def test_what_is_loaded_must_be_what_the_certificate_names(deployment, deployed, own_state, name):
    body = certified(deployment.certificate, (), accept_quick=True).body
    deployed.require_named_by(body)
    changed = body.model_copy(update={"hashes": body.hashes.model_copy(update={name: "0" * 64})})
    with pytest.raises(UserError, match=name.replace("_", " ")):
        deployed.require_named_by(changed)


def test_keys_are_asked_for(service, tmp_path, deployment):
    keys = tmp_path / "keys"
    keys.write_text("# who may ask\nmary 0123456789abcdef\njohn fedcba9876543210\n")
    with pytest.raises(UserError, match="chmod 600"):
        Keys.read(keys)
    keys.chmod(0o600)
    service.server.keys = Keys.read(keys)
    assert service.server.keys.user("Bearer 0123456789abcdef") == "mary"
    body = request_bytes(asked(service, [Segment("user", message(deployment))]))
    for header in ({}, {"authorization": "Bearer wrong"}, {"authorization": "Basic 0123456789abcdef"}):
        assert code_of(posted(service, body, header)) == (401, "invalid_api_key")
    assert posted(service, body, {"authorization": "Bearer fedcba9876543210"}).status_code == 200
    require_keys_for("0.0.0.0", service.server.keys)
    require_keys_for("127.0.0.1", Keys({}))
    with pytest.raises(UserError, match="which other machines reach"):
        require_keys_for("0.0.0.0", Keys({}))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("mary short", "another line 1"),
        ("mary", "another line 1"),
        ("../x 0123456789abcdef", "another line 1"),
        ("mary 0123456789abcdef\nmary 0123456789abcdeg", "line 2 again"),
        ("mary 0123456789abcdef\njohn 0123456789abcdef", "line 2 again"),
        ("# none", "got none"),
    ],
)
def test_a_file_of_keys_says_what_is_wrong_with_it(tmp_path, content, said):
    path = tmp_path / "keys"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(UserError, match=said):
        Keys.read(path)


def test_an_answer_that_nobody_reads_frees_its_place(service, deployment):
    body = request_bytes(asked(service, [Segment("user", message(deployment))], replace(HOW, max_tokens=60)))
    messages = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]
    headers = [(b"content-type", REQUEST_TYPE.encode())]
    scope = {"type": "http", "method": "POST", "path": "/v1/generate", "query_string": b"", "headers": headers}
    scope |= {"asgi": {"spec_version": "2.3"}, "http_version": "1.1"}

    async def leave():
        async def receive():
            return messages.pop(0) if messages else {"type": "http.disconnect"}

        async def send(_):
            await asyncio.sleep(0)

        await service.server.app()(scope, receive, send)
        gc.collect()
        await asyncio.sleep(0.2)

    asyncio.run(leave())
    assert service.server._open == 0


def test_a_body_that_does_not_come_is_given_up(service, monkeypatch):
    monkeypatch.setattr("del_audit.serving.bodies.read_body.__defaults__", (0.05,))

    async def sent():
        async def slow():
            yield b"x"
            await asyncio.sleep(5)

        transport = httpx2.ASGITransport(app=service.server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as connection:
            return await connection.post("/v1/generate", content=slow(), headers={"content-type": REQUEST_TYPE})

    assert code_of(asyncio.run(sent())) == (408, "timeout")
    assert service.server._open == 0


def test_an_exchange_is_forgotten_by_age_and_by_size():
    now = [0.0]
    kept = Exchanges(most_bytes=3_000, seconds=10, clock=lambda: now[0])
    first = Request(b"c" * 32, b"e" * 16, None, (Segment("user", b"m" * 1_000),), HOW)
    kept.keep("mary", b"1" * 16, first.segments, ("answer",))
    later = replace(first, after=(b"1" * 16, 0), segments=(Segment("user", b"n"),))
    assert kept.turns_of("mary", later) == (*first.segments, Segment("assistant", "answer"), Segment("user", b"n"))
    for user, request in (("john", later), ("mary", replace(later, after=(b"1" * 16, 1)))):
        with pytest.raises(RefusalError, match="not remembered"):
            kept.turns_of(user, request)
    now[0] = 11
    with pytest.raises(RefusalError):
        kept.turns_of("mary", later)
    for number in range(5):
        kept.keep("mary", bytes([number]) * 16, first.segments, ("answer",))
    assert kept._bytes <= 3_000
    assert len(kept._kept) == 2


def test_the_engine_writes_what_the_model_writes_alone_whatever_is_beside_it(deployed):
    language = deployed.language
    settings = [
        GenerationSettings(new_tokens=length, temperature=heat, top_p=0.9, greedy=greedy, seed=seed)
        for length, heat, greedy, seed in (
            (5, 1.0, True, 0),
            (9, 0.7, False, 1),
            (3, 1.3, False, 2),
            (7, 0.7, False, 3),
        )
    ]
    with torch.no_grad():
        prefixes = [embed(language.model, list(range(3, 3 + size))) for size in (4, 9, 2, 6)]
    wanted = [write(language.model, [prefix], how)[0] for prefix, how in zip(prefixes, settings, strict=True)]
    engine = TransformersEngine(language.model, language.tokenizer, rows=2)

    async def one(prefix, how):
        found = [piece async for piece in engine.write([Order(prefix, how)])]
        return "".join(piece.said for piece in found), found[-1].finished, sum(piece.tokens for piece in found)

    async def every():
        try:
            return await asyncio.gather(*(one(*pair) for pair in zip(prefixes, settings, strict=True)))
        finally:
            await engine.close()

    for (text, finished, tokens), ids in zip(asyncio.run(every()), wanted, strict=True):
        assert text == language.tokenizer.decode(ids, skip_special_tokens=True)
        assert tokens == len(ids)
        assert finished in ("stop", "length")


def test_batches_that_join_write_what_each_writes_alone(deployed):
    """Texts of other lengths, joined at other steps, some of them finished or dropped before."""
    model = deployed.language.model
    how = [
        GenerationSettings(new_tokens=size, temperature=1.1, top_p=0.95, seed=seed)
        for seed, size in enumerate((9, 3, 12, 7, 5))
    ]
    with torch.no_grad():
        orders = [
            Order(embed(model, list(range(2, 2 + size))), one) for size, one in zip((5, 11, 3, 8, 2), how, strict=True)
        ]
    alone = [write(model, [one.prefix], one.settings)[0] for one in orders]
    batch, written = WritingBatch(model, orders[:2]), [[] for _ in orders]

    def step(one, first=0):
        for text, token in one.step().items():
            if token is not None:
                written[first + text].append(token)

    for _ in range(4):
        step(batch)
    for first in (2, 4):
        later = WritingBatch(model, orders[first : first + 2])
        step(later, first)
        assert batch.joins
        batch.join(later)
        step(batch)
    batch.drop(2)
    while batch.going:
        step(batch)
    assert [written[place] for place in (0, 1, 3, 4)] == [alone[place] for place in (0, 1, 3, 4)]
    assert written[2] == alone[2][: len(written[2])]


@pytest.mark.parametrize("heat", [5e-324, 1e-30, 1e-4])
def test_a_temperature_near_zero_writes_the_likeliest_word_and_fails_nobody_beside_it(service, deployment, heat):
    released = Segment("user", message(deployment))
    cold = request_bytes(asked(service, [released], replace(HOW, temperature=heat, top_p=5e-324)))
    likeliest = request_bytes(asked(service, [released], HOW))

    async def both():
        transport = httpx2.ASGITransport(app=service.server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as connection:
            headers = {"content-type": REQUEST_TYPE}
            posts = (connection.post("/v1/generate", content=body, headers=headers) for body in (cold, likeliest))
            return [said(response) for response in await asyncio.gather(*posts)]

    first, second = asyncio.run(both())
    assert first == second


def said(response):
    events = [read_event(block) for block in response.content.split(b"\n\n") if block]
    assert events[-1].usage is not None, response.text
    return "".join(text for event in events for _, text in event.pieces)


def test_a_reader_who_leaves_frees_the_engine(deployed):
    language = deployed.language
    engine = TransformersEngine(language.model, language.tokenizer)
    with torch.no_grad():
        order = Order(embed(language.model, [1, 2, 3]), GenerationSettings(new_tokens=200, seed=1))

    async def leave():
        pieces = engine.write([order])
        await anext(pieces)
        await pieces.aclose()
        short = Order(order.prefix, GenerationSettings(new_tokens=2, greedy=True))
        found = [piece async for piece in engine.write([short])]
        await engine.close()
        return found

    assert asyncio.run(leave())[-1].finished in ("length", "stop")


def test_an_engine_that_fails_says_nothing_of_the_text(deployed, monkeypatch, caplog):
    language = deployed.language
    engine = TransformersEngine(language.model, language.tokenizer)
    order = Order(torch.zeros(3, 7), GenerationSettings(new_tokens=2))  # of another width

    async def fail():
        try:
            return [piece async for piece in engine.write([order])]
        finally:
            await engine.close()

    with caplog.at_level(logging.ERROR), pytest.raises(RefusalError) as raised:
        asyncio.run(fail())
    assert (raised.value.status, raised.value.code) == (500, "engine_failed")


def test_logs_hold_what_they_may_and_nothing_else(service, deployment, caplog):
    with caplog.at_level(logging.INFO, logger="del_audit.serving"):
        service.chat("Mary hurts")
        posted(service, b"Mary")
    lines = [json.loads(JsonLines().format(record)) for record in caplog.records if record.name.startswith("del_audit")]
    assert {line["event"] for line in lines} == {"request"}
    assert all(
        set(line) <= {"at", "level", "event", "user", "route", "status", "code", "tokens", "seconds", "kind"}
        for line in lines
    )
    assert "Mary" not in json.dumps(lines)
    page = posted(service, b"", path="/metrics", method="GET").text
    assert 'del_audit_server_requests_total{code="",route="generate",status="200"} 1.0' in page
    assert 'del_audit_server_requests_total{code="invalid_request",route="generate",status="400"} 1.0' in page
    assert "Mary" not in page


def test_a_gate_knows_the_file_it_serves_under(service, deployment):
    current = service.server.gate.require()
    assert isinstance(current, Certified)
    assert current.sha256 == hashlib.sha256(deployment.certificate.read_bytes()).digest()
    about = posted(service, b"", path="/v1/about", method="GET")
    assert about.json()["certificate"] == current.sha256.hex() == about.headers["del-audit-certificate"]
    assert Gate(lambda: current).require() is current
