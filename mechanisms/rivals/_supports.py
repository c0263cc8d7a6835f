"""Mechanisms that release an output which is likelier, by one factor, for the words whose support holds it.

The support of a word is a set of outputs. All are equally large, and any two share equally many outputs: randomized
response, subset selection, projective geometry (docs/theory.md, theorem 24).
"""

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.rivals._decoding import (
    Decoding,
    Scored,
    checked_server,
    decode,
    required_table,
)
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._draws import WIDE

if TYPE_CHECKING:  # the client imports no torch
    from mechanisms.device_channel import Law

BLOCK_ROWS = 256
MOST_NATS = 60.0
"""No 64-bit threshold has odds beyond e^60 of more than it can resolve."""


class SupportSpec(RivalSpec):
    """Base of the descriptions: an output of the word's support is released, or one outside it, uniform either way.

    words: how many words, or symbols, there are.
    """

    __slots__ = ()
    words: int

    @property
    def chance(self) -> Fraction:
        """The probability of an output of the support, a whole multiple of 2^-64: a 64-bit word decides."""
        raise NotImplementedError

    @property
    def share(self) -> Fraction:
        """The share of all outputs that a support holds."""
        raise NotImplementedError

    @property
    def common(self) -> Fraction:
        """The share of a support that lies in any other support."""
        raise NotImplementedError

    @property
    def log_odds(self) -> float:
        """Pure epsilon, nats: log of how much likelier a word of its support makes an output than any other word."""
        return math.log(self.chance * (1 - self.share) / ((1 - self.chance) * self.share))

    @property
    def capacity(self) -> float:
        """The most nats about a word that a release carries, under any prior.

        Attained by uniform words where every output lies in equally many supports: Ber(chance) from Ber(share).
        """
        p, q = float(self.chance), float(self.share)
        return p * math.log(p / q) + float(1 - self.chance) * math.log((1 - self.chance) / (1 - self.share))


def largest_inside(epsilon: float, share: Fraction, common: Fraction, delta: float = 0.0) -> int:
    """Returns the largest `inside` whose token epsilon at delta is at most this (nats), 2^64 - 1 at most.

    P[in the support alone] - delta <= e^epsilon P[in the other's alone], solved for inside; odds are rounded down.
    Raises UserError for an epsilon that is not above 0, or so small that 64 bits do not resolve it.
    """
    odds = Fraction(math.exp(min(positive("epsilon", epsilon), MOST_NATS)) * (1 - 2**-50))
    other = share * (1 - common) / (1 - share)  # of what is outside a support, what lies in another
    chance = (odds * other + Fraction(delta)) / (1 - common + odds * other)
    inside = min(WIDE - 1, math.floor(WIDE * chance))
    if inside < WIDE * share:
        raise UserError(f"Expected epsilon > 2^-50, which 64 bits resolve, got epsilon={epsilon}.")
    return inside


def checked_inside(inside: int, share: Fraction) -> None:
    """Raises UserError unless inside is a whole number from 2^64 share, which tells nothing, to 2^64 - 1."""
    whole("inside", inside, math.ceil(WIDE * share), WIDE - 1)


class PosteriorRead(Scored):
    """Base: a server that decodes by the exact posterior over the words.

    table: the server's embeddings, float32, shape (words, width); a client needs none. prior: the server's unigram
    prior, shape (words,), uniform if left out. decoding: posterior-mean or most-likely; a released set is no word, so
    there is nothing plain about it. Raises UserError for parts of another vocabulary.
    """

    def __init__(
        self,
        words: int,
        table: NDArray[np.float32] | None,
        prior: NDArray[np.float64] | None,
        decoding: Decoding,
        name: str,
    ) -> None:
        self.log_prior = checked_server(words, table, prior, decoding)
        if decoding == "plain":
            raise UserError("Expected decoding to be posterior-mean or most-likely, got 'plain': no word is released.")
        self.words, self.table, self.decoding, self.name = words, table, decoding, name

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns what was released of each token; raises UserError for a message of another mechanism."""
        raise NotImplementedError

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width).

        Raises UserError for a message of another mechanism, and where there is no table.
        """
        return decode(self, self.observed(message), self.log_prior, required_table(self.table), self.decoding)


class SupportMechanism(PosteriorRead):
    """Base of the mechanisms whose subclass says which supports hold an output."""

    spec: SupportSpec

    def supports(self, observed: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Returns whether each word's support holds each output, bool, shape (outputs, words)."""
        raise NotImplementedError

    def supports_on(self, device: str) -> "Law":
        """Returns `supports` in torch, its tensors on a device."""
        import torch

        return lambda observed: torch.from_numpy(self.supports(np.asarray(observed, dtype=np.int64))).to(device)

    def law_on(self, device: str) -> "Law":
        """Returns the law in torch (mechanisms.device_channel)."""
        held, log_odds = self.supports_on(device), self.spec.log_odds
        return lambda observed: held(observed).float().mul_(log_odds)

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed | word) + log_prior[word]), float32, shape (rows, words).

        Less the log-probability of an output outside a word's support, a constant of the observed.
        """
        outside = np.zeros(self.words) if log_prior is None else log_prior
        outside, inside = outside.astype(np.float32), (outside + self.spec.log_odds).astype(np.float32)
        for start in range(0, len(observed), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(observed)))
            yield rows, np.where(self.supports(np.asarray(observed[rows], dtype=np.int64)), inside, outside)
