"""A client that is a server: a POST of the same JSON for each call, to the host that is named and no other."""

import http.client
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from del_audit.evidence.verification.words import WordLaw
from del_audit.verify_mechanism.json_client import said
from del_audit.verify_mechanism.target import NoAnswer, Refused, Target
from del_audit.verify_mechanism.word_clients import json_client
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

_CHUNK = 1 << 16
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}


@contextmanager
def http_client(url: str, claim: QuantizerSpec | WordLaw, seconds: float) -> Iterator[Target]:
    """Yields the client behind an http or https address. No redirect is followed and no proxy used.

    A status of 400 to 499 is a refusal. seconds: for an answer. Raises UserError for an address that is none, and
    where no first answer comes.
    """
    client = json_client(claim, _Server.of(url, seconds).exchange)
    client.greet()
    untested = {"processes": "over HTTP the server's processes cannot be chosen"}
    if not client.messages:
        untested["message"] = f"the server answers with {client.released}, no messages"
    yield Target(
        "http",
        url.partition("?")[0],
        client.release,
        client.message if client.messages else None,
        processes=False,
        untested=untested,
        answered=lambda: client.answered,
        faults=lambda: client.faults,
        broken=lambda: client.broken,
    )


@dataclass(frozen=True, slots=True)
class _Server:
    """Where requests go; each has a connection of its own, so that none is sent twice on one that was closed."""

    connect: Callable[..., http.client.HTTPConnection]
    host: str
    port: int | None
    path: str
    seconds: float

    @classmethod
    def of(cls, url: str, seconds: float) -> "_Server":
        """Returns the server that an address names; raises UserError where it names none."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise UserError(f"Expected --http to be an address, got {url!r}: {error}.") from None
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        if parts.scheme not in kinds or not host or "@" in parts.netloc or not url.isascii() or not url.isprintable():
            raise UserError(f"Expected --http to be http://HOST or https://HOST, without a user, got {url!r}.")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(kinds[parts.scheme], host, port, path, seconds)

    def exchange(self, request: bytes, limit: int) -> bytes:
        """Returns the body of an answer; raises Refused for 400 to 499, and NoAnswer for anything else but 200."""
        end = time.monotonic() + self.seconds
        with closing(self.connect(self.host, self.port, timeout=self.seconds)) as connection:
            try:
                connection.request("POST", self.path, request, _HEADERS)
                response = connection.getresponse()
                body = self._body(response, limit, end)
            except TimeoutError:
                raise NoAnswer(f"none came within {self.seconds:g} seconds") from None
            except (OSError, http.client.HTTPException) as error:
                raise NoAnswer(f"the connection failed: {type(error).__name__}: {error}") from None
        if 400 <= response.status < 500:
            raise Refused(f"status {response.status}: {said(body)}")
        if response.status != 200:
            redirected = "; redirects are not followed" if 300 <= response.status < 400 else ""
            raise NoAnswer(f"status {response.status} {response.reason!r}{redirected}")
        return body

    def _body(self, response: http.client.HTTPResponse, limit: int, end: float) -> bytes:
        body = b""
        while chunk := response.read1(_CHUNK):
            body += chunk
            if len(body) > limit:
                raise NoAnswer(f"more than {limit:,} bytes came back")
            if time.monotonic() > end:
                raise NoAnswer(f"none was whole within {self.seconds:g} seconds")
        if response.length:
            raise NoAnswer(f"the answer was cut off, {response.length} bytes before its end")
        return body
