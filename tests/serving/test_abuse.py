"""What nobody should send, ten thousand times to each side; many at once; and what an observer of sizes learns."""

import asyncio
import json
import logging
import os
from pathlib import Path

import httpx2
import numpy as np
import pytest

from del_audit.serving.events import FRAME, read_event
from del_audit.serving.logs import JsonLines
from del_audit.serving.protocol import REQUEST_TYPE, Request, Sampling, Segment, request_bytes
from mechanisms.client_bundle import load_client
from mechanisms.randomness import simulation_generator

pytestmark = pytest.mark.slow
MANY = 10_000
PLANTED = "Zbqxvanthippe"


def mutated(data, generator):
    """Returns bytes with up to four changes: a byte, a cut, a repeat, an insertion, a word of trouble."""
    changed = bytearray(data)
    for _ in range(generator.integers(1, 5)):
        place = int(generator.integers(0, max(1, len(changed))))
        kind = generator.integers(0, 6)
        if kind == 0 and changed:
            changed[place] = generator.integers(0, 256)
        elif kind == 1:
            del changed[place : place + int(generator.integers(1, 9))]
        elif kind == 2:
            changed[place:place] = changed[place : place + int(generator.integers(1, 40))]
        elif kind == 3:
            changed[place:place] = generator.bytes(int(generator.integers(1, 9)))
        elif kind == 4:
            trouble = [
                b"null",
                b"NaN",
                b"1e999",
                b"-1",
                b"\\ud800",
                b"{}",
                b"[]",
                b'""',
                b"true",
                b"99999999999999999999",
            ]
            changed[place : place + 2] = trouble[generator.integers(0, len(trouble))]
        else:
            changed = changed[: place + 1]
    return bytes(changed)


async def statuses(app, path, bodies, kind, check):
    """Returns how often each status was answered; check: is given every answer."""
    found = {}
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://localhost") as connection:
        for start in range(0, len(bodies), 16):
            answers = await asyncio.gather(
                *(
                    connection.post(path, content=body, headers={"content-type": kind})
                    for body in bodies[start : start + 16]
                )
            )
            for answer in answers:
                check(answer)
                found[answer.status_code] = found.get(answer.status_code, 0) + 1
    return found


def said_nothing(caplog):
    lines = [JsonLines().format(record) for record in caplog.records]
    assert not [line for line in lines if PLANTED in line]
    assert "internal error" not in {json.loads(line)["event"] for line in lines}


def test_ten_thousand_broken_requests_to_the_server(service, deployment, caplog):
    generator = simulation_generator(7, "broken requests")
    message = load_client(deployment.bundle, accept_quick=True).release("It hurts")
    good = Request(
        service.server.gate.require().sha256,
        os.urandom(16),
        None,
        (Segment("system", PLANTED), Segment("user", message)),
        Sampling(1, 0.7, 0.9, 1, 1),
    )
    bodies = [mutated(request_bytes(good), generator) for _ in range(MANY)]

    def check(answer):
        assert answer.status_code in (200, 400, 409, 413, 415)
        assert answer.status_code == 200 or PLANTED not in answer.text

    with caplog.at_level(logging.INFO):
        found = asyncio.run(statuses(service.server.app(), "/v1/generate", bodies, REQUEST_TYPE, check))
    assert found[400] > MANY / 2
    assert service.server._open == 0
    said_nothing(caplog)


def test_ten_thousand_broken_requests_to_the_proxy(service, caplog, monkeypatch):
    generator = simulation_generator(8, "broken requests")
    good = {
        "model": "tiny",
        "messages": [{"role": "system", "content": "a"}, {"role": "user", "content": PLANTED, "name": "b"}],
        "max_tokens": 1,
        "temperature": 0.5,
        "top_p": 0.9,
        "n": 1,
        "seed": 3,
        "stop": ["x"],
        "stream": False,
        "stream_options": {"include_usage": True},
        "logit_bias": {},
        "response_format": {"type": "text"},
    }
    bodies = [mutated(json.dumps(good).encode(), generator) for _ in range(MANY)]

    def check(answer):
        assert answer.status_code in (200, 400, 404, 429)
        if answer.status_code != 200:
            assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
            assert PLANTED not in answer.text

    with caplog.at_level(logging.INFO):
        found = asyncio.run(statuses(service.proxy.app(), "/v1/chat/completions", bodies, "application/json", check))
    assert found[400] > MANY / 2
    assert not [body for body in service.bodies if PLANTED.encode() in body]
    said_nothing(caplog)


def memory():
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def test_five_hundred_requests_thirty_two_at_once(service, deployment, capsys):
    """No error, and no memory that grows: the last 300 requests beside the first 200."""
    message = load_client(deployment.bundle, accept_quick=True).release("It hurts in my knee")
    sha256 = service.server.gate.require().sha256
    service.server.exchanges.most_bytes = 20_000  # full after some forty of them

    def body():
        request = Request(sha256, os.urandom(16), None, (Segment("user", message),), Sampling(24, 1.0, 1.0, 1, 1))
        return request_bytes(request)

    async def load(count):
        seconds, free = [], asyncio.Semaphore(32)
        transport = httpx2.ASGITransport(app=service.server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://server", timeout=120) as connection:

            async def one():
                async with free:
                    begun = asyncio.get_running_loop().time()
                    answer = await connection.post(
                        "/v1/generate", content=body(), headers={"content-type": REQUEST_TYPE}
                    )
                    assert answer.status_code == 200
                    assert '"u":' in answer.text
                    seconds.append(asyncio.get_running_loop().time() - begun)

            await asyncio.gather(*(one() for _ in range(count)))
        return seconds

    first = asyncio.run(load(200))
    before = memory()
    rest = asyncio.run(load(300))
    grown = memory() / before - 1
    with capsys.disabled():
        p99 = np.quantile(first + rest, 0.99)
        print(f"\n500 requests, 32 at once: p99 {p99:.2f} s, memory {before:.0f} MB and {100 * grown:+.1f}%")
    assert grown < 0.05
    assert service.server._open == 0


def told(service, deployment, padded):
    """Returns, for each of many answers, the bytes of its events and the characters of its pieces."""
    service.server.frame, service.server.tick = (FRAME, 0.01) if padded else (1, 0.0005)
    message = load_client(deployment.bundle, accept_quick=True).release("It hurts")
    sizes, characters = [], []

    async def ask():
        transport = httpx2.ASGITransport(app=service.server.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://server") as connection:
            for seed in range(12):
                request = Request(
                    service.server.gate.require().sha256,
                    os.urandom(16),
                    None,
                    (Segment("user", message),),
                    Sampling(40, 1.2, 1.0, seed, 1),
                )
                answer = await connection.post(
                    "/v1/generate", content=request_bytes(request), headers={"content-type": REQUEST_TYPE}
                )
                for block in answer.content.split(b"\n\n"):
                    if block.strip():
                        event = read_event(block)
                        if not event.last and not event.finished:
                            sizes.append(len(block) + 2)
                            characters.append(sum(len(text.encode()) for _, text in event.pieces))

    asyncio.run(ask())
    return np.array(sizes), np.array(characters)


def test_sizes_of_events_tell_the_lengths_of_words_only_where_nothing_is_padded(service, deployment):
    sizes, characters = told(service, deployment, padded=False)
    assert np.corrcoef(sizes, characters)[0, 1] > 0.8  # what JSON escapes is longer than its characters
    sizes, characters = told(service, deployment, padded=True)
    assert len(set(characters.tolist())) > 3
    assert set(sizes.tolist()) == {FRAME}
