"""CusText (Chen et al., Findings of ACL 2023): words in groups of K, the exponential mechanism inside each group."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mechanisms.errors import UserError
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import RivalSpec, positive, whole
from mechanisms.rivals._points import Points
from mechanisms.rivals._rows import RowMechanism, public_hash, same_points


@dataclass(frozen=True, slots=True)
class CusTextSpec(RivalSpec):
    """CusText, completely.

    A word becomes one of its group with weight e^(epsilon u / 2), u = 1 - (distance - least) / (largest - least) over
    the distances from it to its group. epsilon: nats, between words of one group only. groups: hash of the groups.
    Raises UserError for values out of range.
    """

    kind: ClassVar[str] = "custext"
    epsilon: float
    words: int
    points: str
    groups: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        whole("words", self.words, 2, 1 << 24)

    @classmethod
    def over(cls, points: Points, groups: NDArray[np.int64], epsilon: float) -> Self:
        """Returns the spec over public points in groups, shape (words,)."""
        return cls(epsilon, points.words, points.sha256, public_hash(groups))


class CusText(RowMechanism):
    """The mechanism: what is sent is a word's number. Parameters and errors as of RowMechanism.

    groups: each word's group, int64, shape (words,).
    """

    def __init__(
        self,
        spec: CusTextSpec,
        points: Points | ArrayLike,
        groups: NDArray[np.int64],
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "plain",
        name: str = "CusText",
    ) -> None:
        super().__init__(same_points(Points.of(points), spec.words, spec.points), table, prior, decoding, name)
        self.spec: CusTextSpec = spec
        self.groups = groups
        if groups.shape != (spec.words,) or public_hash(groups) != spec.groups:
            raise UserError("Expected the groups that the spec names, got others.")

    def log_weights(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns epsilon (u - 1) / 2 inside each word's group, and -inf outside, shape (n, words)."""
        distances = self.points.distances(words)
        outside = self.groups != self.groups[words][:, None]
        largest = np.where(outside, -np.inf, distances).max(axis=1, keepdims=True)
        span = np.where(largest > 0, largest, 1)  # the least distance is that to itself, 0
        weights = distances * (-self.spec.epsilon / 2 / span)
        weights[outside] = -np.inf
        return np.asarray(weights)

    def log_columns(self, observed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns log P(observed word | word), float64, shape (observed, words), normalised word by word."""
        columns = np.full((len(observed), self.words), -np.inf)
        for group in np.unique(self.groups[observed]):
            members = np.flatnonzero(self.groups == group)
            rows = np.flatnonzero(self.groups[observed] == group)
            law = self.log_channel(members)
            columns[np.ix_(rows, members)] = law[:, observed[rows]].T
        return columns

    @property
    def log_weight_error(self) -> float:
        """Rounding of the distances, in nats, where no group is smaller than 2^20 times what rounding adds to it."""
        return self.spec.epsilon * 2.0**-20


def nearest_groups(points: Points, prior: NDArray[np.float64], size: int = 20) -> NDArray[np.int64]:
    """Returns the group of each word, int64, shape (words,): Algorithm 1 of the paper, whose K is 20.

    Words are taken most frequent first. One that is in no group yet makes one with the size - 1 nearest that are in
    none; the last group takes what is left. Raises UserError for a size outside 2..words.
    """
    whole("size", size, 2, points.words)
    groups = np.full(points.words, -1, dtype=np.int64)
    free = np.ones(points.words, dtype=np.bool_)
    vectors = points.vectors
    for word in np.argsort(-prior, kind="stable"):
        if not free[word]:
            continue
        candidates = np.flatnonzero(free)
        nearest = candidates
        if len(candidates) > size:
            offset = vectors[candidates].astype(np.float64) - vectors[word]
            squares = np.einsum("ij,ij->i", offset, offset)
            squares[candidates == word] = -1
            nearest = candidates[np.argpartition(squares, size - 1)[:size]]
        groups[nearest] = groups.max() + 1
        free[nearest] = False
    return groups
