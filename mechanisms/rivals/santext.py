"""SanText and SanText+ (Yue et al., Findings of ACL 2021): the exponential mechanism with plain distances."""

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
class SanTextSpec(RivalSpec):
    """SanText where every word is sensitive, SanText+ otherwise, completely.

    A sensitive word becomes a sensitive one with weight e^(-epsilon distance / 2). Any other word is kept with
    probability 1 - p, and with probability p becomes a sensitive word by the same weights. So epsilon is in nats for
    each unit of distance (metric privacy), between sensitive words only: a word that is kept is not protected at all.
    sensitive: hash of which words are. p: in [0, 1], 1 where every word is sensitive. Raises UserError for values out
    of range.
    """

    kind: ClassVar[str] = "santext"
    epsilon: float
    words: int
    points: str
    sensitive: str
    p: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", positive("epsilon", self.epsilon))
        whole("words", self.words, 2, 1 << 24)
        if isinstance(self.p, bool) or not isinstance(self.p, (int, float)) or not 0 <= self.p <= 1:
            raise UserError(f"Expected p in [0, 1], got p={self.p!r}.")
        object.__setattr__(self, "p", float(self.p))

    @classmethod
    def over(cls, points: Points, epsilon: float) -> Self:
        """Returns SanText over public points: every word is sensitive."""
        return cls(epsilon, points.words, points.sha256, public_hash(np.ones(points.words, dtype=np.bool_)), 1.0)

    @classmethod
    def plus(cls, points: Points, epsilon: float, sensitive: NDArray[np.bool_], p: float = 0.2) -> Self:
        """Returns SanText+ over public points: p of the uses of words that are not sensitive change."""
        return cls(epsilon, points.words, points.sha256, public_hash(sensitive), p)


class SanText(RowMechanism):
    """The mechanism: what is sent is a word's number. Parameters and errors as of RowMechanism.

    sensitive: which words are, bool, shape (words,); all if left out.
    """

    def __init__(
        self,
        spec: SanTextSpec,
        points: Points | ArrayLike,
        sensitive: NDArray[np.bool_] | None = None,
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "plain",
        name: str = "SanText",
    ) -> None:
        super().__init__(same_points(Points.of(points), spec.words, spec.points), table, prior, decoding, name)
        self.spec: SanTextSpec = spec
        self.sensitive = np.ones(spec.words, dtype=np.bool_) if sensitive is None else sensitive
        if self.sensitive.shape != (spec.words,) or public_hash(self.sensitive) != spec.sensitive:
            raise UserError("Expected the sensitive words that the spec names, got others.")

    def log_weights(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the logarithm of each row's law, up to a constant, shape (n, words)."""
        weights = self._metric_weights(words)
        others = np.flatnonzero(~self.sensitive[words])
        if others.size:
            with np.errstate(divide="ignore"):
                moved, kept = np.log(self.spec.p), np.log1p(-self.spec.p)
            weights[others] += moved - np.logaddexp.reduce(weights[others], axis=1, keepdims=True)
            weights[others, words[others]] = kept
            weights[others] -= weights[others].max(axis=1, keepdims=True)
        return weights

    def log_columns(self, observed: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns log P(observed word | word), float64, shape (observed, words)."""
        if self.sensitive.all():
            return super().log_columns(observed)
        columns = self.points.distances(observed)
        columns *= -self.spec.epsilon / 2
        columns -= self._metric_totals
        with np.errstate(divide="ignore"):
            columns[:, ~self.sensitive] += np.log(self.spec.p)
            kept = np.flatnonzero(~self.sensitive[observed])
            columns[kept] = -np.inf
            columns[kept, observed[kept]] = np.log1p(-self.spec.p)
        return columns

    def _metric_weights(self, words: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns -epsilon distance / 2 to sensitive words less the row's largest, and -inf to others."""
        weights = self.points.distances(words)
        weights *= -self.spec.epsilon / 2
        weights[:, ~self.sensitive] = -np.inf
        return np.asarray(weights - weights.max(axis=1, keepdims=True))

    @property
    def _metric_totals(self) -> NDArray[np.float64]:
        """Logarithm of the sum of e^(-epsilon distance / 2) over sensitive words, shape (words,), kept once made."""
        if "_totals" not in self.__dict__:
            totals = []
            for words in self.points.blocks():
                distances = self.points.distances(words)[:, self.sensitive]
                totals.append(np.logaddexp.reduce(-self.spec.epsilon / 2 * distances, axis=1))
            self.__dict__["_totals"] = np.concatenate(totals)
        kept: NDArray[np.float64] = self.__dict__["_totals"]
        return kept

    @property
    def log_weight_error(self) -> float:
        """Rounding of the distances, in nats; twice, since rows of words that are not sensitive are normalised."""
        largest = float(self.points.diameter_bound)
        return self.spec.epsilon * (self.points.distance_error + 1e-12 * largest)


def rarest(prior: NDArray[np.float64], share: float = 0.5) -> NDArray[np.bool_]:
    """Returns which words are sensitive, bool, shape (words,): that share of the vocabulary, the rarest in public text.

    Half is what the authors' code takes, with p = 0.2. Raises UserError for a share outside (0, 1].
    """
    if not 0 < share <= 1:
        raise UserError(f"Expected share in (0, 1], got share={share}.")
    sensitive = np.zeros(len(prior), dtype=np.bool_)
    sensitive[np.argsort(prior, kind="stable")[: max(1, round(share * len(prior)))]] = True
    return sensitive
