"""The claim of a word mechanism, and the exact law of the noise in each of its outputs."""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from del_audit.evidence.verification.binomial import Counts
from mechanisms.errors import UserError
from mechanisms.registry import imported, mechanism_of
from mechanisms.rivals._projective import normalised, points_of, ranks_of
from mechanisms.rivals._supports import SupportSpec
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec, Inner, InnerSpec
from mechanisms.rivals.projective_geometry import ProjectiveGeometrySpec
from mechanisms.rivals.subset_selection import SubsetSelectionSpec

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class WordLaw:
    """What a client of a word mechanism is held to.

    mechanism: the reference, which knows the messages. symbols: what is released of each word, int64, shape (words,):
    the word itself, or its symbol. numbers, limit: an output is so many numbers below the limit, which rise. flat:
    whether an answer has one number a token, shape (n,), and no sets, shape (n, numbers).
    chance, off: that an output lies in the support of its word, and in that of a word of another symbol.

    An output tells whether it lies inside its word's support, and which it is of those inside or outside. The second is
    noise: `sizes` different numbers below `limits`, all alike whatever the word, for outputs (outside, inside).
    """

    mechanism: Inner | CoarseWords
    symbols: Counts
    numbers: int
    limit: int
    flat: bool
    chance: float
    off: float
    limits: tuple[int, int]
    sizes: tuple[int, int]

    @classmethod
    def of(cls, spec: SupportSpec, symbols: Counts | None = None) -> "WordLaw":
        """Returns the law of a description. symbols: each word's, shape (words,), of coarse words alone.

        Raises UserError for symbols without coarse words and the other way round, and for those of another map.
        """
        if isinstance(spec, CoarseWordsSpec):
            if symbols is None:
                raise UserError("Expected a map of words to symbols with coarse words, got none: give --symbols FILE.")
            mechanism: Inner | CoarseWords = CoarseWords(spec, symbols)
            return cls._over(spec.inner, mechanism, symbols.astype(np.int64))
        row = mechanism_of(spec)
        if row is None or not isinstance(spec, InnerSpec):
            raise UserError(f"Expected the spec of a word mechanism with supports, got {type(spec).__name__}.")
        if symbols is not None:
            raise UserError(f"Expected a map of symbols with coarse words alone, got one with {row.key}: leave it out.")
        return cls._over(spec, imported(row.made_by)(spec), np.arange(spec.words))

    @classmethod
    def _over(cls, inner: InnerSpec, mechanism: Inner | CoarseWords, symbols: Counts) -> "WordLaw":
        outside = inner.share * (1 - inner.common) / (1 - inner.share)
        chances = float(inner.chance), float(inner.chance * inner.common + (1 - inner.chance) * outside)
        if isinstance(inner, ProjectiveGeometrySpec):
            points, free = inner.points, inner.order ** (inner.dimension - 1)
            return cls(mechanism, symbols, 1, points, True, *chances, (free, points - free), (1, 1))
        size, flat = (inner.size, False) if isinstance(inner, SubsetSelectionSpec) else (1, True)
        limits, sizes = (inner.words - 1, inner.words - 1), (size, size - 1)
        return cls(mechanism, symbols, size, inner.words, flat, *chances, limits, sizes)

    @property
    def spec(self) -> SupportSpec:
        """The description."""
        return self.mechanism.spec

    @property
    def inner(self) -> InnerSpec:
        """The description of what releases the symbols."""
        return self.spec.inner if isinstance(self.spec, CoarseWordsSpec) else self.spec  # type: ignore[return-value]

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self.symbols)

    @property
    def repeated(self) -> float:
        """The chance that the noise of two releases is the same, whatever their words."""
        inside, chances = self.mechanism.spec.chance, []
        for weight, limit, size in zip((1 - inside, inside), self.limits, self.sizes, strict=True):
            choices = gammaln(limit + 1) - gammaln(size + 1) - gammaln(limit - size + 1)
            chances.append(float(Fraction(weight)) ** 2 * math.exp(-choices))
        return sum(chances)

    def opened(self, message: bytes) -> Counts:
        """Returns what a message carries, int64, shape (tokens, numbers); raises UserError as unpack does."""
        return self.mechanism.format.unpack(message)

    def shaped(self, outputs: Counts) -> Counts:
        """Returns outputs, shape (tokens, numbers), as a client answers with them."""
        return outputs[:, 0] if self.flat else outputs

    def noise(self, words: Counts, outputs: Counts) -> tuple[Mask, NDArray[np.integer]]:
        """Returns which outputs lie in the supports of words, shape (n,), and their noise, shape (n, numbers).

        outputs: shape (n, numbers). A word's own place in a set carries no noise: it is -1.
        """
        symbols = self.symbols[words]
        if isinstance(self.inner, ProjectiveGeometrySpec):
            return self._of_points(self.inner, symbols, outputs[:, 0])
        hit = outputs == symbols[:, None]
        drawn = np.where(hit, -1, outputs - (outputs > symbols[:, None]))
        return np.asarray(hit.any(axis=1)), drawn.astype(np.int32)

    def _of_points(self, spec: ProjectiveGeometrySpec, planes: Counts, points: Counts) -> tuple[Mask, Counts]:
        """Returns `noise` for points: without the plane's pivot, what is inside is a point, else a free vector."""
        x, y = (points_of(ranks, spec.dimension, spec.order) for ranks in (planes, points))
        product = (x * y).sum(axis=0) % spec.order
        others = np.arange(spec.dimension)[:, None] != (x != 0).argmax(axis=0)
        free = y.T[others.T].reshape(len(points), spec.dimension - 1).T
        scaled = normalised(np.vstack([product, free]), spec.order)[1:]
        inside, vector = product == 0, np.zeros(len(points), dtype=np.int64)
        for coordinate in scaled:
            vector = vector * spec.order + coordinate
        return inside, np.where(inside, ranks_of(scaled, spec.order), vector)[:, None]
