"""What the routes of both applications share: refusals in one shape; requests counted, and logged without content."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from del_audit.serving.logs import LOG
from del_audit.serving.measures import CONTENT_TYPE, Measures
from del_audit.serving.refusal import RefusalError
from del_audit.serving.streams import Stream
from mechanisms.errors import UserError

Answer = Callable[[HttpRequest], Awaitable[Response]]


def nothing() -> None:
    """Does nothing: what is called where nothing is to be ended."""


@dataclass(frozen=True, slots=True)
class Routes:
    """who: server or proxy, in what clients are told. refused: the response of a refusal, in this side's shape.

    of_user_error: the refusal that a UserError of this side becomes. entered: called before each request; what it
    returns is called once the request is answered, a streamed one at its end. It may raise RefusalError.
    """

    who: str
    measures: Measures
    refused: Callable[[RefusalError], Response]
    of_user_error: Callable[[str, UserError], RefusalError]
    entered: Callable[[], Callable[[], None]] = lambda: nothing

    def route(self, name: str, answer: Answer) -> Answer:
        """Returns a route that answers refusals, counts them, and says nothing of other errors."""

        async def answered(http: HttpRequest) -> Response:
            begun, ended = time.monotonic(), self.entered()
            try:
                response = await answer(http)
                if isinstance(response, Stream):
                    response.ended, ended = ended, nothing
                else:
                    self.done(name, response.status_code, "", begun)
                return response
            except ClientDisconnect:
                self.done(name, 499, "client_gone", begun)
                return Response(status_code=499)
            except RefusalError as error:
                refusal = error
            except UserError as error:
                refusal = self.of_user_error(name, error)
            except Exception as error:
                refusal = self.internal(name, error)
            finally:
                ended()
            self.done(name, refusal.status, refusal.code, begun)
            response = self.refused(refusal)
            if refusal.retry_after is not None:
                response.headers["retry-after"] = str(refusal.retry_after)
            return response

        return answered

    def internal(self, name: str, error: Exception) -> RefusalError:
        """Returns what a client is told of an error that nobody foresaw; the log has its kind alone."""
        LOG.error("internal error", extra={"route": name, "kind": type(error).__name__})
        return RefusalError(500, "internal_error", f"The {self.who} failed on this request.")

    def done(self, name: str, status: int, code: str, begun: float, **told: object) -> None:
        """Counts and logs a request that is answered; begun: of time.monotonic."""
        seconds = time.monotonic() - begun
        self.measures.requests.labels(name, str(status), code).inc()
        self.measures.whole.observe(seconds)
        LOG.info("request", extra={"route": name, "status": status, "code": code, "seconds": round(seconds, 3), **told})

    def health(self, require_open: Callable[[], object]) -> Answer:
        """Returns the route that says whether this side may serve; require_open: raises RefusalError where not."""

        async def health(_: HttpRequest) -> Response:
            try:
                require_open()
            except RefusalError as error:
                return JSONResponse({"status": error.code}, 503)
            return JSONResponse({"status": "ok"})

        return health

    def metrics(self, is_open: Callable[[], bool]) -> Answer:
        """Returns the route of the measures, in Prometheus' format."""

        async def metrics(_: HttpRequest) -> Response:
            self.measures.open.set(is_open())
            return Response(self.measures.text(), media_type=CONTENT_TYPE)

        return metrics
