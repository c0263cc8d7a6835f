"""The proxy's application: OpenAI's API on the user's machine, in front of a server that never sees the words."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from del_audit.serving.bodies import read_body
from del_audit.serving.conversations import Conversations
from del_audit.serving.events import Event
from del_audit.serving.keys import Keys
from del_audit.serving.logs import LOG
from del_audit.serving.measures import Measures
from del_audit.serving.openai_replies import DONE, Reply, Stopping, error_body, error_event
from del_audit.serving.openai_requests import Asked, known_model, read_chat, read_completion
from del_audit.serving.protocol import Request, Segment
from del_audit.serving.refusal import RefusalError
from del_audit.serving.releasing import Outgoing, Releasing
from del_audit.serving.routes import Answer, Routes
from del_audit.serving.streams import MARGIN, Stream
from del_audit.serving.upstream import Upstream
from mechanisms.client import Client
from mechanisms.errors import UserError

LARGEST_BODY = 1 << 22
LOOKS_EVERY = 60.0
HERE = ("localhost", "127.0.0.1", "[::1]")
IDEMPOTENCY = "idempotency-key"


@dataclass(slots=True)
class ProxyApp:
    """What the routes share. model: the name that clients ask for. client: of a user, by name.

    until: when the certificate expires. check: asks whether it still holds, and raises UserError where not. local:
    reachable from this machine alone; then a request must be addressed to it by a name of this machine, so that no web
    page reaches it. seconds: of one answer, at most.
    """

    model: str
    upstream: Upstream
    releasing: Releasing
    conversations: Conversations
    client: Callable[[str], Client]
    keys: Keys
    until: datetime
    check: Callable[[], None]
    local: bool = True
    seconds: float = 600.0
    measures: Measures = field(default_factory=lambda: Measures.of("proxy"))
    created: int = field(default_factory=lambda: int(time.time()))
    routes: Routes = field(init=False)
    _turns: dict[str, asyncio.Lock] = field(default_factory=dict, init=False)
    _closed: str = field(default="", init=False)
    _latest: datetime | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.routes = Routes("proxy", self.measures, _refused, _not_sent, self._enter)

    def app(self) -> Starlette:
        """Returns the application."""
        routes = [
            Route("/v1/models", self._route("models", self._models)),
            Route("/v1/models/{name:path}", self._route("models", self._one_model)),
            Route("/v1/chat/completions", self._route("chat", self._chat), methods=["POST"]),
            Route("/v1/completions", self._route("completions", self._complete), methods=["POST"]),
            Route("/health", self.routes.health(self._require_open)),
            Route("/metrics", self.routes.metrics(lambda: not self._closed and datetime.now(UTC) < self.until)),
            Route(
                "/{path:path}",
                self._route("unknown", self._unknown),
                methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            ),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(self._look())
        try:
            yield
        finally:
            looking.cancel()
            await self.upstream.client.aclose()
            self.conversations.close()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOKS_EVERY)
            try:
                await asyncio.to_thread(self.check)
                self._closed = ""
            except UserError as error:
                if not self._closed:
                    LOG.warning("certificate", extra={"why": str(error)})
                self._closed = str(error)

    def _require_open(self) -> None:
        """Raises RefusalError where the certificate does not hold any more, or the clock was set back."""
        now = datetime.now(UTC)
        back = self._latest is not None and (self._latest - now).total_seconds() > 300
        self._latest = now if self._latest is None else max(now, self._latest)
        if self._closed or now >= self.until:
            raise RefusalError(503, "certificate_ended", "The certificate does not hold any more: nothing is sent.")
        if back:
            raise RefusalError(503, "clock_set_back", "This machine's clock was set back: nothing is sent.")

    def _route(self, name: str, answer: Answer) -> Answer:
        """Returns a route for requests that are addressed to this machine."""

        async def addressed(http: HttpRequest) -> Response:
            self._require_addressed(http)
            return await answer(http)

        return self.routes.route(name, addressed)

    def _enter(self) -> Callable[[], None]:
        self.measures.waiting.inc()
        return self.measures.waiting.dec

    def _require_addressed(self, http: HttpRequest) -> None:
        host = http.headers.get("host", "").rsplit(":", 1)[0] if self.local else HERE[0]
        if host not in HERE and http.headers.get("host") not in HERE:
            raise RefusalError(403, "wrong_host", "Expected a request to localhost: this proxy serves its own machine.")

    async def _unknown(self, _: HttpRequest) -> Response:
        raise RefusalError(404, "unknown_url", "Expected /v1/chat/completions, /v1/completions or /v1/models.")

    async def _models(self, http: HttpRequest) -> Response:
        self.keys.user(http.headers.get("authorization"))
        return JSONResponse({"object": "list", "data": [self._described()]})

    async def _one_model(self, http: HttpRequest) -> Response:
        self.keys.user(http.headers.get("authorization"))
        if http.path_params["name"] != self.model:
            raise RefusalError(404, "model_not_found", f"Expected model to be {self.model}.", "model")
        return JSONResponse(self._described())

    def _described(self) -> dict[str, Any]:
        return {"id": self.model, "object": "model", "created": self.created, "owned_by": "del-audit"}

    async def _chat(self, http: HttpRequest) -> Response:
        return await self._answer(http, read_chat, "chat")

    async def _complete(self, http: HttpRequest) -> Response:
        return await self._answer(http, read_completion, "completions")

    async def _answer(self, http: HttpRequest, read: Callable[[object], Asked], route: str) -> Response:
        begun, user = time.monotonic(), self.keys.user(http.headers.get("authorization"))
        self._require_open()
        asked = read(await _json(http))
        known_model(asked, [self.model])
        key = http.headers.get(IDEMPOTENCY)
        async with self._turns.setdefault(
            user, asyncio.Lock()
        ):  # two requests of one key: the second repeats the first
            client = await asyncio.to_thread(self.client, user)
            out = await asyncio.to_thread(self.releasing.outgoing, user, client, asked, key)
        self.measures.tokens.labels("released").inc(out.released)
        reply = Reply(out.name.hex(), self.model, f"del-{self.upstream.certificate.hex()[:12]}", route == "chat")
        answering = _Answering(self, asked, out, reply)
        events = answering.events()
        first = await anext(events)  # a refusal of the server has its own status
        self.measures.first.observe(time.monotonic() - begun)
        if not asked.stream:
            async with contextlib.aclosing(events):
                await answering.rest(first, events)
            whole = reply.whole(answering.texts, answering.finished, answering.used)
            return JSONResponse(whole, headers={"x-request-id": reply.name})

        async def streamed() -> AsyncGenerator[bytes]:
            status, code = 200, ""
            try:
                async with contextlib.aclosing(events):
                    async for data in answering.stream(first, events):
                        yield data
            except RefusalError as error:
                status, code = error.status, error.code
                yield error_event(error)
            except (asyncio.CancelledError, GeneratorExit):
                status, code = 499, "client_gone"
                raise
            except Exception as error:
                refusal = self.routes.internal(route, error)
                status, code = refusal.status, refusal.code
                yield error_event(refusal)
            finally:
                self.routes.done(route, status, code, begun, user=user, tokens=out.released)

        rest = streamed()
        return Stream(await anext(rest), rest, {"x-request-id": reply.name}, self.seconds + 2 * MARGIN)


@dataclass(slots=True)
class _Answering:
    """One answer on its way. texts: what was shown of each choice. finished: why each ended. used: tokens."""

    proxy: ProxyApp
    asked: Asked
    out: Outgoing
    reply: Reply
    texts: list[str] = field(init=False)
    finished: list[str] = field(init=False)
    used: tuple[int, int] = field(default=(0, 0), init=False)
    _stops: list[Stopping] = field(init=False)

    def __post_init__(self) -> None:
        choices = self.asked.how.choices
        self.texts, self.finished = [""] * choices, [""] * choices
        self._stops = [Stopping(self.asked.stop) for _ in range(choices)]

    async def events(self) -> AsyncGenerator[Event]:
        """Yields the server's events; what it has forgotten of the conversation is sent again, bit for bit."""
        out, certificate = self.out, self.proxy.upstream.certificate
        request = Request(certificate, out.name, out.after, out.segments, self.asked.how)
        try:
            async with contextlib.aclosing(self.proxy.upstream.generate(request)) as events:
                async for event in events:
                    yield event
            return
        except RefusalError as error:
            if error.code != "unknown_exchange" or out.after is None:
                raise
        if out.earlier is None:
            raise RefusalError(
                409, "conversation_forgotten", "The server has forgotten this conversation: begin a new one."
            )
        again = replace(request, after=None, segments=(*_as_asked(out.earlier, self.asked), *out.segments))
        async with contextlib.aclosing(self.proxy.upstream.generate(again)) as events:
            async for event in events:
                yield event

    async def stream(self, first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[bytes]:
        """Yields the answer as it comes. After a stop the server is heard to its end: where it stopped stays here."""
        yield self.reply.opening(self.asked.how.choices)
        async for event in _with(first, events):
            for choice, shown in self._shown(event):
                yield self.reply.piece(choice, shown)
            for choice in self._ended(event):
                yield self.reply.end(choice, self.finished[choice])
            self.used = event.usage or self.used
        await self._remember()
        if self.asked.usage:
            yield self.reply.usage(self.used)
        yield DONE

    async def rest(self, first: Event, events: AsyncGenerator[Event]) -> None:
        """Reads the answer to its end."""
        async for event in _with(first, events):
            for _ in self._shown(event):
                pass
            for _ in self._ended(event):
                pass
            self.used = event.usage or self.used
        await self._remember()

    def _shown(self, event: Event) -> list[tuple[int, str]]:
        """Returns the text of an event that the client is shown, by choice."""
        if event.error is not None:
            raise RefusalError(502, event.error[0], event.error[1])
        if any(choice >= len(self.texts) for choice, _ in (*event.pieces, *event.finished)):
            raise RefusalError(502, "upstream_failed", "The server wrote more answers than were asked for.")
        found = []
        for choice, said in event.pieces:
            stops = self._stops[choice]
            before = stops.stopped
            if shown := stops.add(said):
                self.texts[choice] += shown
                found.append((choice, shown))
            if stops.stopped and not before:
                self.finished[choice] = "stop"
        for choice, _ in event.finished:
            if (held := self._stops[choice].finish()) and not self._stops[choice].stopped:
                self.texts[choice] += held
                found.append((choice, held))
        return found

    def _ended(self, event: Event) -> list[int]:
        """Returns the choices that are finished with an event."""
        ended = [choice for choice, _ in event.finished]
        for choice, why in event.finished:
            self.finished[choice] = self.finished[choice] or why
        return ended

    async def _remember(self) -> None:
        """Remembers the answers before the client is told that they are whole; raises RefusalError for others."""
        if not all(self.finished):
            raise RefusalError(502, "upstream_failed", "The server's answer was cut off.")
        answers = [(text, not stops.stopped) for text, stops in zip(self.texts, self._stops, strict=True)]
        self.proxy.measures.tokens.labels("written").inc(self.used[1])
        await asyncio.to_thread(self.proxy.conversations.returned, self.out.name, answers)


def _refused(refusal: RefusalError) -> Response:
    """Returns a refusal in OpenAI's shape, whose clients heed the header: a repeated request is charged again."""
    return JSONResponse(error_body(refusal), refusal.status, headers={"x-should-retry": "false"})


def _not_sent(route: str, error: UserError) -> RefusalError:
    """Returns the refusal of what the ledger or the conversations refuse, which name no text."""
    LOG.error("not sent", extra={"route": route, "why": str(error)})
    return RefusalError(503, "not_sent", "The proxy cannot keep its records: nothing was sent.")


def _as_asked(earlier: tuple[Segment, ...], asked: Asked) -> tuple[Segment, ...]:
    """Returns earlier segments; in text to go on with, answers are part of the text."""
    if asked.turns[0].role:
        return earlier
    return tuple(replace(segment, role="") for segment in earlier)


async def _with(first: Event, events: AsyncGenerator[Event]) -> AsyncGenerator[Event]:
    yield first
    async for event in events:
        yield event


async def _json(http: HttpRequest) -> object:
    """Returns the body; raises RefusalError for one that is too long, or no JSON."""
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusalError(415, "unsupported_media_type", "Expected a body of the type application/json.")
    data = await read_body(http, LARGEST_BODY)
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise RefusalError(400, "invalid_json", "Expected a body of JSON in UTF-8.") from None
