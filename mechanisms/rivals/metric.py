"""d_chi (metric) privacy: multivariate Laplace noise on a vector, released as cells of a fixed public grid."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, uniforms
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._sent import CellsSent, finite_rows

_BLOCK_ROWS = 256
_DRAWS_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class MetricSpec(RivalSpec):
    """Noise of density proportional to e^(-eta norm) (Feyisetan et al., WSDM 2020; Split-and-Denoise), completely.

    A vector is scaled down to norm `radius` at most. The noise has a norm drawn once a vector, Gamma(dim, 1 / eta), and
    a uniform direction. Each coordinate of the sum is released as its cell among 2^bits equal cells over
    [-reach, reach], the outer two without end. eta: nats for each unit of distance. bits: 1 to 16. Raises UserError
    otherwise.
    """

    kind: ClassVar[str] = "metric"
    bits: int
    dim: int
    radius: float
    eta: float
    reach: float

    def __post_init__(self) -> None:
        whole("bits", self.bits, 1, 16)
        whole("dim", self.dim, 1, 1 << 20)
        for name in ("radius", "eta", "reach"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))

    @classmethod
    def of(cls, bits: int, dim: int, radius: float, eta: float) -> Self:
        """Returns the spec whose grid holds most vectors with their noise.

        It reaches three standard deviations of a random vector's coordinate, two of the noise's, sqrt(dim + 1) / eta.
        """
        whole("dim", dim, 1, 1 << 20)
        signal = positive("radius", radius) * min(1.0, 3 / math.sqrt(dim))
        return cls(bits, dim, radius, eta, signal + 2 * math.sqrt(dim + 1) / positive("eta", eta))

    @property
    def diameter(self) -> float:
        """The largest distance of two clipped vectors."""
        return 2 * self.radius


class Metric(CellsSent):
    """The mechanism: what is sent is a cell a coordinate.

    points: the public vector of each word, shape (words, dim): embeddings or codes. table: the server's embeddings,
    float32, shape (words, width), needed there only. prior: the server's, uniform if left out. decoding: plain is the
    cells' centres, which are noisy embeddings where the points are the table; most-likely under a uniform prior is
    the nearest word, as Feyisetan et al. send it. Raises UserError for points of another dim, or not finite.
    """

    spec: MetricSpec

    def __init__(
        self,
        spec: MetricSpec,
        points: ArrayLike,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "metric privacy",
    ) -> None:
        self.spec = spec
        self.points = clipped(finite_rows(points, spec.dim, "points", "words"), spec.radius)
        super().__init__(spec.bits, self.points, table, prior, decoding, name)

    def quantize(self, values: ArrayLike, source: RandomSource) -> NDArray[np.uint16]:
        """Returns released cells, uint16, shape (n, dim).

        values: shape (n, dim), clipped first. Raises UserError for another shape, and for NaN or infinite values.
        """
        array = clipped(finite_rows(values, self.spec.dim), self.spec.radius)
        half = 1 << (self.spec.bits - 1)
        cells = np.empty(array.shape, dtype=np.uint16)
        rows = max(1, _DRAWS_AT_ONCE // self.spec.dim)
        for start in range(0, len(array), rows):
            block = array[start : start + rows]
            noisy = block + noise(len(block), self.spec.dim, self.spec.eta, source)
            cells[start : start + rows] = np.clip(np.floor(noisy * (half / self.spec.reach)) + half, 0, 2 * half - 1)
        return cells

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, -eta distance + log_prior[word]), float32, shape (rows, words).

        The noise's density at the cells' centres, up to a constant: the cells' law itself has no closed form.
        """
        squares = np.einsum("ij,ij->i", self.points, self.points)
        for start in range(0, len(observed), _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, len(observed)))
            centres = self.centres(np.asarray(observed[rows], dtype=np.int64))
            block = squares - 2 * centres @ self.points.T + np.einsum("ij,ij->i", centres, centres)[:, None]
            block = -self.spec.eta * np.sqrt(np.maximum(block, 0))
            yield rows, (block if log_prior is None else block + log_prior).astype(np.float32)

    def centres(self, cells: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the centres of cells, float64, the shape of the cells."""
        half = 1 << (self.spec.bits - 1)
        return np.asarray((cells + 0.5 - half) * (self.spec.reach / half))


def clipped(vectors: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Returns vectors scaled down to norm radius at most, up to one rounding."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors * np.minimum(1, radius / np.where(norms > 0, norms, 1))


def noise(count: int, dim: int, eta: float, source: RandomSource) -> NDArray[np.float64]:
    """Returns vectors of density proportional to e^(-eta norm), float64, shape (count, dim).

    The norm is a sum of dim exponentials, one radius for the whole vector; the direction a normalised normal vector.
    """
    from scipy.special import ndtri  # takes 0.1 s, which a client over words does not need

    radius = -np.log(uniforms((count, dim), source)).sum(axis=1, keepdims=True) / eta
    direction = ndtri(uniforms((count, dim), source))
    return np.asarray(direction * (radius / np.linalg.norm(direction, axis=1, keepdims=True)))
