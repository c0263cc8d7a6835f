"""Nearest neighbours: the paper's attack on decoded embeddings, and the same on codes. Here for comparison only.

Neither knows the channel's law, so neither is ever what a certificate rests on alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attacks.base import AttackerKnowledge, AttackOptions, TokenByToken
from attacks.ranking import DEPTH, Guesses, rank
from attacks.registry import version_of
from mechanisms.channel import BLOCK_ROWS
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer

Blocks = Iterator[tuple[slice, NDArray[np.float32]]]


@dataclass(frozen=True, slots=True)
class CosineNeighbour:
    """The words whose embeddings have the largest cosine with the decoded vector.

    DEL's vector comes from the linear decoder, whichever one serves; a rival's from its own.
    """

    name: str = "cosine nearest neighbour (the paper's)"
    version: int = version_of("cosine")
    context_free: ClassVar[bool] = True
    depth: int = DEPTH

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def fit(self, public: AttackerKnowledge) -> "CosineAttacker":
        """Returns the attacker."""
        return CosineAttacker(public, self.depth)


@dataclass(frozen=True, slots=True)
class CosineAttacker:
    """The attack on one mechanism."""

    public: AttackerKnowledge
    depth: int

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message."""
        if not messages:
            raise UserError("Expected at least one message to attack, got none.")
        decoded = [decoded_linearly(self.public, message) for message in messages]
        together = np.concatenate(decoded)
        ranked = rank(cosines(self.public.table, together), len(together), self.depth)
        return ranked.split([len(part) for part in decoded])


def decoded_linearly(public: AttackerKnowledge, message: bytes) -> NDArray[np.float32]:
    """Returns what the paper's server makes of a message, float32, shape (tokens, width)."""
    mechanism = public.mechanism
    if isinstance(mechanism, Pipeline):
        return mechanism.linear.decode(mechanism.observed(message))
    return mechanism.embeddings(message)


@dataclass(frozen=True, slots=True)
class CodeNeighbour:
    """The words whose codes are nearest to the dequantized release, in Euclidean distance. For DEL only."""

    name: str = "Euclidean nearest code"
    version: int = version_of("code")
    context_free: ClassVar[bool] = True
    depth: int = DEPTH

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def fit(self, public: AttackerKnowledge) -> TokenByToken:
        """Returns the attacker; raises UserError for a mechanism other than DEL."""
        mechanism = public.mechanism
        if not isinstance(mechanism, Pipeline):
            raise UserError(f"Expected DEL for the nearest code, got {mechanism.name!r}.")
        quantizer, codes = StochasticQuantizer(mechanism.spec), mechanism.encoder.codes.astype(np.float32)

        def guesses(counts: Observed) -> Guesses:
            return rank(nearness(codes, quantizer.dequantize(counts)), len(counts), self.depth)

        return TokenByToken(mechanism, guesses)


def cosines(table: NDArray[np.float32], decoded: NDArray[np.float32]) -> Blocks:
    """Yields (rows, cosine with each word's row times the decoded length): blocks of float32, shape (rows, words)."""
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return _products(decoded, (table / np.maximum(lengths, np.finfo(np.float32).tiny)).T, 0.0)


def nearness(codes: NDArray[np.float32], values: NDArray[np.float32]) -> Blocks:
    """Yields (rows, y.z - |z|^2 / 2), which falls as the distance of y from code z grows; shape (rows, words)."""
    return _products(values.astype(np.float32), np.ascontiguousarray(codes.T), -(codes**2).sum(axis=1) / 2)


def _products(left: NDArray[np.float32], right: NDArray[np.float32], offsets: NDArray[np.float32] | float) -> Blocks:
    for start in range(0, len(left), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(left)))
        yield rows, left[rows] @ right + offsets
