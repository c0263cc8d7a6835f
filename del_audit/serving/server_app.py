"""The server's application: released messages in, answers out, only under the certificate that is served."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from torch import Tensor

from del_audit.serving.bodies import read_body
from del_audit.serving.engine import Engine, Piece
from del_audit.serving.events import FRAME, TICK, Event, event_bytes
from del_audit.serving.exchanges import Exchanges
from del_audit.serving.gate import Gate
from del_audit.serving.keys import Keys
from del_audit.serving.logs import LOG
from del_audit.serving.measures import Measures
from del_audit.serving.prefixes import Prefixes
from del_audit.serving.protocol import (
    CERTIFICATE_HEADER,
    LARGEST_REQUEST,
    PROTOCOL,
    REQUEST_TYPE,
    Request,
    Sampling,
    Segment,
    read_request,
)
from del_audit.serving.refusal import RefusalError
from del_audit.serving.routes import Routes
from del_audit.serving.streams import MARGIN, Stream
from mechanisms.errors import UserError
from mechanisms.generation import GenerationSettings, Order

LOOKS_EVERY = 60.0
"""Seconds between two looks at the certificate."""
COLDEST = 1e-5
"""A temperature below it is 0: logits over it are no numbers any more, and a batch would fail for all who are in it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What requests may take. bytes: of a body. new_tokens, seconds: of one answer. open: requests at once."""

    bytes: int = LARGEST_REQUEST
    new_tokens: int = 4096
    open: int = 256
    seconds: float = 600.0


@dataclass(slots=True)
class ServerApp:
    """What the routes share. name: of the certified configuration. context: tokens that the model reads at most.

    frame, tick: of the padded events; frame 1 pads nothing.
    """

    name: str
    gate: Gate
    prefixes: Prefixes
    engine: Engine
    context: int
    keys: Keys
    limits: Limits = field(default_factory=Limits)
    exchanges: Exchanges = field(default_factory=Exchanges)
    frame: int = FRAME
    tick: float = TICK
    looks_every: float = LOOKS_EVERY
    measures: Measures = field(default_factory=lambda: Measures.of("server"))
    routes: Routes = field(init=False)
    _open: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.routes = Routes("server", self.measures, _refused, _invalid)

    def app(self) -> Starlette:
        """Returns the application."""
        routes = [
            Route("/v1/about", self.routes.route("about", self._about)),
            Route("/v1/generate", self.routes.route("generate", self._generate), methods=["POST"]),
            Route("/health", self.routes.health(self.gate.require)),
            Route("/metrics", self.routes.metrics(self._is_open)),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            await self.engine.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(self.looks_every)
            before = self.gate.why
            await asyncio.to_thread(self.gate.look)
            if self.gate.why != before:
                LOG.warning("certificate", extra={"why": self.gate.why or "it holds again"})

    def _is_open(self) -> bool:
        try:
            self.gate.require()
        except RefusalError:
            return False
        return True

    async def _about(self, http: HttpRequest) -> Response:
        self.keys.user(http.headers.get("authorization"))
        current = self.gate.require()
        return JSONResponse(
            {
                "protocol": PROTOCOL,
                "name": self.name,
                "certificate": current.sha256.hex(),
                "until": current.until.isoformat(),
                "context": self.context,
                "new_tokens": self.limits.new_tokens,
            },
            headers={CERTIFICATE_HEADER: current.sha256.hex()},
        )

    async def _generate(self, http: HttpRequest) -> Response:
        begun, user = time.monotonic(), self.keys.user(http.headers.get("authorization"))
        current = self.gate.require()
        if self._open >= self.limits.open:
            raise RefusalError(429, "overloaded", "Too many requests at once: try again later.", retry_after=1)
        self._open += 1
        self.measures.waiting.set(self._open)
        answering = False
        try:
            if http.headers.get("content-type", "").partition(";")[0].strip() != REQUEST_TYPE:
                raise RefusalError(415, "unsupported_media_type", f"Expected a body of the type {REQUEST_TYPE}.")
            request = read_request(await self._body(http))
            if not secrets.compare_digest(request.certificate, current.sha256):
                raise RefusalError(
                    409, "certificate_mismatch", "This server runs under another certificate than the client names."
                )
            turns = self.exchanges.turns_of(user, request)
            prefix = await asyncio.to_thread(self.prefixes.of, turns)
            self._require_room(len(prefix), request.sampling)
            events = self._events(user, request, turns, prefix, begun)
            answering = True
            first = await anext(events)
            return Stream(first, events, {CERTIFICATE_HEADER: current.sha256.hex()}, self.limits.seconds + MARGIN)
        finally:
            if not answering:
                self._leave()

    def _leave(self) -> None:
        self._open -= 1
        self.measures.waiting.set(self._open)

    async def _body(self, http: HttpRequest) -> bytes:
        return await read_body(http, self.limits.bytes)

    def _require_room(self, prompt: int, how: Sampling) -> None:
        if how.max_tokens > self.limits.new_tokens:
            raise RefusalError(
                400,
                "max_tokens_too_large",
                f"Expected max_tokens of at most {self.limits.new_tokens}, got {how.max_tokens}.",
                "max_tokens",
            )
        if prompt + how.max_tokens > self.context:
            raise RefusalError(
                400,
                "context_length_exceeded",
                f"Expected a prompt and new tokens of at most {self.context} together, what the model reads, got "
                f"{prompt} + {how.max_tokens}.",
                "messages",
            )

    async def _events(
        self, user: str, request: Request, turns: tuple[Segment, ...], prefix: Tensor, begun: float
    ) -> AsyncGenerator[bytes]:
        """Yields the padded events of an answer, one per tick; remembers the exchange once it is whole."""
        how = request.sampling
        answers, written, status, code = [""] * how.choices, 0, 200, ""
        pieces = self.engine.write(_orders(prefix, how))
        try:
            async with contextlib.aclosing(_ticks(pieces, self.tick, self.limits.seconds)) as ticks:
                async for event, tokens in ticks:
                    if not written and tokens:
                        self.measures.first.observe(time.monotonic() - begun)
                    written += tokens
                    for choice, said in event.pieces:
                        answers[choice] += said
                    yield event_bytes(event, self.frame)
            self.exchanges.keep(user, request.exchange, turns, tuple(answers))
            yield event_bytes(Event(usage=(len(prefix), written)), self.frame)
        except TimeoutError:
            status, code = 504, "timeout"
            yield event_bytes(Event(error=(code, "The answer took longer than this server allows.")), self.frame)
        except RefusalError as error:
            status, code = error.status, error.code
            yield event_bytes(Event(error=(error.code, error.said)), self.frame)
        except (asyncio.CancelledError, GeneratorExit):
            status, code = 499, "client_gone"
            raise
        except Exception as error:
            refusal = self.routes.internal("generate", error)
            status, code = refusal.status, refusal.code
            yield event_bytes(Event(error=(code, refusal.said)), self.frame)
        finally:
            self._leave()
            released = sum(isinstance(turn.content, bytes) for turn in request.segments)
            self.measures.tokens.labels("written").inc(written)
            self.routes.done("generate", status, code, begun, user=user, tokens=written, kind=f"{released} released")


def _orders(prefix: Tensor, how: Sampling) -> list[Order]:
    seed = secrets.randbits(62) if how.seed is None else how.seed
    greedy = how.temperature < COLDEST
    settings = GenerationSettings(how.max_tokens, 1.0 if greedy else how.temperature, how.top_p, 0, greedy, seed)
    return [Order(prefix, settings, text) for text in range(how.choices)]


async def _ticks(pieces: AsyncGenerator[Piece], tick: float, seconds: float) -> AsyncGenerator[tuple[Event, int]]:
    """Yields (what was written since the last tick, its tokens), at every tick, also where nothing was.

    Raises TimeoutError for an answer that takes more seconds.
    """
    heard: asyncio.Queue[Piece | Exception | None] = asyncio.Queue()

    async def listen() -> None:
        try:
            async with contextlib.aclosing(pieces):
                async for piece in pieces:
                    heard.put_nowait(piece)
            heard.put_nowait(None)
        except Exception as error:
            heard.put_nowait(error)

    listening = asyncio.create_task(listen())
    try:
        ends = False
        due = time.monotonic() + tick
        last = due + seconds
        while not ends:
            if due > last:
                raise TimeoutError
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += tick
            said: dict[int, str] = {}
            finished: list[tuple[int, str]] = []
            tokens = 0
            while not heard.empty() and not ends:
                piece = heard.get_nowait()
                if isinstance(piece, Exception):
                    raise piece
                if piece is None:
                    ends = True
                    continue
                said[piece.text] = said.get(piece.text, "") + piece.said
                tokens += piece.tokens
                if piece.finished:
                    finished.append((piece.text, piece.finished))
            shown = tuple((choice, text) for choice, text in said.items() if text)
            yield Event(shown, tuple(finished)), tokens
    finally:
        listening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await listening


def _refused(refusal: RefusalError) -> Response:
    return JSONResponse({"error": {"code": refusal.code, "message": refusal.said}}, refusal.status)


def _invalid(_: str, error: UserError) -> RefusalError:
    """Returns the refusal of what the mechanism, or what the request holds, is refused for: it names no text."""
    return RefusalError(400, "invalid_request", str(error))
