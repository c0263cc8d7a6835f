"""Requests of OpenAI's API, read strictly: what is taken, what stays in the proxy, what cannot work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from del_audit.serving.protocol import MOST_CHOICES, Role, Sampling
from del_audit.serving.refusal import RefusalError

DEFAULT_TOKENS = 256
"""New tokens where a request does not say how many."""
DROPPED = frozenset(
    {
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
"""Fields that change no answer here. They stay in the proxy, since they name people and sessions."""
ONLY: dict[str, tuple[Any, ...]] = {
    "audio": (None,),
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False, 0),
    "modalities": (None, ["text"]),
    "parallel_tool_calls": (None, True, False),
    "prediction": (None,),
    "presence_penalty": (None, 0),
    "reasoning_effort": (None, "none"),
    "response_format": (None, {"type": "text"}),
    "suffix": (None,),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
"""Fields that ask for what a frozen model behind a release cannot do, and the values that ask for nothing."""
TAKEN = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "model",
        "n",
        "seed",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
    }
)
ROLES: dict[str, Role] = {
    "assistant": "assistant",
    "developer": "system",
    "function": "user",
    "system": "system",
    "tool": "user",
    "user": "user",
}
"""Roles of the API, and what the model's template calls them."""
MOST_STOPS, LONGEST_STOP, MOST_MESSAGES, MOST_TOKENS = 4, 1 << 10, 512, 1 << 20


@dataclass(frozen=True, slots=True)
class Turn:
    """What somebody said. role: "" for text to go on with."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for. stop: texts that end an answer. usage: whether a stream ends with what was used."""

    model: str
    turns: tuple[Turn, ...]
    how: Sampling
    stop: tuple[str, ...]
    stream: bool
    usage: bool


def read_chat(body: object) -> Asked:
    """Returns what a body of /v1/chat/completions asks for; raises RefusalError for what cannot work."""
    fields = _fields(body, "messages")
    messages = fields["messages"]
    if not isinstance(messages, list) or not 1 <= len(messages) <= MOST_MESSAGES:
        raise _wrong("messages", f"a list of 1 to {MOST_MESSAGES} messages")
    return _asked(fields, tuple(_turn(message, place) for place, message in enumerate(messages)))


def read_completion(body: object) -> Asked:
    """Returns what a body of /v1/completions asks for; raises RefusalError as read_chat does."""
    fields = _fields(body, "prompt")
    prompt = fields["prompt"]
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise _wrong("prompt", "one text; send several prompts one by one, and no token numbers")
    return _asked(fields, (Turn("", encodable(prompt, "prompt")),))


def _fields(body: object, content: str) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise RefusalError(400, "invalid_json", "Expected a JSON object as body.")
    for name, value in body.items():
        if name in ONLY:
            if value not in ONLY[name]:
                raise RefusalError(400, "unsupported_parameter", f"{name} cannot be served here: leave it out.", name)
        elif name not in TAKEN and name not in DROPPED and name != content:
            raise RefusalError(
                400, "unknown_parameter", "Expected fields of OpenAI's API that this proxy knows, got another one."
            )
    if content not in body:
        raise RefusalError(400, "missing_required_parameter", f"Expected {content}, got none.", content)
    return body


def _asked(fields: dict[str, Any], turns: tuple[Turn, ...]) -> Asked:
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict) or set(options) - {"include_usage", "include_obfuscation"}:
        raise _wrong("stream_options", "an object with include_usage alone")
    model = fields.get("model")
    if not isinstance(model, str):
        raise RefusalError(400, "missing_required_parameter", "Expected model, a name of /v1/models.", "model")
    most = fields.get("max_completion_tokens")
    return Asked(
        model,
        turns,
        Sampling(
            _whole(
                fields | {"max_tokens": most} if most is not None else fields,
                "max_tokens",
                1,
                MOST_TOKENS,
                DEFAULT_TOKENS,
            ),
            _real(fields, "temperature", 0.0, 2.0, 1.0),
            _real(fields, "top_p", 0.0, 1.0, 1.0, above=True),
            _seed(fields),
            _whole(fields, "n", 1, MOST_CHOICES, 1),
        ),
        _stops(fields.get("stop")),
        _flag(fields, "stream"),
        _flag(options, "include_usage"),
    )


def _turn(message: object, place: int) -> Turn:
    """Returns a message without its name, which says who somebody is."""
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str) or role not in ROLES:
        raise _wrong(f"messages[{place}]", f"an object with a role of {', '.join(ROLES)}")
    unknown = set(message) - {
        "role",
        "content",
        "name",
        "refusal",
        "annotations",
        "audio",
        "tool_call_id",
        "tool_calls",
        "function_call",
    }
    if unknown or message.get("tool_calls") or message.get("function_call") or message.get("audio"):
        raise RefusalError(
            400,
            "unsupported_message",
            "Expected messages of text, got tool calls, audio or unknown fields.",
            f"messages[{place}]",
        )
    return Turn(ROLES[role], encodable(_text(message.get("content"), place), f"messages[{place}].content"))


def _text(content: object, place: int) -> str:
    if isinstance(content, str):
        return content
    param = f"messages[{place}].content"
    if isinstance(content, list) and content:
        kinds = [part.get("type") if isinstance(part, dict) else None for part in content]
        if all(kind == "text" for kind in kinds) and all(isinstance(part.get("text"), str) for part in content):
            return "".join(part["text"] for part in content)
        raise RefusalError(
            400, "unsupported_content", "Expected parts of text: images, audio and files are not released.", param
        )
    raise _wrong(param, "a text, or a list of parts of text")


def encodable(text: str, param: str) -> str:
    """Returns the text; raises RefusalError for half a surrogate pair, which JSON can hold and no text can."""
    try:
        text.encode("utf8")
    except UnicodeEncodeError:
        raise _wrong(param, "a text that UTF-8 can hold, without half a surrogate pair") from None
    return text


def _stops(given: object) -> tuple[str, ...]:
    stops: Any = [] if given is None else [given] if isinstance(given, str) else given
    good = isinstance(stops, list) and len(stops) <= MOST_STOPS
    if not good or not all(isinstance(stop, str) and 0 < len(stop) <= LONGEST_STOP for stop in stops):
        raise _wrong("stop", f"up to {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters")
    return tuple(stops)


def _integer(value: object) -> object:
    """Returns 1 for 1.0, which JSON does not tell apart; everything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _whole(fields: Mapping[str, Any], name: str, least: int, most: int, default: int) -> int:
    value = _integer(fields.get(name))
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise _wrong(name, f"a whole number in {least}..{most}")
    return value


def _real(
    fields: Mapping[str, Any], name: str, least: float, most: float, default: float, above: bool = False
) -> float:
    value = fields.get(name)
    if value is None:
        return default
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not least <= value <= most or (above and value == least):
        raise _wrong(name, f"a number {'above' if above else 'of'} {least:g} {'and' if above else 'to'} {most:g}")
    return float(value)


def _seed(fields: Mapping[str, Any]) -> int | None:
    value = _integer(fields.get("seed"))
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 63:
        raise _wrong("seed", "a whole number of 64 bits")
    return value % (1 << 62)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return bool(value)


def _wrong(param: str, allowed: str) -> RefusalError:
    return RefusalError(400, "invalid_value", f"Expected {param} to be {allowed}.", param)


def known_model(asked: Asked, names: Sequence[str]) -> None:
    """Raises RefusalError for a model that is not served."""
    if asked.model not in names:
        raise RefusalError(404, "model_not_found", f"Expected model to be {' or '.join(names)}.", "model")
