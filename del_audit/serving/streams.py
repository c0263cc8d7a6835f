"""Streamed answers that end: whoever does not read them is cut off in time, and what they took is freed."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

MARGIN = 30.0
"""Seconds that a reader has beyond those of the answer itself."""


class Stream(StreamingResponse):
    """An answer of server-sent events. first: the first of them. rest: what yielded it, and yields the others.

    rest is begun already, so that closing it runs its end, whatever becomes of the reader. seconds: that the answer may
    take, with its reader. ended: called once it is over.
    """

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes], headers: Mapping[str, str], seconds: float) -> None:
        headers = {"cache-control": "no-store", **headers}
        super().__init__(_whole(first, rest), headers=headers, media_type="text/event-stream")
        self._rest, self._seconds = rest, seconds
        self.ended: Callable[[], object] = lambda: None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it; a reader who takes longer is left with what there is, without an end."""
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await super().__call__(scope, receive, send)
        finally:
            try:
                await self._rest.aclose()
            finally:
                self.ended()


async def _whole(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    yield first
    async for event in rest:
        yield event
