"""Readers who stop, peers who are gone, disks that are full: nobody else notices, and what was taken is freed."""

import asyncio
import contextlib
import gc
import json
import os
import socket
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

sys.path.insert(0, str(Path(__file__).parent))
from listening import connected, listening, post, until

from del_audit.serving.engine import Piece
from del_audit.serving.events import read_event
from del_audit.serving.listening import GONE, Listening
from del_audit.serving.protocol import REQUEST_TYPE, Request, Sampling, Segment, request_bytes
from del_audit.serving.refusal import RefusalError
from del_audit.serving.server_app import Limits
from mechanisms.client_bundle import load_client

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "It hurts"}], "max_tokens": 60, "stream": True}


class Endless:
    """An engine that writes for ever: so many characters at a time. open: how many are written now."""

    def __init__(self, characters):
        self.characters, self.open, self.begun = characters, 0, 0

    async def write(self, orders):
        self.open += 1
        self.begun += 1
        try:
            while True:
                yield Piece(0, "x" * self.characters, 1)
                await asyncio.sleep(0.01)
        finally:
            self.open -= 1

    async def close(self):
        pass


@pytest.fixture
def endless(service):
    """Returns the server's engine, which never ends, with answers of a second at most."""
    service.server.engine = Endless(4)
    service.server.limits = Limits(new_tokens=64, seconds=1.0)
    return service.server.engine


@pytest.fixture
def request_of(service, deployment):
    """Returns a request's bytes."""
    message = load_client(deployment.bundle, accept_quick=True).release("It hurts")
    request = Request(
        service.server.gate.require().sha256, os.urandom(16), None, (Segment("user", message),), Sampling(9, 0, 1, 1, 1)
    )
    return lambda **changes: request_bytes(replace(request, **changes))


def upstream_at(service, port):
    """Puts the proxy before a server at a port."""
    connection = httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30)
    service.proxy.upstream = replace(service.proxy.upstream, client=connection)


def measured(app, name):
    return app.measures.registry.get_sample_value(name)


def test_an_answer_that_takes_too_long_ends_with_an_error_that_arrives(service, endless, request_of):
    with listening(service.server.app()) as port:
        response = httpx2.post(
            f"http://127.0.0.1:{port}/v1/generate", content=request_of(), headers={"content-type": REQUEST_TYPE}
        )
        last = [read_event(block) for block in response.content.split(b"\n\n") if block][-1]
        assert last.error is not None
        assert last.error[0] == "timeout"
        until(lambda: (endless.begun, endless.open, service.server._open) == (1, 0, 0))


def test_an_answer_that_takes_too_long_is_an_error_of_openais_shape(service, endless):
    with listening(service.server.app()) as port, listening(service.proxy.app()) as own:
        upstream_at(service, port)
        url = f"http://127.0.0.1:{own}/v1/chat/completions"
        whole = httpx2.post(url, json={**CHAT, "stream": False}, timeout=30)
        assert (whole.status_code, whole.json()["error"]["code"]) == (502, "timeout")
        streamed = httpx2.post(url, json=CHAT, timeout=30).text
        assert json.loads(streamed.rstrip().rpartition("data: ")[2])["error"]["code"] == "timeout"
        until(lambda: measured(service.proxy, "del_audit_proxy_requests_open") == 0)


def test_a_reader_who_reads_nothing_is_cut_off(service, endless, request_of, monkeypatch):
    monkeypatch.setattr("del_audit.serving.server_app.MARGIN", 0.5)
    endless.characters = 200_000
    with listening(service.server.app()) as port, connected(port, receives=4_096) as reader:
        reader.sendall(post("/v1/generate", request_of(), REQUEST_TYPE))
        until(lambda: endless.begun == 1)
        until(lambda: (endless.open, service.server._open) == (0, 0), 20)
        assert httpx2.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_a_client_of_the_proxy_who_reads_nothing_is_cut_off_with_its_upstream(service, endless, monkeypatch):
    monkeypatch.setattr("del_audit.serving.proxy_app.MARGIN", 0.0)
    endless.characters = 200_000
    service.server.limits = Limits(new_tokens=64, seconds=600)
    service.proxy.seconds = 1.5
    with listening(service.server.app()) as port, listening(service.proxy.app()) as own:
        upstream_at(service, port)
        with connected(own, receives=4_096) as reader:
            reader.sendall(post("/v1/chat/completions", json.dumps(CHAT).encode(), "application/json"))
            until(lambda: endless.begun == 1)
            until(lambda: (endless.open, service.server._open) == (0, 0), 20)
            until(lambda: measured(service.proxy, "del_audit_proxy_requests_open") == 0)


