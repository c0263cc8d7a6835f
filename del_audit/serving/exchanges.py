"""What the server remembers of exchanges, so that a later turn need not send earlier ones: in memory, for a while."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from del_audit.serving.protocol import Request, Segment
from del_audit.serving.refusal import RefusalError

UNKNOWN = "unknown_exchange"
_PER_SEGMENT = 200
"""Bytes that a segment takes beside its content, about."""


@dataclass(slots=True)
class _Exchange:
    turns: tuple[Segment, ...]
    answers: tuple[str, ...]
    at: float

    @property
    def size(self) -> int:
        return sum(_PER_SEGMENT + len(turn.content) for turn in self.turns) + sum(map(len, self.answers))


@dataclass(slots=True)
class Exchanges:
    """The exchanges of all users, each found by its own user alone. most_bytes: of all; the oldest go first.

    seconds: that one is kept after it was used last. clock: seconds that only grow.
    """

    most_bytes: int = 1 << 28
    seconds: float = 24 * 3600.0
    clock: Callable[[], float] = time.monotonic
    _kept: "OrderedDict[tuple[str, bytes], _Exchange]" = field(default_factory=OrderedDict, init=False)
    _bytes: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def turns_of(self, user: str, request: Request) -> tuple[Segment, ...]:
        """Returns all turns of a request, those that it follows first.

        Raises RefusalError for an earlier exchange that is not remembered: then the proxy sends it all again.
        """
        if request.after is None:
            return request.segments
        name, choice = request.after
        with self._lock:
            self._forget()
            earlier = self._kept.get((user, name))
            if earlier is None or choice >= len(earlier.answers):
                raise RefusalError(409, UNKNOWN, "The earlier exchange is not remembered: send all turns again.")
            earlier.at = self.clock()
            self._kept.move_to_end((user, name))
            answer = Segment("assistant" if request.segments[0].role else "", earlier.answers[choice])
            return (*earlier.turns, answer, *request.segments)

    def keep(self, user: str, name: bytes, turns: tuple[Segment, ...], answers: tuple[str, ...]) -> None:
        """Remembers an exchange that is finished."""
        with self._lock:
            if (old := self._kept.pop((user, name), None)) is not None:
                self._bytes -= old.size
            new = _Exchange(turns, answers, self.clock())
            self._kept[user, name] = new
            self._bytes += new.size
            self._forget()

    def _forget(self) -> None:
        oldest = self.clock() - self.seconds
        while self._kept:
            first = next(iter(self._kept.values()))
            if first.at >= oldest and self._bytes <= self.most_bytes:
                return
            self._kept.popitem(last=False)
            self._bytes -= first.size
