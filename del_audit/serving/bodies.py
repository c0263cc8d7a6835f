"""Bodies of requests, read no further and no longer than a request may take."""

import asyncio

from starlette.requests import Request

from del_audit.serving.refusal import RefusalError

SECONDS = 30.0
"""How long a body may take to arrive."""


async def read_body(http: Request, most: int, seconds: float = SECONDS) -> bytes:
    """Returns a body of at most so many bytes; raises RefusalError for a longer one, and for one that does not come."""
    data = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in http.stream():
                data += chunk
                if len(data) > most:
                    raise RefusalError(413, "request_too_large", f"Expected a request of at most {most} bytes.")
    except TimeoutError:
        raise RefusalError(408, "timeout", f"Expected the whole request within {seconds:g} seconds.") from None
    return bytes(data)
