"""d_chi (metric) privacy: multivariate Laplace noise on a vector, released as cells of a fixed public grid."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from mechanisms.errors import UserError
from mechanisms.finite import shape_and_values
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource, uniforms
from mechanisms.rivals._decoding import Decoding, checked_decoding, checked_prior, checked_table, decode
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._message import MessageFormat, grid_format
from mechanisms.tokens import checked_tokens

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


class Metric:
    """The mechanism: what is sent is a cell a coordinate.

    points: the public vector of each word, shape (words, dim): embeddings or codes. table: the server's embeddings,
    float32, shape (words, width), needed there only. prior: the server's, uniform if left out. decoding: plain is the
    cells' centres, which are noisy embeddings where the points are the table; most-likely under a uniform prior is
    the nearest word, as Feyisetan et al. send it. Raises UserError for points of another dim, or not finite.
    """

    def __init__(
        self,
        spec: MetricSpec,
        points: ArrayLike,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "metric privacy",
    ) -> None:
        array = np.asarray(points, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != spec.dim or not np.isfinite(array).all():
            raise UserError(f"Expected finite points of shape (words, dim={spec.dim}), got {shape_and_values(array)}.")
        checked_decoding(decoding)
        self.spec, self.table, self.decoding, self.name = spec, table, decoding, name
        self.points = clipped(array, spec.radius)
        self.log_prior = checked_prior(prior, self.words)
        if table is not None:
            checked_table(table, self.words)

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return len(self.points)

    @property
    def format(self) -> MessageFormat:
        """The message's layout."""
        return grid_format(self.spec.fingerprint, self.spec.dim, self.spec.bits)

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.format.pack(self.quantize(self.points[checked_tokens(tokens, self.words)], source))

    def quantize(self, values: ArrayLike, source: RandomSource) -> NDArray[np.uint16]:
        """Returns released cells, uint16, shape (n, dim).

        values: shape (n, dim), clipped first. Raises UserError for another shape, and for NaN or infinite values.
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 2 or array.shape[1] != self.spec.dim or not np.isfinite(array).all():
            raise UserError(f"Expected finite values of shape (n, dim={self.spec.dim}), got {shape_and_values(array)}.")
        array = clipped(array, self.spec.radius)
        half = 1 << (self.spec.bits - 1)
        cells = np.empty(array.shape, dtype=np.uint16)
        rows = max(1, _DRAWS_AT_ONCE // self.spec.dim)
        for start in range(0, len(array), rows):
            block = array[start : start + rows]
            noisy = block + noise(len(block), self.spec.dim, self.spec.eta, source)
            cells[start : start + rows] = np.clip(np.floor(noisy * (half / self.spec.reach)) + half, 0, 2 * half - 1)
        return cells

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns the released cells of a message, int64, shape (tokens, dim); raises UserError as unpack does."""
        return self.format.unpack(message)

    def values(self, message: bytes) -> NDArray[np.float32]:
        """Returns the centres of the released cells, float32, shape (tokens, dim), for a decoder of one's own."""
        return self._centres(self.observed(message)).astype(np.float32)

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, -eta distance + log_prior[word]), float32, shape (rows, words).

        The noise's density at the cells' centres, up to a constant: the cells' law itself has no closed form.
        """
        squares = np.einsum("ij,ij->i", self.points, self.points)
        for start in range(0, len(observed), _BLOCK_ROWS):
            rows = slice(start, min(start + _BLOCK_ROWS, len(observed)))
            centres = self._centres(observed[rows])
            block = squares - 2 * centres @ self.points.T + np.einsum("ij,ij->i", centres, centres)[:, None]
            block = -self.spec.eta * np.sqrt(np.maximum(block, 0))
            yield rows, (block if log_prior is None else block + log_prior).astype(np.float32)

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns one embedding a token, float32, shape (tokens, width), or the cells' centres where decoding is plain.

        Raises UserError for a message of another mechanism, and where there is no table.
        """
        if self.decoding == "plain":
            return self.values(message)
        observed = self.observed(message)
        if self.table is None:
            raise UserError("Expected an embedding table at the server, got table=None.")
        return decode(self, observed, self.log_prior, self.table, self.decoding)

    def _centres(self, cells: Observed) -> NDArray[np.float64]:
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
    radius = -np.log(uniforms((count, dim), source)).sum(axis=1, keepdims=True) / eta
    direction = ndtri(uniforms((count, dim), source))
    return np.asarray(direction * (radius / np.linalg.norm(direction, axis=1, keepdims=True)))
