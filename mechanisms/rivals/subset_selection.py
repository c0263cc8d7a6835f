"""Subset selection (Ye and Barg, IEEE Trans. Inf. Theory 2018): what is sent of a token is a set of words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, wide_words
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import positive, whole
from mechanisms.rivals._draws import WIDE, narrow_below, uniform_below
from mechanisms.rivals._message import SetFormat
from mechanisms.rivals._supports import SupportMechanism, SupportSpec, checked_inside, largest_inside
from mechanisms.rivals.randomized_response import MAX_WORDS
from mechanisms.tokens import checked_tokens

if TYPE_CHECKING:  # the client imports no torch
    from torch import Tensor

    from mechanisms.device_channel import Law

_BLOCK_DRAWS = 1 << 16
"""Numbers that are drawn and sorted at once: what fits the processor's cache is sorted faster."""


@dataclass(frozen=True, slots=True)
class SubsetSelectionSpec(SupportSpec):
    """Subset selection, completely: a set of `size` words is released, all sets with the true word alike.

    The set holds the true word with probability inside / 2^64; its other words are uniform (theorem 24). words: 2 to
    2^24. size: 1 (randomized response) to words // 2, since larger sets carry less. inside: 2^64 size / words to
    2^64 - 1. Raises UserError for values outside these ranges.
    """

    kind: ClassVar[str] = "subset selection"
    words: int
    size: int
    inside: int

    def __post_init__(self) -> None:
        whole("words", self.words, 2, MAX_WORDS)
        whole("size", self.size, 1, self.words // 2)
        checked_inside(self.inside, self.share)

    @classmethod
    def from_epsilon(cls, words: int, epsilon: float, size: int | None = None, delta: float = 0.0) -> Self:
        """Returns the least noisy spec whose token epsilon (nats) at delta is at most this.

        size: the one that carries most about a uniform word if left out. Raises UserError for an epsilon that is not
        above 0, or so small that 64 bits do not resolve it.
        """
        whole("words", words, 2, MAX_WORDS)
        size = best_size(words, epsilon) if size is None else whole("size", size, 1, words // 2)
        share, common = Fraction(size, words), Fraction(size - 1, words - 1)
        return cls(words, size, largest_inside(epsilon, share, common, delta))

    @property
    def chance(self) -> Fraction:
        """The probability of a set with the true word."""
        return Fraction(self.inside, WIDE)

    @property
    def share(self) -> Fraction:
        """Of all sets, those with a given word."""
        return Fraction(self.size, self.words)

    @property
    def common(self) -> Fraction:
        """Of the sets with one word, those with another given word too."""
        return Fraction(self.size - 1, self.words - 1)


def best_size(words: int, epsilon: float) -> int:
    """Returns the size of the sets that carry most nats about a uniform word: words (x e^x - e^x + 1) / (e^x - 1)^2.

    >>> [best_size(49152, epsilon) for epsilon in (4.0, 6.0, 8.0)]
    [2820, 613, 116]
    """
    x = positive("epsilon", epsilon)
    if x > 40:
        return 1
    ideal = words * (x * math.exp(x) - math.expm1(x)) / math.expm1(x) ** 2 if x > 1e-4 else words / 2
    return min(max(1, round(ideal)), words // 2)


class SubsetSelection(SupportMechanism):
    """The mechanism. Parameters and errors as of PosteriorRead."""

    def __init__(
        self,
        spec: SubsetSelectionSpec,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "subset selection",
    ) -> None:
        super().__init__(spec.words, table, prior, decoding, name)
        self.spec: SubsetSelectionSpec = spec

    @cached_property
    def format(self) -> SetFormat:
        """The message's layout."""
        return SetFormat(b"SET1", self.spec.fingerprint, self.spec.words, self.spec.size)

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.unsignedinteger]:
        """Returns the released sets, uint16 or uint32, shape (tokens, size), each sorted.

        A set of `size` is drawn out of the other words, and one place of it; the true word takes that place where a
        64-bit word is below `inside`. Neither what is drawn nor how much depends on the token.
        """
        drawn = wide_words(len(tokens), source)
        sets = sorted_samples(self.spec.words - 1, self.spec.size, len(tokens), source)
        places = np.arange(len(tokens)), uniform_below(self.spec.size, len(tokens), source)
        true = tokens.astype(sets.dtype)
        sets += sets >= true[:, None]
        sets[places] = np.where(drawn < np.uint64(self.spec.inside), true, sets[places])
        sets.sort(axis=1)
        return sets

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.format.pack(self.replace(checked_tokens(tokens, self.words), source))

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the released sets, int64, shape (tokens, size), sorted; raises UserError as unpack does."""
        return self.format.unpack(message)

    def supports(self, observed: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns which words each set holds, bool, shape (sets, words)."""
        held = np.zeros((len(observed), self.words), dtype=np.bool_)
        np.put_along_axis(held, observed, True, axis=1)
        return held

    def supports_on(self, device: str) -> "Law":
        """Returns `supports` in torch: one mark for each word of a set."""
        import torch

        def held(observed: Observed) -> "Tensor":
            sets = torch.from_numpy(np.asarray(observed, dtype=np.int64)).to(device)
            return torch.zeros(len(sets), self.words, dtype=torch.bool, device=device).scatter_(1, sets, True)

        return held


def sorted_samples(limit: int, size: int, count: int, source: RandomSource) -> NDArray[np.unsignedinteger]:
    """Returns `size` different numbers below the limit for each of count rows, sorted; uint16 below 2^16, else uint32.

    Each row draws numbers until so many differ: as many as are missing, again and again, so that it never has more.
    Exchanging two numbers changes none of this, so every set is exactly as likely.
    """
    samples = np.empty((count, size), dtype=np.uint16 if limit < 1 << 16 else np.uint32)  # one more is a word, and fits
    together = max(1, _BLOCK_DRAWS // size)
    for start in range(0, count, together):
        block = samples[start : start + together]
        block[:] = narrow_below(limit, block.size, source).reshape(block.shape)
        block.sort(axis=1)
        rows, places = _repeated(block)
        while rows.size:
            block[rows, places] = narrow_below(limit, rows.size, source)
            changed = np.unique(rows)
            renewed = np.sort(block[changed], axis=1)
            block[changed] = renewed
            rows, places = _repeated(renewed)
            rows = changed[rows]
    return samples


def _repeated(rows: NDArray[np.unsignedinteger]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns row and place of each number that equals the one before it, in sorted rows."""
    row, place = (rows[:, 1:] == rows[:, :-1]).nonzero()
    return row, place + 1
