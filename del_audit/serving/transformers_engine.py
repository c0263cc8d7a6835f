"""The embedded engine: one thread writes the texts of all requests, in batches that start as requests come."""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field

from del_audit.serving.engine import Piece
from del_audit.serving.refusal import RefusalError
from mechanisms.generation import Order, WritingBatch
from mechanisms.library_types import PreTrainedModel, PreTrainedTokenizerBase
from mechanisms.text_pieces import TextPieces

ROWS = 32
"""Texts of one batch, at most: a step of the model reads all weights, whatever the batch."""
BATCHES = 4
"""Batches at once, at most. Requests that come while so many are written wait, and start together."""
_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class _Job:
    """The orders of one request. heard: what its reader is told; None at the end, an error where there was one."""

    orders: Sequence[Order]
    loop: asyncio.AbstractEventLoop
    heard: "asyncio.Queue[list[Piece] | Exception]" = field(default_factory=asyncio.Queue)
    dropped: bool = False

    def tell(self, said: list[Piece] | Exception) -> None:
        if not self.dropped:
            self.loop.call_soon_threadsafe(self.heard.put_nowait, said)


class TransformersEngine:
    """Runs a model of transformers. Requests that come are a batch of their own, which joins the one that is written.

    Where the model's cache does not allow that, batches are written side by side. rows, batches: texts of a batch and
    batches at once, at most. waiting: requests that may wait, at most.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: int = ROWS,
        batches: int = BATCHES,
        waiting: int = 1024,
    ) -> None:
        self._model, self._tokenizer, self._rows, self._batches = model, tokenizer, rows, batches
        self._waiting: queue.Queue[_Job] = queue.Queue(waiting)
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    async def write(self, orders: Sequence[Order]) -> AsyncGenerator[Piece]:
        """Yields pieces as they are written; raises RefusalError where too many requests wait."""
        job = _Job(orders, asyncio.get_running_loop())
        try:
            self._waiting.put_nowait(job)
        except queue.Full:
            raise RefusalError(429, "overloaded", "Too many requests wait: try again later.", retry_after=1) from None
        left = len(orders)
        try:
            while left:
                said = await job.heard.get()
                if isinstance(said, Exception):
                    raise said
                for piece in said:
                    left -= bool(piece.finished)
                    yield piece
        finally:
            job.dropped = True

    async def close(self) -> None:
        """Ends the thread, after the step that it is at."""
        self._ends.set()
        await asyncio.to_thread(self._thread.join, 10)

    def _run(self) -> None:
        """Steps all batches in turn, and starts one with whatever waits as soon as there is room."""
        running: list[_Running] = []
        while not self._ends.is_set():
            if len(running) < self._batches and (jobs := self._come(wait=not running)):
                running.append(_Running(self._model, self._tokenizer, jobs))
            for batch in running:
                batch.step()
            running = _joined([batch for batch in running if batch.goes_on], self._rows)
        for batch in running:
            batch.fail(RefusalError(503, "stopping", "The server is stopping."))

    def _come(self, wait: bool) -> list[_Job]:
        """Returns the jobs that wait, as many as one batch takes; wait: for the first, a moment."""
        jobs: list[_Job] = []
        rows = 0
        while rows < self._rows:
            try:
                job = self._waiting.get(timeout=0.05) if wait and not jobs else self._waiting.get_nowait()
            except queue.Empty:
                break
            if not job.dropped:
                jobs.append(job)
                rows += len(job.orders)
        return jobs


def _joined(batches: list["_Running"], rows: int) -> list["_Running"]:
    """Returns the batches, those that can be joined as one: a step of the model reads all weights for each."""
    found: list[_Running] = []
    for batch in batches:
        into = next((one for one in found if one.joins(batch, rows)), None)
        if into is None:
            found.append(batch)
        else:
            into.join(batch)
    return found


class _Running:
    """One batch, and who is told what is written. Whatever fails is told to all of them; the engine goes on."""

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, jobs: Sequence[_Job]) -> None:
        self._places = [(job, text) for job in jobs for text in range(len(job.orders))]
        self._jobs, self._pieces = jobs, [TextPieces(tokenizer) for _ in self._places]
        self._most = [order.settings.new_tokens for job in jobs for order in job.orders]
        self._written = [0] * len(self._places)
        self._batch: WritingBatch | None = None
        try:
            self._batch = WritingBatch(model, [order for job in jobs for order in job.orders])
        except Exception as error:  # whatever it is, it is not the engine's end
            self.fail(error)

    @property
    def goes_on(self) -> bool:
        """Whether a text is not finished."""
        return self._batch is not None and bool(self._batch.going)

    def joins(self, other: "_Running", rows: int) -> bool:
        """Returns whether another batch can be joined to this one, to so many texts at most."""
        if self._batch is None or other._batch is None or not (self._batch.joins and other._batch.joins):
            return False
        return len(self._batch.going) + len(other._batch.going) <= rows

    def join(self, other: "_Running") -> None:
        """Writes the texts of another batch too."""
        assert self._batch is not None
        assert other._batch is not None
        self._batch.join(other._batch)
        self._places += other._places
        self._jobs = [*self._jobs, *other._jobs]
        self._pieces += other._pieces
        self._most += other._most
        self._written += other._written

    def step(self) -> None:
        """Writes one token of every text that goes on, and tells it."""
        if self._batch is None:
            return
        for place, (job, _) in enumerate(self._places):
            if job.dropped:
                self._batch.drop(place)
        if not self._batch.going:
            return
        try:
            found = self._batch.step()
        except Exception as error:
            self.fail(error)
            return
        told: dict[int, list[Piece]] = {}
        for place, token in found.items():
            job, text = self._places[place]
            told.setdefault(id(job), []).append(self._piece(place, text, token))
        for job in self._jobs:
            if said := told.get(id(job)):
                job.tell(said)

    def _piece(self, place: int, text: int, token: int | None) -> Piece:
        if token is None:
            return Piece(text, self._pieces[place].finish(), 0, "stop")
        self._written[place] += 1
        said, over = self._pieces[place].add(token), self._written[place] == self._most[place]
        return Piece(text, said + self._pieces[place].finish() if over else said, 1, "length" if over else "")

    def fail(self, error: Exception) -> None:
        """Tells everybody that nothing follows."""
        if not isinstance(error, RefusalError):
            _LOG.error("batch failed", extra={"kind": type(error).__name__})
            error = RefusalError(500, "engine_failed", "The model failed on this request: try again.")
        for job in self._jobs:
            job.tell(error)
        self._batch = None
