"""The proxy's OpenAPI page: it says what requests are read by, and bodies made from it break nothing."""

import asyncio
import json
import logging
from functools import cache

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from del_audit.serving.openai_requests import DROPPED, ONLY, TAKEN, read_chat, read_completion
from del_audit.serving.openapi import proxy_page
from del_audit.serving.refusal import RefusalError

PATHS = {"/v1/chat/completions": ("messages", read_chat), "/v1/completions": ("prompt", read_completion)}
QUIET = list(HealthCheck)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def schema_of(path):
    page = proxy_page("tiny", keys=False)
    return page["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]


def drawn(schema):
    """Returns what draws values that a schema of this page allows."""
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    if "anyOf" in schema:
        return st.one_of([drawn(each) for each in schema["anyOf"]])
    kinds = schema.get("type", "anything")
    return st.one_of([_drawn(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)])


def _drawn(kind, schema):
    low, high = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if kind == "object":
        required = {name: drawn(schema["properties"][name]) for name in schema.get("required", ())}
        others = {name: drawn(each) for name, each in schema["properties"].items() if name not in required}
        return st.fixed_dictionaries(required, optional=others)
    if kind == "array":
        items = drawn(schema["items"])
        return st.lists(items, min_size=schema.get("minItems", 0), max_size=min(schema.get("maxItems", 4), 4))
    simple = {
        "null": st.none(),
        "boolean": st.booleans(),
        "integer": st.integers(low, high),
        "number": st.floats(low, high, exclude_min="exclusiveMinimum" in schema) if kind == "number" else None,
        "string": st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 40), 40)),
        "anything": ANYTHING,
    }
    return simple[kind]


@cache
def good(path):
    """Returns what draws bodies that the page allows."""
    return drawn(schema_of(path))


@st.composite
def other(draw, path):
    """Draws bodies with one field that the page may not allow, and bodies that are none."""
    name = st.sampled_from(sorted(schema_of(path)["properties"])) | st.text(max_size=12)
    changed = {**draw(good(path)), draw(name): draw(ANYTHING)}
    return draw(st.sampled_from([changed, draw(ANYTHING)]))


@pytest.mark.parametrize("path", PATHS)
def test_the_page_has_each_field_that_requests_are_read_by(path):
    content, _ = PATHS[path]
    body = proxy_page("tiny", keys=True)["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == TAKEN | DROPPED | set(ONLY) | {content}
    assert body["required"] == ["model", content]


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=50, suppress_health_check=QUIET, deadline=None)
@given(data=st.data())
def test_a_body_that_the_page_allows_is_read(path, data):
    assert PATHS[path][1](data.draw(good(path))).model == "tiny"


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=50, suppress_health_check=QUIET, deadline=None)
@given(data=st.data())
def test_any_other_body_is_read_or_refused(path, data):
    body, refused = data.draw(other(path)), None
    try:
        PATHS[path][1](body)
    except RefusalError as error:
        refused = error
    assert refused is None or 400 <= refused.status < 500


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
        body = data.draw(good(path) | other(path))
        if isinstance(body, dict) and isinstance(body.get("max_tokens"), int):
            body = {**body, "max_tokens": min(body["max_tokens"], 4), "max_completion_tokens": None, "n": 1}
        answer = service.post(path, json.dumps(body).encode())  # encoded here: whatever the request raises fails
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
