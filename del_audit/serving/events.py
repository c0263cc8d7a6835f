"""Answers on their way back: server-sent events whose sizes and times tell nothing of the words in them.

What was written since the last tick goes out in one event at the next, padded to a whole number of frames. An observer
of the encrypted stream sees one frame per tick for as long as the answer is written, whatever its words are.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

from mechanisms.errors import UserError

FRAME = 256
"""Bytes of an event are a multiple of this."""
TICK = 0.05
"""Seconds between two events."""
_LARGEST_EVENT = 1 << 20


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
        said = json.loads(b"".join(lines))
        usage, error = said.get("u"), said.get("e")
        return Event(
            tuple((int(choice), str(text)) for choice, text in said.get("p", ())),
            tuple((int(choice), str(why)) for choice, why in said.get("f", ())),
            None if usage is None else (int(usage[0]), int(usage[1])),
            None if error is None else (str(error[0]), str(error[1])),
        )
    except (ValueError, TypeError, AttributeError, IndexError, RecursionError):
        raise UserError("Expected an event of a server of del-audit, got something else.") from None


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
