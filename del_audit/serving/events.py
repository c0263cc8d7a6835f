"""Answers on their way back: server-sent events whose sizes and times tell nothing of the words in them.

What was written since the last tick goes out in one event at the next, padded to a whole number of frames. An observer
of the encrypted stream sees one frame per tick for as long as the answer is written, whatever its words are.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from del_audit.serving.protocol import MOST_CHOICES
from mechanisms.errors import UserError

FRAME = 256
"""Bytes of an event are a multiple of this."""
TICK = 0.05
"""Seconds between two events."""
_LARGEST_EVENT = 1 << 20
CODE = r"^[a-z_]{1,64}$"
"""A code of an error: a word for programs, which becomes a label of the measures."""
_Choice = Annotated[int, Field(ge=0, lt=MOST_CHOICES)]
_Tokens = Annotated[int, Field(ge=0, lt=1 << 40)]


class _Said(BaseModel, strict=True):
    p: tuple[tuple[_Choice, str], ...] = ()
    f: tuple[tuple[_Choice, str], ...] = ()
    u: tuple[_Tokens, _Tokens] | None = None
    e: tuple[Annotated[str, Field(pattern=CODE)], Annotated[str, Field(max_length=1000)]] | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What one event says. pieces: (choice, text) in order. finished: (choice, why) of answers that ended.

    why: stop or length. usage: tokens of the prompt and of all answers, in the last event. error: a code and a
    sentence; then nothing follows.
    """

    pieces: tuple[tuple[int, str], ...] = ()
    finished: tuple[tuple[int, str], ...] = ()
    usage: tuple[int, int] | None = None
    error: tuple[str, str] | None = None

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.usage is not None or self.error is not None


def event_bytes(event: Event, frame: int = FRAME) -> bytes:
    """Returns the event as it travels, padded to a multiple of frame bytes; frame 1 pads nothing."""
    said: dict[str, Any] = {
        name: value
        for name, value in (("p", event.pieces), ("f", event.finished), ("u", event.usage), ("e", event.error))
        if value
    }
    data = b"data: " + json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
    short = -(len(data) + len(b":\n\n")) % frame
    return data + b":" + b" " * short + b"\n\n"


def read_event(block: bytes) -> Event:
    """Returns the event of one block of a stream; raises UserError for anything else."""
    lines = [line[len(b"data: ") :] for line in block.split(b"\n") if line.startswith(b"data: ")]
    try:
        said = _Said.model_validate_json(b"".join(lines))
    except ValidationError:
        raise UserError("Expected an event of a server of del-audit, got something else.") from None
    return Event(said.p, said.f, said.u, said.e)


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event]:
    """Yields the events of a stream up to the last; raises UserError for what is none, and for one that is cut off."""
    held = b""
    async for chunk in chunks:
        held += chunk
        if len(held) > _LARGEST_EVENT:
            raise UserError(f"Expected events of at most {_LARGEST_EVENT} bytes, got a longer one.")
        *blocks, held = held.split(b"\n\n")
        for block in blocks:
            if not block.strip():
                continue
            event = read_event(block)
            yield event
            if event.last:
                return
    raise UserError("Expected the stream of an answer to end with its usage, got one that was cut off.")
