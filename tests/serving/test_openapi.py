"""The proxy's OpenAPI page: it says what requests are read by, and bodies made from it break nothing."""

import asyncio
import logging
from functools import cache

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from del_audit.serving.openai_requests import DROPPED, ONLY, TAKEN, read_chat, read_completion
from del_audit.serving.openapi import proxy_page
from del_audit.serving.refusal import RefusalError

PATHS = {"/v1/chat/completions": ("messages", read_chat), "/v1/completions": ("prompt", read_completion)}
QUIET = [
    HealthCheck.function_scoped_fixture,
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
]
PAGE = schemathesis.openapi.from_dict(proxy_page("tiny", keys=False))


@cache
def bodies(path, good):
    mode = GenerationMode.POSITIVE if good else GenerationMode.NEGATIVE
    return PAGE[path]["POST"].as_strategy(generation_mode=mode)


@pytest.mark.parametrize("path", PATHS)
def test_the_page_has_each_field_that_requests_are_read_by(path):
    content, _ = PATHS[path]
    body = proxy_page("tiny", keys=True)["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == TAKEN | DROPPED | set(ONLY) | {content}
    assert body["required"] == ["model", content]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=150, suppress_health_check=QUIET, deadline=None)
@given(data=st.data())
def test_a_body_that_the_page_allows_is_read(path, data):
    case = data.draw(bodies(path, good=True))
    asked = PATHS[path][1](case.body)
    assert asked.model == "tiny"


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=150, suppress_health_check=QUIET, deadline=None)
@given(data=st.data())
def test_any_other_body_is_read_or_refused(path, data):
    case = data.draw(bodies(path, good=False))
    try:
        PATHS[path][1](case.body)
    except RefusalError as error:
        assert 400 <= error.status < 500


def test_the_page_is_served_and_names_the_model(service):
    async def got():
        transport = httpx2.ASGITransport(app=service.proxy.app())
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8701") as connection:
            return (await connection.get("/openapi.json")).json()

    assert asyncio.run(got()) == proxy_page("tiny", keys=False)


def fuzzed(service, caplog, count):
    """Posts bodies made from the page, right ones and wrong ones, and looks at each answer."""
    seen = set()

    @settings(max_examples=count, suppress_health_check=QUIET, deadline=None, database=None)
    @given(data=st.data())
    def post(data):
        path = data.draw(st.sampled_from(sorted(PATHS)))
        body = data.draw(bodies(path, data.draw(st.booleans()))).body
        if isinstance(body, dict) and isinstance(body.get("max_tokens"), int):
            body = {**body, "max_tokens": min(body["max_tokens"], 4), "max_completion_tokens": None, "n": 1}
        try:
            answer = service.post(path, body)
        except (TypeError, ValueError, UnicodeEncodeError):
            return  # no JSON can hold it
        seen.add(answer.status_code)
        assert answer.status_code < 500, answer.text
        if answer.status_code != 200:
            assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}

    with caplog.at_level(logging.INFO):
        post()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.getMessage() == "internal error"]
    return seen


def test_requests_made_from_the_page_break_nothing(service, caplog):
    assert {400} <= fuzzed(service, caplog, 60)


@pytest.mark.slow
def test_ten_thousand_requests_made_from_the_page_break_nothing(service, caplog):
    assert {200, 400} <= fuzzed(service, caplog, 10_000)
