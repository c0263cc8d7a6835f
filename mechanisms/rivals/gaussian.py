"""Gaussian noise on the clipped code, released as a cell of a fixed public grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, wide_words
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._sent import CellsSent, finite_rows

LAW_BITS = 62
"""A cell's probability is a whole multiple of 2^-62."""
LEAST = 1 << 24
"""The least such multiple: no cell is impossible, and flooring changes none by more than one part in 2^24."""
_CELLS_AT_ONCE = 1 << 20
_BLOCK_ROWS = 256
_KEPT_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class GaussianSpec(RivalSpec):
    """Gaussian noise and n-bit quantization, completely.

    A coordinate v, clipped to [-clip, clip], is released as the cell of v + N(0, sigma^2) in a grid of 2^bits equal
    cells over [-reach, reach], the outer two without end. The cell is drawn directly: its probability is a whole
    multiple of 2^-62 (docs/theory.md, theorem 19), so no rounding of noise can tell anything.
    bits: 1 to 8. dim: coordinates a token. clip, sigma, reach: in the unit of the codes. Raises UserError otherwise.
    """

    kind: ClassVar[str] = "gaussian"
    bits: int
    dim: int
    clip: float
    sigma: float
    reach: float

    def __post_init__(self) -> None:
        whole("bits", self.bits, 1, 8)
        whole("dim", self.dim, 1, 1 << 20)
        for name in ("clip", "sigma", "reach"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        if self.reach < self.sigma / 16:
            raise UserError(f"Expected reach >= sigma / 16 = {self.sigma / 16}, got reach={self.reach}.")

    @classmethod
    def of(cls, bits: int, dim: int, clip: float, sigma: float) -> Self:
        """Returns the spec whose grid reaches two standard deviations beyond the clip."""
        return cls(bits, dim, clip, sigma, positive("clip", clip) + 2 * positive("sigma", sigma))

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where cells meet, float64, shape (2^bits - 1,), symmetric about 0."""
        cells = 1 << self.bits
        return np.asarray((2 * np.arange(1, cells) - cells) * (self.reach / cells))

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each cell, float64, shape (2^bits,)."""
        cells = 1 << self.bits
        return np.asarray((2 * np.arange(cells) + 1 - cells) * (self.reach / cells))


def ideal_log_law(spec: GaussianSpec, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns log of the normal probability of each cell, float64, shape (*values.shape, 2^bits), tails included."""
    from scipy.special import log_ndtr  # takes 0.1 s, which a client over words does not need

    edges = (spec.edges - np.clip(values, -spec.clip, spec.clip)[..., None]) / spec.sigma
    ends = np.full((*edges.shape[:-1], 1), np.inf)
    low, high = np.concatenate([-ends, edges], axis=-1), np.concatenate([edges, ends], axis=-1)
    right = low > 0  # there, subtract upper tails
    low, high = np.where(right, -high, low), np.where(right, -low, high)
    upper, lower = log_ndtr(high), log_ndtr(low)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(upper + np.log(-np.expm1(lower - upper)))


def cell_law(spec: GaussianSpec, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the law that is sampled, whole multiples of 2^-62 that add up to 1, shape (*values.shape, 2^bits).

    Each is floor((2^62 - 2^bits 2^24) p) + 2^24 for the normal probability p: a mixture with the uniform law, so no
    cell has less than 2^24. What flooring leaves over goes to the likeliest cell.
    """
    from scipy.special import ndtr  # as above

    cells = 1 << spec.bits
    edges = (spec.edges - np.clip(values, -spec.clip, spec.clip)[..., None]) / spec.sigma
    lower, upper = ndtr(edges), ndtr(-edges)  # each tail to its own last digit
    first, last = lower[..., :1], upper[..., -1:]
    left, right = np.diff(lower, axis=-1), -np.diff(upper, axis=-1)
    inner = np.where(edges[..., :-1] > 0, right, left)
    shares = np.concatenate([first, inner, last], axis=-1)
    law = np.floor(shares * float((1 << LAW_BITS) - cells * LEAST)).astype(np.int64) + LEAST
    top = shares.argmax(axis=-1)[..., None]
    rest = (1 << LAW_BITS) - law.sum(axis=-1, keepdims=True)
    np.put_along_axis(law, top, np.take_along_axis(law, top, -1) + rest, -1)
    return law


class Gaussian(CellsSent):
    """The mechanism: what is sent is a cell a coordinate.

    codes: the public code of each word, shape (words, dim). table: the server's embeddings, float32, shape (words,
    width), needed there only. prior: the server's, uniform if left out. decoding: plain is the cells' centres, for a
    decoder of its own. Raises UserError for codes of another dim than the spec's, and for NaN or infinite codes.
    """

    spec: GaussianSpec

    def __init__(
        self,
        spec: GaussianSpec,
        codes: ArrayLike,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "Gaussian noise",
    ) -> None:
        self.spec, self.codes = spec, finite_rows(codes, spec.dim, "codes", "words")
        super().__init__(spec.bits, self.codes, table, prior, decoding, name)
        self._kept: dict[int, NDArray[np.float32]] = {}

    def quantize(self, values: ArrayLike, source: RandomSource) -> NDArray[np.uint8]:
        """Returns released cells, uint8, shape (n, dim): one 64-bit word a coordinate against the cumulated law.

        values: shape (n, dim), clipped first. Raises UserError for another shape, and for NaN or infinite values.
        """
        array = finite_rows(values, self.spec.dim)
        cells = np.empty(array.shape, dtype=np.uint8)
        rows = max(1, _CELLS_AT_ONCE // (self.spec.dim << self.spec.bits))
        for start in range(0, len(array), rows):
            block = array[start : start + rows]
            bounds = np.cumsum(cell_law(self.spec, block), axis=-1)[..., :-1]
            drawn = (wide_words(block.size, source) >> np.uint64(64 - LAW_BITS)).astype(np.int64).reshape(block.shape)
            cells[start : start + rows] = np.count_nonzero(drawn[..., None] >= bounds, axis=-1)
        return cells

    def centres(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the centres of cells, float64, the shape of the cells."""
        return self.spec.centres[cells]

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed cells | word) + log_prior[word]), float32, shape (rows, words)."""
        for start in range(0, len(observed), _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, len(observed)))
            block = np.zeros((rows.stop - rows.start, self.words), dtype=np.float32)
            if log_prior is not None:
                block += log_prior.astype(np.float32)
            for coordinate in range(self.spec.dim):
                block += self._log_law(coordinate)[observed[rows, coordinate]]
            yield rows, block

    def _log_law(self, coordinate: int) -> NDArray[np.float32]:
        """Returns log P(cell | word) of one coordinate, float32, shape (2^bits, words), kept where all of them fit."""
        if coordinate in self._kept:
            return self._kept[coordinate]
        law: NDArray[np.float32] = np.log(cell_law(self.spec, self.codes[:, coordinate]) * 2.0**-LAW_BITS).T.astype(
            "f4"
        )
        if 4 * self.codes.size << self.spec.bits <= _KEPT_BYTES:
            self._kept[coordinate] = law
        return law


def noise_multiplier(spec: GaussianSpec) -> float:
    """Returns sigma over the distance 2 clip sqrt(dim) of the two farthest codes."""
    return spec.sigma / (2 * spec.clip * math.sqrt(spec.dim))
