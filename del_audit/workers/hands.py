"""What a cluster of workers does whatever it is made of: parts are sent, tried again elsewhere, and given back."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from del_audit.workers.work import Files, Part
from mechanisms.errors import UserError, first_line

TRIES = 3
"""How often a part is tried, each time by whoever is free, before the run ends."""


class Hands(Protocol):
    """Workers of one kind of work."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    @property
    def idle(self) -> int:
        """How many of them can be given a part now."""
        ...

    def send(self, part: Part) -> int:
        """Gives a part to a free worker, and returns the worker's number."""
        ...

    def wait(self) -> tuple[int, Files | Exception] | None:
        """Waits for a worker and returns its number, with the files of its part or what went wrong.

        None where a worker that was lost is there again. Raises UserError where none is left and none comes.
        """
        ...


def results(
    hands: Hands, parts: Sequence[Part], stop: Callable[[], bool] = lambda: False
) -> Iterator[tuple[Part, Files]]:
    """Yields each part with its files, as they come. stop: asked before each part; once it is so, no more are begun.

    Raises UserError as a part does, and for a part that failed TRIES times otherwise, such as by a worker's death: then
    no more parts are begun, and those that are under way are yielded first.
    """
    waiting, flying, failed, ends = deque(parts), dict[int, Part](), Counter[str](), list[UserError]()
    while waiting or flying:
        if waiting and stop():
            waiting.clear()
        while waiting and hands.idle:
            part = waiting.popleft()
            flying[hands.send(part)] = part
        heard = hands.wait()
        if heard is None:
            continue
        worker, found = heard
        part = flying.pop(worker)
        if not isinstance(found, Exception):
            yield part, found
            continue
        failed[part.name] += 1
        if isinstance(found, UserError):
            ends.append(found)
        elif failed[part.name] == TRIES:
            ends.append(_given_up(part, found))
        else:
            waiting.append(part)
        if ends:
            waiting.clear()
    if ends:
        raise ends[0]


def _given_up(part: Part, found: Exception) -> UserError:
    error = UserError(
        f"Expected workers to make {part.name}, got {TRIES} failures, the last {type(found).__name__}: "
        f"{first_line(found)}. Finished parts are kept: start the same command again, without workers to see the whole "
        "error."
    )
    error.__cause__ = found
    return error
