"""The proxy: whom it answers, what it refuses, and that it sends to no server but the certificate's."""

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from del_audit.serving.keys import Keys
from del_audit.serving.upstream import Upstream
from mechanisms.errors import UserError

HELLO = {"model": "tiny", "messages": [{"role": "user", "content": "Hello, Mary"}], "max_tokens": 2}


def error_of(response):
    return response.status_code, response.json()["error"]["code"]


def test_errors_have_openais_shape_and_repeat_nothing(service):
    for path, body, wanted in (
        ("/v1/chat/completions", b'{"messages": "Mary', (400, "invalid_json")),
        ("/v1/chat/completions", b"\xff\xfe", (400, "invalid_json")),
        ("/v1/chat/completions", b"[" * 100_000, (400, "invalid_json")),
        ("/v1/chat/completions", {**HELLO, "model": "Mary"}, (404, "model_not_found")),
        ("/v1/embeddings", HELLO, (404, "unknown_url")),
        ("/v1/chat/completions", {**HELLO, "tools": [{"Mary": 1}]}, (400, "unsupported_parameter")),
        (
            "/v1/chat/completions",
            {**HELLO, "messages": [{"role": "user", "content": "\ud800"}]},
            (400, "invalid_value"),
        ),
        ("/v1/chat/completions", b"x" * ((1 << 22) + 1), (413, "request_too_large")),
    ):
        response = service.post(path, body)
        assert error_of(response) == wanted
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert "Mary" not in response.text
        assert "Traceback" not in response.text
    assert service.wire == []


def test_no_web_page_reaches_it(service):
    assert error_of(service.post("/v1/chat/completions", HELLO, {"host": "evil.example"})) == (403, "wrong_host")
    plain = service.post("/v1/chat/completions", HELLO, {"content-type": "text/plain"})
    assert error_of(plain) == (415, "unsupported_media_type")
    for host in ("localhost:8701", "127.0.0.1:8701", "[::1]:8701", "localhost"):
        assert service.post("/v1/chat/completions", HELLO, {"host": host, "idempotency-key": "k"}).status_code == 200


def test_every_key_has_a_ledger_of_its_own(service, own_state):
    service.proxy.keys = Keys({})
    keyed = Keys.read(_keys(own_state))
    service.proxy.keys = keyed
    assert error_of(service.post("/v1/chat/completions", HELLO)) == (401, "invalid_api_key")
    for name, key in (("mary", "0123456789abcdef"), ("john", "fedcba9876543210")):
        assert service.post("/v1/chat/completions", HELLO, {"authorization": f"Bearer {key}"}).status_code == 200
        assert (own_state / f"ledger-{name}.sqlite").stat().st_mode & 0o777 == 0o600
    assert service.spent == 0


def _keys(folder):
    path = folder / "keys"
    path.write_text("mary 0123456789abcdef\njohn fedcba9876543210\n")
    path.chmod(0o600)
    return path


def test_a_certificate_that_has_ended_ends_it(service):
    service.proxy.until = datetime.now(UTC) - timedelta(seconds=1)
    assert error_of(service.post("/v1/chat/completions", HELLO)) == (503, "certificate_ended")
    service.proxy.until = datetime.now(UTC) + timedelta(days=1)
    service.proxy._closed = "It was revoked."
    assert error_of(service.post("/v1/chat/completions", HELLO)) == (503, "certificate_ended")
    assert service.wire == []
    assert service.spent == 0


def test_a_clock_that_was_set_back_ends_it(service):
    service.proxy._latest = datetime.now(UTC) + timedelta(hours=1)
    assert error_of(service.post("/v1/chat/completions", HELLO)) == (503, "clock_set_back")


def test_a_server_under_another_certificate_is_sent_nothing(service):
    service.proxy.upstream = replace(service.proxy.upstream, certificate=b"x" * 32)
    assert error_of(service.post("/v1/chat/completions", HELLO)) == (409, "certificate_mismatch")
    with pytest.raises(UserError, match="nothing is sent to it"):
        asyncio.run(service.proxy.upstream.about())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx2.Response(200, text="hello"), "Expected a server of del-audit"),
        (httpx2.Response(200, json={"protocol": 2, "certificate": "00" * 32}), "protocol 2"),
        (httpx2.Response(500, json={"error": {"message": "broken"}}), "status 500: broken"),
    ],
)
def test_a_server_of_another_make_is_refused_at_the_start(answer, said):
    connection = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: answer), base_url="http://server")
    with pytest.raises(UserError, match=said):
        asyncio.run(Upstream(connection, bytes(32)).about())


@pytest.mark.parametrize(
    ("answer", "wanted"),
    [
        (httpx2.Response(200, text="data: {}\n\n"), (502, "certificate_mismatch")),
        (
            httpx2.Response(200, text="data: {}\n\n", headers={"del-audit-certificate": "00" * 32}),
            (502, "upstream_failed"),
        ),
        (httpx2.Response(401, json={"error": {"code": "x", "message": "y"}}), (502, "upstream_unauthorized")),
        (httpx2.Response(429, json={"error": {"code": "overloaded", "message": "y"}}), (429, "overloaded")),
        (httpx2.Response(500, text="Traceback Mary"), (500, "upstream_failed")),
        (httpx2.ConnectError("Mary"), (502, "upstream_failed")),
    ],
)
def test_what_the_server_answers_wrongly_is_said_in_openais_shape(service, answer, wanted):
    def answered(_):
        if isinstance(answer, Exception):
            raise answer
        return answer

    connection = httpx2.AsyncClient(transport=httpx2.MockTransport(answered), base_url="http://server")
    service.proxy.upstream = Upstream(connection, bytes(32))
    response = service.post("/v1/chat/completions", HELLO)
    assert error_of(response) == wanted
    assert "Mary" not in response.text


def test_the_proxy_needs_no_torch_and_no_scipy():
    script = (
        "import sys\nsys.modules['torch'] = sys.modules['scipy'] = sys.modules['transformers'] = None\n"
        "import del_audit.serving.proxy\nprint('ready')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("ready\n", "")


def test_health_and_measures_need_no_key(service):
    async def asked():
        transport = httpx2.ASGITransport(app=service.proxy.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as connection:
            return [await connection.get(path) for path in ("/health", "/metrics", "/v1/models", "/v1/models/tiny")]

    service.post("/v1/chat/completions", HELLO)
    health, measures, models, one = asyncio.run(asked())
    assert health.json() == {"status": "ok"}
    assert 'del_audit_proxy_tokens_total{kind="released"}' in measures.text
    assert [each["id"] for each in models.json()["data"]] == ["tiny"]
    assert json.loads(one.text) == models.json()["data"][0]