@pytest.mark.parametrize("reads", [0, 300])
def test_a_client_that_leaves_the_proxy_frees_the_server(service, endless, reads):
    service.server.limits = Limits(new_tokens=64, seconds=600)
    with listening(service.server.app()) as port, listening(service.proxy.app()) as own:
        upstream_at(service, port)
        for _ in range(3):
            with connected(own) as reader:
                reader.sendall(post("/v1/chat/completions", json.dumps(CHAT).encode(), "application/json"))
                until(lambda: endless.open == 1)
                if reads:
                    assert reader.recv(reads).startswith(b"HTTP/1.1 200")
            until(lambda: (endless.open, service.server._open) == (0, 0))
            until(lambda: measured(service.proxy, "del_audit_proxy_requests_open") == 0)
        gc.collect()
        url = f"http://127.0.0.1:{own}/health"
        assert httpx2.get(url).json() == {"status": "ok"}


def test_connections_that_say_half_of_a_request_take_no_place(service, request_of, monkeypatch):
    monkeypatch.setattr("del_audit.serving.bodies.read_body.__defaults__", (0.3,))
    service.server.limits = Limits(new_tokens=64, open=8)
    whole = post("/v1/generate", request_of(), REQUEST_TYPE)
    with listening(service.server.app()) as port, contextlib.ExitStack() as open_ones:
        for size in (1, 20, whole.index(b"\r\n\r\n") + 2):
            for _ in range(10):
                open_ones.enter_context(connected(port)).sendall(whole[:size])
        assert service.server._open == 0
        half = open_ones.enter_context(connected(port))
        half.sendall(whole[:-5])
        assert half.recv(65536).startswith(b"HTTP/1.1 408")
        gone = open_ones.enter_context(connected(port))
        gone.sendall(whole[:-5])
        gone.close()
        url = f"http://127.0.0.1:{port}/v1/generate"
        again = httpx2.post(url, content=request_of(exchange=b"e" * 16), headers={"content-type": REQUEST_TYPE})
        assert again.status_code == 200
        until(lambda: service.server._open == 0)


def test_the_system_gives_up_peers_that_are_gone():
    with Listening("127.0.0.1", 0).bound() as bound:
        bound.listen()
        with connected(bound.getsockname()[1]):
            accepted, _ = bound.accept()
            with accepted:
                assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                if hasattr(socket, "TCP_USER_TIMEOUT"):
                    assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == GONE * 1_000


def test_a_full_disk_for_conversations_sends_nothing_and_mends_itself(service):
    database = service.proxy.conversations._database
    pages = database.execute("PRAGMA page_count").fetchone()[0]
    database.execute(f"PRAGMA max_page_count = {pages}")
    said = {"model": "tiny", "messages": [{"role": "user", "content": "It hurts"}], "max_tokens": 2}
    for number in range(200):  # until the pages that are there are full
        said["messages"][0]["content"] = f"n{number}"
        response = service.post("/v1/chat/completions", said)
        if response.status_code != 200:
            break
    sent, spent = len(service.wire), service.spent
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_sent")
    assert f"n{number}" not in response.text
    assert sent == number
    assert spent >= sum(int.from_bytes(r.segments[0].content[12:16], "little") for r in service.wire)
    database.execute(f"PRAGMA max_page_count = {pages + 1_000}")
    assert service.post("/v1/chat/completions", said).status_code == 200


def test_a_full_disk_for_the_ledger_sends_nothing_and_mends_itself(service, monkeypatch):
    said = {"model": "tiny", "messages": [{"role": "user", "content": "It hurts"}], "max_tokens": 2}
    assert service.post("/v1/chat/completions", said).status_code == 200
    spent, connect = service.spent, sqlite3.connect

    def full(*given, **options):
        made = connect(*given, **options)
        made.execute("PRAGMA max_page_count = 1")
        return made

    with monkeypatch.context() as patched:
        patched.setattr("mechanisms.ledger_file.sqlite3.connect", full)
        for number in range(40):  # until the pages that are there are full
            said["messages"][0]["content"] = f"n{number} " * 6
            response = service.post("/v1/chat/completions", said)
            if response.status_code != 200:
                break
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_sent")
    assert f"n{number}" not in response.text
    assert len(service.wire) == 1 + number
    assert service.spent == sum(int.from_bytes(r.segments[0].content[12:16], "little") for r in service.wire)
    assert service.spent >= spent
    assert service.post("/v1/chat/completions", said).status_code == 200


def test_a_ledger_that_cannot_be_read_is_no_fault_of_the_request(service):
    service.ledger.path.write_bytes(b"no database" * 1_000)
    service.ledger.path.chmod(0o600)
    said = {"model": "tiny", "messages": [{"role": "user", "content": "It hurts"}], "max_tokens": 2}
    response = service.post("/v1/chat/completions", said)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "not_sent")
    assert str(service.ledger.path) not in response.text
    assert service.wire == []


def test_an_engine_that_is_overloaded_refuses_in_openais_shape(service):
    async def full(_):
        raise RefusalError(429, "overloaded", "Too many requests wait: try again later.", retry_after=1)
        yield

    service.server.engine.write = full
    response = service.post("/v1/chat/completions", {**CHAT, "stream": False})
    assert response.json()["error"]["code"] == "overloaded"
    assert service.server._open == 0
