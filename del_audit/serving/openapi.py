"""The OpenAPI page of the proxy: the fields that it takes, those that may only ask for nothing, and its answers."""

from typing import Any

from del_audit.serving.openai_requests import (
    DROPPED,
    LONGEST_STOP,
    MOST_MESSAGES,
    MOST_STOPS,
    MOST_TOKENS,
    ONLY,
    ROLES,
    TAKEN,
)
from del_audit.serving.protocol import MOST_CHOICES

Schema = dict[str, Any]
_STOP: Schema = {"type": "string", "minLength": 1, "maxLength": LONGEST_STOP}
_MOST: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_TOKENS}
_FLAG: Schema = {"type": ["boolean", "null"]}
_OPTIONS: dict[str, Schema] = {
    "model": {"type": "string", "description": "A name of /v1/models."},
    "max_tokens": _MOST,
    "max_completion_tokens": _MOST,
    "n": {"type": ["integer", "null"], "minimum": 1, "maximum": MOST_CHOICES},
    "seed": {"type": ["integer", "null"], "minimum": -(1 << 63), "maximum": (1 << 63) - 1},
    "stop": {"anyOf": [{"type": "null"}, _STOP, {"type": "array", "maxItems": MOST_STOPS, "items": _STOP}]},
    "stream": _FLAG,
    "stream_options": {
        "type": ["object", "null"],
        "properties": {"include_usage": _FLAG, "include_obfuscation": {}},
        "additionalProperties": False,
    },
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
}
_PARTS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
        "required": ["type", "text"],
    },
}
_MESSAGE: Schema = {
    "type": "object",
    "properties": {
        "role": {"enum": sorted(ROLES)},
        "content": {"anyOf": [{"type": "string"}, _PARTS]},
        "name": {"description": "It stays in the proxy."},
    },
    "required": ["role", "content"],
    "additionalProperties": False,
}
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
            "required": ["message", "type", "param", "code"],
        }
    },
    "required": ["error"],
}


def proxy_page(model: str, keys: bool) -> Schema:
    """Returns the page, OpenAPI 3.1, as JSON values; model: the name that is served. keys: whether a key is asked for.

    What the proxy takes and what it refuses is read from the same tables as its requests are.
    """
    messages: Schema = {"type": "array", "minItems": 1, "maxItems": MOST_MESSAGES, "items": _MESSAGE}
    prompt: Schema = {"anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "maxItems": 1, "items": _TEXT}]}
    page: Schema = {
        "openapi": "3.1.0",
        "info": {
            "title": "del-audit proxy",
            "version": "1",
            "description": "OpenAI's API on the user's machine. What is sent on is released by a certified mechanism.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _posted("messages", messages, model)},
            "/v1/completions": {"post": _posted("prompt", prompt, model)},
            "/v1/models": {"get": _got("The one model that is served.")},
            "/health": {"get": {"responses": {"200": _JSON, "503": _JSON}, "summary": "Whether it may send."}},
            "/metrics": {"get": {"responses": {"200": {"description": "Prometheus' text."}}, "summary": "Measures."}},
        },
    }
    if keys:
        page["components"] = {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}}
        page["security"] = [{"key": []}]
    return page


_TEXT: Schema = {"type": "string"}
_JSON: Schema = {"description": "As JSON.", "content": {"application/json": {}}}
_REFUSED: Schema = {"description": "Refused, in OpenAI's shape.", "content": {"application/json": {"schema": _ERROR}}}
_REFUSALS = ("400", "401", "403", "404", "409", "413", "415", "429", "500", "502", "503", "504")


def _posted(content: str, schema: Schema, model: str) -> Schema:
    """Returns an operation whose body holds what is asked under one name."""
    fields = {name: _OPTIONS[name] for name in sorted(TAKEN)}
    fields |= {"model": {**_OPTIONS["model"], "enum": [model]}}
    fields |= {name: {"enum": list(values)} for name, values in ONLY.items()}
    fields |= {name: {"description": "It stays in the proxy and changes nothing."} for name in DROPPED}
    body: Schema = {
        "type": "object",
        "properties": {**fields, content: schema},
        "required": ["model", content],
        "additionalProperties": False,
    }
    answers: Schema = {"description": "OpenAI's answer.", "content": {"application/json": {}, "text/event-stream": {}}}
    return {
        "summary": f"An answer to {content}, whole or as server-sent events.",
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {"200": answers, **dict.fromkeys(_REFUSALS, _REFUSED)},
    }


def _got(summary: str) -> Schema:
    return {"summary": summary, "responses": {"200": _JSON, "401": _REFUSED, "403": _REFUSED}}
