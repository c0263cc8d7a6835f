"""Drives a release as a black box and keeps what it answered, and what it did that no release may do."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import Counts, Floats
from del_audit.evidence.verification.design import Call
from mechanisms.spec import QuantizerSpec

Release = Callable[[Floats], object]
Charged = Callable[[], int]

HOPELESS = 20
"""Calls that may fail from the start before the rest are left out: a client that never answers is known by then."""
MOST_NOTED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A call, what came back (int64, shape (n, dim)), and how long that took."""

    call: Call
    counts: Counts
    seconds: float


@dataclass(eq=False)
class Driver:
    """Calls a release with what a design says.

    calls, rows: made so far. problems: what was wrong with an answer, the first few in words; wrong: how many.
    charges: calls whose charge was not their number of tokens, in words. seconds: that the last answer took.
    """

    release: Release
    spec: QuantizerSpec
    charged: Charged | None = None
    calls: int = 0
    rows: int = 0
    answered: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    charges: list[str] = field(default_factory=list)
    _last: tuple[NDArray[np.generic], Counts] | None = None

    def drive(self, calls: Iterable[Call]) -> list[Answer]:
        """Returns the answers that can be used, in order; what else came back is noted as a problem."""
        found = []
        for call in calls:
            if self.wrong >= HOPELESS and not self.answered:
                break
            counts = self.ask(call.values(self.spec.clip))
            if counts is not None:
                found.append(Answer(call, counts, self.seconds))
        return found

    def ask(self, values: Floats) -> Counts | None:
        """Returns the counts of one call, int64, or None where the answer cannot be used."""
        self.calls += 1
        self.rows += len(values)
        given, before = values.copy(), self._charge()
        start = time.perf_counter()
        try:
            answer = self.release(given)
        except MemoryError:  # of the machine: no finding
            raise
        except Exception as error:
            self._problem(f"{type(error).__name__} on {_shape(values)}: {str(error)[:120]}")
            return None
        self.seconds = time.perf_counter() - start
        self._note_charge(before, len(values))
        if given.tobytes() != values.tobytes():
            self._problem("the release changed the values that it was given")
        counts = usable(answer, values.shape, self.spec.trials)
        if isinstance(counts, str):
            self._problem(f"{counts} for {_shape(values)}")
            return None
        if self._last is not None and not np.array_equal(*self._last):
            self._problem("an answer changed after it had been given: a later call wrote into it")
        self._last = (np.asarray(answer), counts)
        self.answered += 1
        return counts

    def _problem(self, text: str) -> None:
        self.wrong += 1
        self._note(self.problems, text)

    def _charge(self) -> int:
        if self.charged is None:
            return 0
        try:
            return int(self.charged())
        except Exception as error:
            self._note(self.charges, f"{type(error).__name__} instead of the tokens charged: {str(error)[:100]}")
            return 0

    def _note_charge(self, before: int, rows: int) -> None:
        if self.charged is None or (taken := self._charge() - before) == rows:
            return
        self._note(self.charges, f"{taken} charged for {rows} tokens in call {self.calls}")

    def _note(self, where: list[str], text: str) -> None:
        if len(where) < MOST_NOTED and text not in where:
            where.append(text)


def usable(answer: object, shape: tuple[int, ...], trials: int) -> Counts | str:
    """Returns an answer as int64, or what is wrong with it in words."""
    if not isinstance(answer, np.ndarray):
        return f"{type(answer).__name__} instead of an array"
    if answer.dtype.kind not in "iu":
        return f"an array of {answer.dtype} instead of whole numbers"
    if answer.shape != shape:
        return f"shape {answer.shape}"
    if answer.size and (int(answer.min()) < 0 or int(answer.max()) > trials):
        return f"counts from {answer.min()} to {answer.max()}, outside 0..{trials},"
    return answer.astype(np.int64)


def _shape(values: Floats) -> str:
    return f"{values.shape[0]} rows of {values.shape[1]} values"
