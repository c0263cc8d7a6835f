"""The exponential mechanism over the vocabulary: near words are likelier, every word is possible."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._points import Points
from mechanisms.rivals._rows import RowMechanism, same_points


@dataclass(frozen=True, slots=True)
class ExponentialSpec(RivalSpec):
    """The exponential mechanism (McSherry and Talwar, FOCS 2007) with utility -min(distance / scale, 1), completely.

    The utility lies in [-1, 0], so its sensitivity is at most 1 and the weight e^(epsilon utility / 2) gives epsilon.
    epsilon: nats. scale: the distance from which words are as unlikely as can be; public, such as the diameter of the
    points. words, points: size and hash of the public points. Raises UserError for values out of range.
    """

    kind: ClassVar[str] = "exponential"
    epsilon: float
    scale: float
    words: int
    points: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        object.__setattr__(self, "scale", positive("scale", self.scale))
        whole("words", self.words, 2, 1 << 24)

    @classmethod
    def over(cls, points: Points, epsilon: float, scale: float | None = None) -> Self:
        """Returns the spec over public points; the scale is a bound on their diameter where it is left out."""
        return cls(epsilon, points.diameter_bound if scale is None else scale, points.words, points.sha256)


class Exponential(RowMechanism):
    """The mechanism: what is sent is a word's number. Parameters and errors as of RowMechanism."""

    def __init__(
        self,
        spec: ExponentialSpec,
        points: Points | ArrayLike,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "exponential mechanism",
    ) -> None:
        super().__init__(same_points(Points.of(points), spec.words, spec.points), table, prior, decoding, name)
        self.spec: ExponentialSpec = spec

    def log_weights(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns -epsilon min(distance / scale, 1) / 2, shape (n, words)."""
        distances = self.points.distances(words)
        np.minimum(distances, self.spec.scale, out=distances)
        distances *= -self.spec.epsilon / (2 * self.spec.scale)
        return distances

    @property
    def log_weight_error(self) -> float:
        """Rounding of the distances, in nats."""
        return self.spec.epsilon / (2 * self.spec.scale) * self.points.distance_error + 1e-12 * self.spec.epsilon
