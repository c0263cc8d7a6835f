"""RANTEXT (Tong et al., arXiv 2310.12214), the perturbation of InferDPT: the exponential mechanism on a random list."""

import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.randomness import RandomSource, SimulatedRandomness, uniforms
from mechanisms.rivals._decoding import checked_table, required_table
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._draws import weighted_choices
from mechanisms.rivals._points import BLOCK_BYTES, Points
from mechanisms.rivals._rows import same_points, whole_weights
from mechanisms.rivals._sent import WordSent


def paper_rate(epsilon: float) -> float:
    """Returns the paper's Z(epsilon), which divides the noise that draws the radius (its appendix B).

    Fitted there to one word of one embedding: a knob for the list's length, which no proof of privacy uses.

    >>> round(paper_rate(6.0), 3), paper_rate(1.0)
    (9.383, 1.0)
    """
    inner = 19.064721649556482 * epsilon - 38.1294334077209
    return epsilon if epsilon < 2 or inner <= 0 else 0.01658160142016071 * math.log(inner) + 9.311083811697406


@dataclass(frozen=True, slots=True)
class RanTextSpec(RivalSpec):
    """RANTEXT, completely.

    A fresh Laplace vector is drawn, of scale range_j / rate in coordinate j, where range_j is how far the public points
    spread there; its norm is the radius r. Words nearer than r make the list, the word itself always among them, and
    one of them is released with weight e^(epsilon u / 2), u = 1 - distance / r.
    epsilon: nats, what the paper claims; what holds is in docs/theory.md, theorem 22. rate: the paper's Z(epsilon)
    unless given. words, points: size and hash of the public points. Raises UserError for values out of range.
    """

    kind: ClassVar[str] = "rantext"
    epsilon: float
    rate: float
    words: int
    points: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        object.__setattr__(self, "rate", positive("rate", self.rate))
        whole("words", self.words, 2, 1 << 24)

    @classmethod
    def over(cls, points: Points, epsilon: float, rate: float | None = None) -> Self:
        """Returns the spec over public points."""
        return cls(
            epsilon, paper_rate(positive("epsilon", epsilon)) if rate is None else rate, points.words, points.sha256
        )


class RanText(WordSent):
    """The mechanism: what is sent is a word's number; the server reads the released words' own embeddings.

    points: the public vectors. table: the server's embeddings, float32, shape (words, width), needed there only.
    Raises UserError for parts of another vocabulary than the spec's, or other points.
    """

    spec: RanTextSpec

    def __init__(
        self,
        spec: RanTextSpec,
        points: Points | ArrayLike,
        table: NDArray[np.float32] | None = None,
        name: str = "RANTEXT",
    ) -> None:
        self.points = same_points(Points.of(points), spec.words, spec.points)
        if table is not None:
            checked_table(table, spec.words)
        self.spec, self.table, self.name = spec, table, name
        self.scales: NDArray[np.float64] = np.ptp(self.points.vectors, axis=0).astype(np.float64) / spec.rate

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.spec.words

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,)."""
        radii = self.radii(len(tokens), source)
        released = np.empty(len(tokens), dtype=np.int64)
        step = max(1, BLOCK_BYTES // (8 * self.words))
        for start in range(0, len(tokens), step):
            distances = self.points.distances(tokens[start : start + step])
            for index, row in enumerate(distances, start):
                weights = whole_weights(self.log_weights(row, radii[index]), self.words)
                released[index] = weighted_choices(weights, 1, source)[0]
        return released

    def radii(self, count: int, source: RandomSource) -> NDArray[np.float64]:
        """Returns fresh radii, float64, shape (count,): norms of Laplace vectors, whose signs do not matter."""
        noise = -np.log(uniforms((count, len(self.scales)), source)) * self.scales
        return np.asarray(np.linalg.norm(noise, axis=1))

    def log_weights(self, distances: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
        """Returns -epsilon distance / (2 radius) on the list, -inf off it, the shape of the distances."""
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(distances < radius, -self.spec.epsilon / 2 * distances / radius, -np.inf)
        return np.where(distances == 0, 0.0, weights)

    def log_channel(self, words: NDArray[np.int64], radii: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Returns log P(released word | word), float64, shape (words given, words): an estimate, for attacks.

        The law is a mean over radii, which has no closed form; it is taken over these, or 256 simulated ones.
        """
        if radii is None:
            radii = self.radii(256, SimulatedRandomness(0, "rantext radii"))
        law = np.zeros((len(words), self.words))
        for index, distances in enumerate(self.points.distances(words)):
            for radius in radii:
                weights = np.exp(self.log_weights(distances, radius))
                law[index] += weights / (weights.sum() * len(radii))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(law))

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the released words' rows of the table, float32, shape (tokens, width).

        Raises UserError for a message of another mechanism, and where there is no table.
        """
        observed = self.observed(message)
        return required_table(self.table)[observed]
