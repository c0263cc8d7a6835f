"""What travels from proxy to server, version 1 (docs/protocol.md): segments, and numbers that say how to write.

A request is one msgpack array. A released message is bytes; clear text is text; nothing else can be said in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import msgpack
from pydantic import Field, TypeAdapter, ValidationError

from mechanisms.errors import UserError

PROTOCOL = 1
REQUEST_TYPE = "application/vnd.del-audit.request"
CERTIFICATE_HEADER = "del-audit-certificate"
ID_BYTES, HASH_BYTES = 16, 32
LARGEST_REQUEST = 1 << 22
"""Bytes of a request at most, unless the server says less."""
MOST_SEGMENTS, MOST_CHOICES = 1024, 16
Role: TypeAlias = Literal["", "system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("", "system", "user", "assistant")
"""Who speaks in a segment; "" is text to go on with, without a chat's template."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of a prompt. content: a released message, or clear text, which is public."""

    role: Role
    content: bytes | str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How answers are written. temperature: 0 for the likeliest word. seed: None for one that the server draws."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    choices: int


@dataclass(frozen=True, slots=True)
class Request:
    """What a server is asked. certificate: sha256 of its file, 32 bytes. exchange: the name of what is asked.

    after: the name of the exchange that it follows, and which of its answers; None for a first turn.
    """

    certificate: bytes
    exchange: bytes
    after: tuple[bytes, int] | None
    segments: tuple[Segment, ...]
    sampling: Sampling


_Id = Annotated[bytes, Field(min_length=ID_BYTES, max_length=ID_BYTES)]
_Segment = tuple[Annotated[int, Field(ge=0, lt=len(ROLES))], bytes | str]
_Sampling = tuple[
    Annotated[int, Field(ge=1, le=1 << 20)],
    Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)],
    Annotated[float, Field(gt=0, le=1)],
    Annotated[int, Field(ge=0, lt=1 << 63)] | None,
    Annotated[int, Field(ge=1, le=MOST_CHOICES)],
]
_WIRE: TypeAdapter[Any] = TypeAdapter(
    tuple[
        Literal[1],
        Annotated[bytes, Field(min_length=HASH_BYTES, max_length=HASH_BYTES)],
        _Id,
        tuple[_Id, Annotated[int, Field(ge=0, lt=MOST_CHOICES)]] | None,
        Annotated[list[_Segment], Field(min_length=1, max_length=MOST_SEGMENTS)],
        _Sampling,
    ],
    config={"strict": True},
)


def request_bytes(request: Request) -> bytes:
    """Returns a request as it travels."""
    how = request.sampling
    after = None if request.after is None else list(request.after)
    segments = [[ROLES.index(one.role), one.content] for one in request.segments]
    sampling = [how.max_tokens, float(how.temperature), float(how.top_p), how.seed, how.choices]
    packed: bytes = msgpack.packb([PROTOCOL, request.certificate, request.exchange, after, segments, sampling])
    return packed


def read_request(data: bytes) -> Request:
    """Returns the request that bytes hold; raises UserError for anything else, without repeating what is in them."""
    try:
        found = msgpack.unpackb(data, use_list=False, strict_map_key=True)
        if not isinstance(found, tuple) or not found or found[0] != PROTOCOL:
            raise UserError(f"Expected a request of protocol {PROTOCOL}, got another version, or none.")
        _, certificate, exchange, after, segments, sampling = _WIRE.validate_python(_lists(found))
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"Expected a request of protocol {PROTOCOL}, got {_what(error)}.") from None
    return Request(
        certificate,
        exchange,
        after,
        tuple(Segment(ROLES[role], content) for role, content in segments),
        Sampling(*sampling),
    )


def _lists(found: Sequence[Any]) -> tuple[Any, ...]:
    """Returns the array with its segments as a list, which is what they are: as many as there are."""
    parts = list(found)
    if len(parts) > 4 and isinstance(parts[4], tuple):
        parts[4] = list(parts[4])
    return tuple(parts)


def _what(error: Exception) -> str:
    """Returns what is wrong with a request, by its place alone: its values may be private."""
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        return f"something else at {'.'.join(map(str, first['loc'])) or 'the top'} ({first['type']})"
    return "bytes that are none"
