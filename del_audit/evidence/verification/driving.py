"""Drives a release as a black box and keeps what it answered, and what it did that no release may do."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.design import Call
from mechanisms.spec import QuantizerSpec

Release = Callable[..., object]
Given = NDArray[np.float64] | NDArray[np.int64]
"""What a client is given: values, or tokens."""
ClaimT = TypeVar("ClaimT")
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
class Caller(Generic[ClaimT]):
    """Base of what calls a release and keeps what went wrong. spec: the claim, by which a subclass reads answers.

    calls, rows: made so far. problems: what was wrong with an answer, the first few in words; wrong: how many.
    charges: calls whose charge was not their number of tokens, in words. seconds: that the last answer took.
    """

    release: Release
    spec: ClaimT
    charged: Charged | None = None
    calls: int = 0
    rows: int = 0
    answered: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0
    charges: list[str] = field(default_factory=list)
    _last: tuple[NDArray[np.generic], Counts] | None = None

    def read(self, answer: object, given: Given) -> Counts | str:
        """Returns an answer as int64, one row a token, or what is wrong with it in words."""
        raise NotImplementedError

    @property
    def hopeless(self) -> bool:
        """Whether so many calls failed from the start that the rest are left out."""
        return self.wrong >= HOPELESS and not self.answered

    def ask(self, values: Given) -> Counts | None:
        """Returns the answer to one call as `read` does, or None where it cannot be used."""
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
            what = "tokens" if values.ndim == 1 else "values"
            self._problem(f"the release changed the {what} that it was given")
        counts = self.read(answer, values)
        if isinstance(counts, str):
            self._problem(f"{counts} for {_shape(values)}")
            return None
        if self._last is not None and not np.array_equal(*self._last):
            self._problem("an answer changed after it had been given: a later call wrote into it")
        self._last = (np.asarray(answer).reshape(counts.shape), counts)
        self.answered += 1
        return counts

    def refuses(self, given: NDArray[np.generic]) -> bool:
        """Returns whether a call of what may not be released raises, as it must."""
        self.calls += 1
        try:
            self.release(given)
        except MemoryError:  # no refusal
            raise
        except Exception:
            return True
        return False

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


class Driver(Caller[QuantizerSpec]):
    """Calls a release of values with what a design says."""

    def read(self, answer: object, given: Given) -> Counts | str:
        """Returns counts, or what is wrong with them in words."""
        return usable(answer, given.shape, self.spec.trials)

    def drive(self, calls: Iterable[Call]) -> list[Answer]:
        """Returns the answers that can be used, in order; what else came back is noted as a problem."""
        found = []
        for call in calls:
            if self.hopeless:
                break
            counts = self.ask(call.values(self.spec.clip))
            if counts is not None:
                found.append(Answer(call, counts, self.seconds))
        return found


def usable(answer: object, shape: tuple[int, ...], most: int, what: str = "counts") -> Counts | str:
    """Returns an answer of whole numbers in 0..most as int64, or what is wrong with it in words."""
    if not isinstance(answer, np.ndarray):
        return f"{type(answer).__name__} instead of an array"
    if answer.dtype.kind not in "iu":
        return f"an array of {answer.dtype} instead of whole numbers"
    if answer.shape != shape:
        return f"shape {answer.shape}"
    if answer.size and (int(answer.min()) < 0 or int(answer.max()) > most):
        return f"{what} from {answer.min()} to {answer.max()}, outside 0..{most},"
    return answer.astype(np.int64)


def _shape(given: Given) -> str:
    return f"{len(given)} tokens" if given.ndim == 1 else f"{given.shape[0]} rows of {given.shape[1]} values"
