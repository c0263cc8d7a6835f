"""The proxy's one connection to the server: released messages and numbers go out, events come back."""

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import httpx2

from del_audit.serving.events import CODE, Event, read_events
from del_audit.serving.protocol import CERTIFICATE_HEADER, PROTOCOL, REQUEST_TYPE, Request, request_bytes
from del_audit.serving.refusal import RefusalError
from mechanisms.errors import UserError


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server, as the proxy asks it. certificate: sha256 of the certificate that it is to run under, 32 bytes."""

    client: httpx2.AsyncClient
    certificate: bytes

    async def about(self) -> dict[str, Any]:
        """Returns what the server says of itself.

        Raises UserError where it does not answer, is none of del-audit, or runs under another certificate.
        """
        try:
            response = await self.client.get("/v1/about")
            said = response.json()
            status = response.status_code
        except (httpx2.HTTPError, ValueError) as error:
            raise UserError(
                f"Expected a server of del-audit at --upstream {self.client.base_url}, got {type(error).__name__}: "
                "start `del-audit serve` there, and look at its address."
            ) from None
        if status != 200:
            raise UserError(f"Expected the server to answer, got status {status}: {_said(said)}")
        if said.get("protocol") != PROTOCOL or said.get("certificate") != self.certificate.hex():
            raise UserError(
                f"Expected a server of protocol {PROTOCOL} under certificate {self.certificate.hex()[:12]}, got "
                f"protocol {str(said.get('protocol'))[:20]} under {str(said.get('certificate'))[:12]}: nothing is sent "
                "to it. Make the bundle with the certificate that the server runs under."
            )
        return dict(said)

    async def generate(self, request: Request) -> AsyncGenerator[Event]:
        """Yields the events of an answer. Raises RefusalError as the server refuses, and where it cannot be reached."""
        headers = {"content-type": REQUEST_TYPE, "accept": "text/event-stream"}
        try:
            async with self.client.stream(
                "POST", "/v1/generate", content=request_bytes(request), headers=headers
            ) as response:
                if response.status_code != 200:
                    raise _refusal(response.status_code, await response.aread())
                if response.headers.get(CERTIFICATE_HEADER) != self.certificate.hex():
                    raise RefusalError(502, "certificate_mismatch", "The server answered under another certificate.")
                async with aclosing(read_events(response.aiter_bytes())) as events:
                    async for event in events:
                        yield event
        except httpx2.HTTPError as error:
            raise RefusalError(
                502, "upstream_failed", f"The server cannot be reached ({type(error).__name__})."
            ) from None
        except UserError:
            raise RefusalError(502, "upstream_failed", "The server's answer was cut off.") from None


def _refusal(status: int, data: bytes) -> RefusalError:
    """Returns the server's refusal; what it says is the server's own, and is shown."""
    try:
        error = json.loads(data)["error"]
        code, said = str(error["code"]), str(error["message"])[:1000]
        said.encode()
        if not re.match(CODE, code):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        code, said = "upstream_failed", f"The server answered with status {status}."
    if status in (401, 403):
        return RefusalError(502, "upstream_unauthorized", "The server does not take this proxy's key (--upstream-key).")
    return RefusalError(status if 400 <= status < 600 else 502, code, said)


def _said(content: object) -> str:
    error = content.get("error") if isinstance(content, dict) else None
    return str(error.get("message"))[:500] if isinstance(error, dict) else "it gives no reason."
