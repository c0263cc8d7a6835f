"""10,000 requests to each side that nobody would send: no failure that is not declared, and not a word of them said."""

import asyncio
import json
import logging
import sys
from collections import Counter
from pathlib import Path

import httpx2
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from mutations import changed_bytes, changed_json, changed_packed, changed_value

from del_audit.serving.events import Event, event_bytes
from del_audit.serving.logs import JsonLines
from del_audit.serving.protocol import REQUEST_TYPE, Request, Sampling, Segment, read_request, request_bytes
from del_audit.serving.upstream import Upstream
from mechanisms.client_bundle import load_client
from mechanisms.randomness import simulation_generator

PLANTED = "Zvyxqwop"
COUNTS = [400, pytest.param(10_000, marks=pytest.mark.slow)]
REFUSALS = {400, 401, 403, 404, 408, 409, 413, 415, 429}
ANSWERED = (
    *(None, True, -1, 7, 10**30, 0.5, float("nan"), float("inf"), "", "\ud800", "x" * 3_000),
    *([], [[]], {}, [0], [0, 1]),
)
CHAT = {
    "model": "tiny",
    "messages": [
        {"role": "system", "content": f"Help {PLANTED}."},
        {"role": "user", "content": [{"type": "text", "text": f"I am {PLANTED}."}], "name": PLANTED},
        {"role": "assistant", "content": f"Hello {PLANTED}", "refusal": None},
        {"role": "tool", "content": PLANTED, "tool_call_id": PLANTED},
    ],
    "max_tokens": 2,
    "temperature": 0.7,
    "top_p": 0.9,
    "seed": 3,
    "n": 1,
    "stop": [PLANTED],
    "stream": False,
    "stream_options": {"include_usage": True},
    "user": PLANTED,
    "metadata": {"who": PLANTED},
    "response_format": {"type": "text"},
    "logit_bias": {},
    "tools": [],
}
COMPLETION = {"model": "tiny", "prompt": f"I am {PLANTED}", "max_tokens": 2, "stop": PLANTED, "n": 2, "echo": False}


@pytest.fixture
def lines(caplog):
    """Returns what the logs say, as the service writes it."""
    caplog.set_level(logging.INFO, logger="del_audit.serving")
    return lambda: [JsonLines().format(record) for record in caplog.records]


def forms(word):
    return [word.encode(), word.encode("utf-16-le"), word.lower().encode()]


def told(data):
    return [form for form in forms(PLANTED) if form in data]


async def each(application, requests):
    """Yields the answer to each request of (path, body, headers), of an application that must not raise."""
    transport = httpx2.ASGITransport(app=application)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8701") as connection:
        for path, body, headers in requests:
            yield await connection.post(path, content=body, headers=headers)


@pytest.mark.parametrize("count", COUNTS)
def test_a_proxy_that_is_fuzzed(service, lines, count):
    generator = simulation_generator(count, "fuzzed proxy")
    headers = {
        "content-type": "application/json",
        "authorization": f"Bearer {PLANTED}",
        "idempotency-key": PLANTED,
        "user-agent": PLANTED,
        "x-who": PLANTED,
    }

    def requests():
        for number in range(count):
            path, content = (("/v1/chat/completions", CHAT), ("/v1/completions", COMPLETION))[number % 2]
            given = dict(headers)
            if generator.random() < 0.2:
                name = list(given)[generator.integers(0, len(given))]
                given[name] = changed_bytes(given[name].encode(), generator).translate(None, b"\r\n\0")
            if generator.random() < 0.8:
                given.pop("idempotency-key", None)
            yield path, changed_json(content, generator), given

    async def sent():
        found = Counter()
        async for response in each(service.proxy.app(), requests()):
            found[response.status_code] += 1
            assert response.status_code in REFUSALS | {200}, response.text
            assert not told(response.content)
            if response.status_code != 200:
                assert set(response.json()) == {"error"}
                assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        return found

    found = asyncio.run(sent())
    assert found[200] >= 10
    assert found[400] >= count / 3
    assert not [line for line in lines() if PLANTED in line or "raceback" in line or "internal" in line]
    for body in service.bodies:
        assert not told(body)
        assert all(isinstance(segment.content, bytes) or not segment.content for segment in read_request(body).segments)


@pytest.mark.parametrize("count", COUNTS)
def test_a_server_that_is_fuzzed(service, deployment, lines, count):
    generator = simulation_generator(count, "fuzzed server")
    released = load_client(deployment.bundle, accept_quick=True).release("It hurts")
    certificate = service.server.gate.require().sha256
    segments = (Segment("system", f"Help {PLANTED}"), Segment("user", released), Segment("assistant", "x"))
    good = request_bytes(Request(certificate, b"e" * 16, None, segments, Sampling(2, 0.7, 0.9, 1, 1)))
    later = request_bytes(Request(certificate, b"f" * 16, (b"e" * 16, 0), segments[1:], Sampling(2, 0.7, 0.9, 1, 2)))

    def requests():
        for number in range(count):
            data = changed_packed((good, later)[number % 2], generator)
            yield "/v1/generate", data, {"content-type": REQUEST_TYPE}

    async def sent():
        found, failed = Counter(), 0
        async for response in each(service.server.app(), requests()):
            found[response.status_code] += 1
            failed += '"e":' in response.text
            assert response.status_code in REFUSALS | {200}, response.text
            if response.status_code != 200:
                assert set(response.json()["error"]) == {"code", "message"}
            assert not told(response.content)
        return found, failed

    found, failed = asyncio.run(sent())
    assert failed == 0
    assert found[200] >= count / 50
    assert found[400] >= count / 3
    assert service.server._open == 0
    assert not [line for line in lines() if PLANTED in line or "raceback" in line or "internal" in line]


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_answers_anything_fails_no_proxy(service, lines, stream):
    generator = simulation_generator(0, "fuzzed answers", str(stream))
    said = [
        {"p": [[0, "Hello"], [0, " you"]]},
        {"p": [[0, "!"]], "f": [[0, "stop"]]},
        {"u": [3, 5]},
    ]
    whole = b"".join(
        event_bytes(event, 64)
        for event in (Event(((0, "Hello"),)), Event(((0, "!"),), ((0, "stop"),)), Event(usage=(3, 5)))
    )
    certificate = service.proxy.upstream.certificate
    hexed = certificate.hex()

    def answer(_):
        if generator.random() < 0.2:
            error = changed_value({"error": {"code": "overloaded", "message": "Too many."}}, generator, ANSWERED)
            return httpx2.Response(int(generator.integers(300, 600)), content=json.dumps(error))
        if generator.random() < 0.5:
            data = changed_bytes(whole, generator)
        else:
            changed = [json.dumps(one) for one in changed_value(said, generator, ANSWERED)]
            data = b"".join(b"data: " + one.encode() + b"\n\n" for one in changed)
        return httpx2.Response(200, content=data, headers={"del-audit-certificate": hexed})

    connection = httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://server")
    service.proxy.upstream = Upstream(connection, certificate)
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 2, "stream": stream}
    data = json.dumps(body).encode()

    async def sent():
        found = Counter()
        requests = [("/v1/chat/completions", data, {"content-type": "application/json"})] * 250
        async for response in each(service.proxy.app(), requests):
            found[response.status_code] += 1
            assert b"internal_error" not in response.content
        return found

    found = asyncio.run(sent())
    assert found[200] >= 10
    assert found[502] >= 10
    assert not [line for line in lines() if "internal" in line]
