"""A mechanism that the registries do not have, with its figure and its calibration: a test adds the two rows."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from del_audit.accounting.rivals.figures import Figures, at_most, of_pure
from mechanisms.errors import UserError
from mechanisms.randomness import RandomSource
from mechanisms.rivals import RivalSpec

GRID = 1 << 16


@dataclass(frozen=True, slots=True)
class ToySpec(RivalSpec):
    """words: of the vocabulary. uniform: how many of 2^16 releases are of a word drawn at random."""

    kind: ClassVar[str] = "toy"
    words: int
    uniform: int

    def __post_init__(self) -> None:
        if not 1 <= self.uniform <= GRID:
            raise UserError(f"Expected uniform in 1..{GRID}, got uniform={self.uniform!r}.")


@dataclass(frozen=True)
class Toy:
    """Sends the word, or with probability uniform / 2^16 one at random, as four bytes each."""

    spec: ToySpec
    table: NDArray[np.float32]
    name: str = "a word, or any word"

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt."""
        drawn = source.words(2 * len(tokens)).astype(np.int64)
        own = drawn[::2] % GRID >= self.spec.uniform
        return np.where(own, tokens, drawn[1::2] % self.spec.words).astype("<u4").tobytes()

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,)."""
        return np.frombuffer(message, "<u4").astype(np.int64)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the released words' rows of the table."""
        return self.table[self.observed(message)]

    def scores(
        self, observed: NDArray[Any], log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields one block of log P(observed | word) + log_prior[word]."""
        share = self.spec.uniform / GRID
        law = np.full((len(observed), self.spec.words), share / self.spec.words)
        law[np.arange(len(observed)), observed] += 1 - share
        yield slice(0, len(observed)), (np.log(law) + (0 if log_prior is None else log_prior)).astype(np.float32)


def figures(spec: ToySpec, whole: Any, delta: float, tokens: int) -> Figures:
    """Its pure epsilon, composed."""
    pure = math.log1p((GRID - spec.uniform) / spec.uniform * spec.words)
    return of_pure(at_most(pure), delta, tokens, "By its two probabilities.")


def calibrated(epsilon: float, delta: float, words: int) -> ToySpec:
    """Returns the spec of the least noise that meets the epsilon by its pure one."""
    return ToySpec(words, math.ceil(GRID * words / (math.expm1(epsilon) + words)))
