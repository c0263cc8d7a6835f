"""k-ary randomized response over the vocabulary: a token's number is kept, or replaced by any other, all alike."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, wide_words
from mechanisms.rivals._decoding import Decoding, checked_prior, checked_server, required_table
from mechanisms.rivals._description import positive, whole
from mechanisms.rivals._draws import WIDE
from mechanisms.rivals._sent import WordSent
from mechanisms.rivals._supports import SupportSpec
from mechanisms.table_sums import weighted_sum

if TYPE_CHECKING:  # the client imports no torch
    from torch import Tensor

    from mechanisms.device_channel import Law

MAX_WORDS = 1 << 24
_BLOCK_ROWS = 256


@dataclass(frozen=True, slots=True)
class RandomizedResponseSpec(SupportSpec):
    """k-ary randomized response (Kairouz, Oh and Viswanath, arXiv 1407.1338), completely.

    Each of the other words is released with probability weight / 2^64, the true one with all that is left: the law is
    exactly that, by one comparison and one division of a uniform 64-bit word (docs/theory.md, theorem 18).
    words: 2 to 2^24. weight: 1 to floor(2^64 / words). Raises UserError for values outside these ranges.
    """

    kind: ClassVar[str] = "randomized response"
    words: int
    weight: int

    def __post_init__(self) -> None:
        whole("words", self.words, 2, MAX_WORDS)
        whole("weight", self.weight, 1, WIDE // self.words)

    @classmethod
    def from_epsilon(cls, words: int, epsilon: float) -> Self:
        """Returns the least noisy spec whose pure epsilon (nats) is at most this: the least weight that suffices.

        Beyond 44.3 nats the weight is 1 and the spec's epsilon stays there. Raises UserError for an epsilon that
        is not above 0, or so small that 64 bits do not resolve it.
        """
        whole("words", words, 2, MAX_WORDS)
        odds = Fraction(math.exp(min(positive("epsilon", epsilon), 60.0)) * (1 - 2**-50))  # no more than e^epsilon
        weight = -(-WIDE // (odds + words - 1))
        if weight > WIDE // words:
            raise UserError(f"Expected epsilon > {words * words / WIDE:.3g} for {words} words, got epsilon={epsilon}.")
        return cls(words, int(weight))

    @property
    def kept(self) -> int:
        """The weight of the true word, of 2^64."""
        return WIDE - self.weight * (self.words - 1)

    @property
    def chance(self) -> Fraction:
        """The probability of the true word: its support is the word itself."""
        return Fraction(self.kept, WIDE)

    @property
    def share(self) -> Fraction:
        """One word of all."""
        return Fraction(1, self.words)

    @property
    def common(self) -> Fraction:
        """None: no word is another."""
        return Fraction(0)


@dataclass(frozen=True)
class RandomizedResponse(WordSent):
    """The mechanism: what is sent is a word's number.

    table: the server's embeddings, float32, shape (words, width); a client needs none. prior: the server's unigram
    prior, shape (words,), uniform if left out. decoding: what the server makes of a number; plain is the released
    word's own row.
    """

    spec: RandomizedResponseSpec
    table: NDArray[np.float32] | None = None
    prior: NDArray[np.float64] | None = None
    decoding: Decoding = "posterior-mean"
    name: str = "randomized response"

    def __post_init__(self) -> None:
        checked_server(self.spec.words, self.table, self.prior, self.decoding)

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.spec.words

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,), one 64-bit word each."""
        drawn = wide_words(len(tokens), source)
        kept = np.uint64(self.spec.kept)
        other = ((drawn - np.minimum(kept, drawn)) // np.uint64(self.spec.weight)).astype(np.int64)
        return np.where(drawn < kept, tokens, other + (other >= tokens))

    def log_channel(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns log P(released word | word), float64, shape (words given, words)."""
        rows = np.full((len(words), self.spec.words), math.log(self.spec.weight) - math.log(WIDE))
        rows[np.arange(len(words)), words] = math.log(self.spec.kept / WIDE)
        return rows

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed | word) + log_prior[word]), float32, shape (rows, words)."""
        for start in range(0, len(observed), _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, len(observed)))
            block = self.log_channel(np.asarray(observed[rows], dtype=np.int64))
            yield rows, (block if log_prior is None else block + log_prior).astype(np.float32)

    def law_on(self, device: str) -> "Law":
        """Returns the law in torch (mechanisms.device_channel)."""
        import torch

        other = math.log(self.spec.weight) - math.log(WIDE)
        own = math.log(self.spec.kept / WIDE)

        def law(observed: Observed) -> "Tensor":
            released = torch.from_numpy(np.asarray(observed, dtype=np.int64)).to(device)
            scores = torch.full((len(released), self.spec.words), other, dtype=torch.float32, device=device)
            return scores.scatter_(1, released[:, None], own)

        return law

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width), in closed form.

        The posterior weighs the released word with kept - weight and every word's prior with weight. Raises UserError
        for a message of another mechanism, and where there is no table.
        """
        observed, table = self.observed(message), required_table(self.table)
        if self.decoding == "plain":
            return table[observed]
        log_prior = checked_prior(self.prior, self.spec.words)
        prior = np.exp(log_prior)
        own = (self.spec.kept - self.spec.weight) / self.spec.weight * prior[observed][:, None]
        if self.decoding == "most-likely":
            commonest = int(prior.argmax())
            released = own[:, 0] + prior[observed] >= prior[commonest]
            return table[np.where(released, observed, commonest)]
        return ((own * table[observed] + weighted_sum(table, prior)) / (own + 1)).astype(np.float32)
