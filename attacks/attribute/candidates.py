"""The probes that are tried on each kind of view: what prepares its rows, and the classifiers after that.

Whatever is learned from rows (vocabularies, frequencies, scales, directions) is learned by `fit`, from the rows that
it is given and no others.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from attacks.attribute.attention import AttentionProbe
from attacks.attribute.channel_bayes import ChannelBayes, ClassExcess, Labels
from attacks.attribute.posteriors import Rows, TokenPosteriors

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Inverse penalties C of logistic regression on scaled numbers."""
TEXT_STRENGTHS = (0.3, 3.0)
"""The same on rows of TF-IDF, which have norm 1."""
PENALTIES = (0.3, 10.0)
"""alpha of the multilayer perceptron."""
SMOOTHINGS = (0.03, 0.3)
"""Pseudo-counts of naive Bayes."""
PRIOR_TOKENS = (100.0, 300.0, 1000.0, 3000.0)
"""Tokens of the prior that are added to each class's text, in naive Bayes through the channel."""
BINS = 32
"""Values of a number that the boosted trees tell apart."""
NARROW = 32
"""Widest rows that trees and the perceptron see: wider ones are projected on their largest directions first."""
WIDE = 192
"""Widest rows that logistic regression sees."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One classifier at one strength. name: the kind. make: an unfitted one, balanced over classes."""

    name: str
    strength: str
    make: Callable[[], ClassifierMixin]


@dataclass(frozen=True, slots=True)
class Family:
    """Candidates that share what prepares their rows. prepare: makes an unfitted transformer; None changes nothing."""

    prepare: Callable[[], TransformerMixin] | None
    candidates: tuple[Candidate, ...]


def families(rows: Rows, seed: int) -> tuple[Family, ...]:
    """Returns what is tried on a view, by the kind of its rows. seed: of the forests' and networks' random starts."""
    nonlinear = (*_boosting(seed), *_perceptrons(seed))
    if issparse(rows):
        return _of_words(SoftTfidf, nonlinear, seed)
    if rows.dtype != object:
        return (
            Family(lambda: make_pipeline(StandardScaler(), Projected(WIDE, seed)), _linear(STRENGTHS)),
            Family(lambda: make_pipeline(StandardScaler(), Projected(NARROW, seed), StandardScaler()), nonlinear),
        )
    if isinstance(rows[0], str):
        return _of_words(_text_tfidf, nonlinear, seed)
    if isinstance(rows[0], TokenPosteriors):
        return (Family(ClassExcess, _channel_bayes()),)
    return (Family(None, (Candidate("attention", "", lambda: AttentionProbe(seed)),)),)


def _of_words(weigh: Callable[[], TransformerMixin], nonlinear: tuple[Candidate, ...], seed: int) -> tuple[Family, ...]:
    """Returns what is tried on words, however they are weighed."""
    return (
        Family(weigh, _linear(TEXT_STRENGTHS) + _bayes()),
        Family(lambda: make_pipeline(weigh(), Projected(NARROW, seed), StandardScaler()), nonlinear),
    )


class SoftTfidf(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """TF-IDF of expected counts: log(1 + count) times ln((1 + n) / (1 + df)) + 1, each row scaled to norm 1.

    df: the sum over rows of min(1, expected count), which for whole counts is the number of rows with the word.
    """

    def fit(self, rows: csr_array, labels: Labels | None = None) -> Self:
        """Learns the words' frequencies."""
        frequency = np.asarray(rows.minimum(1.0).sum(axis=0), dtype=np.float64).ravel()
        self.weights_ = np.log((1 + rows.shape[0]) / (1 + frequency)) + 1
        return self

    def transform(self, rows: csr_array) -> csr_array:
        """Returns the weighted rows, sparse."""
        weighted = rows.astype(np.float64, copy=True)
        weighted.data = np.log1p(weighted.data) * self.weights_[weighted.indices]
        scaled: csr_array = normalize(weighted)
        return scaled


class Projected(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Rows on their directions of largest variance, at most `width` of them; narrower rows stay as they are."""

    def __init__(self, width: int, seed: int) -> None:
        self.width = width
        self.seed = seed

    def fit(self, rows: NDArray[np.float64] | csr_array, labels: Labels | None = None) -> Self:
        """Learns the directions."""
        width = min(self.width, rows.shape[0] - 1)
        self.model_ = None
        if rows.shape[1] > width:
            kind = TruncatedSVD if issparse(rows) else PCA
            self.model_ = kind(width, random_state=self.seed).fit(rows)
        return self

    def transform(self, rows: NDArray[np.float64] | csr_array) -> NDArray[np.float64]:
        """Returns the projected rows, dense."""
        if self.model_ is None:
            return rows if isinstance(rows, np.ndarray) else rows.toarray()
        projected: NDArray[np.float64] = self.model_.transform(rows)
        return projected


class QuantileBins(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Each number as the bin that it falls into, of BINS that hold equally many of the fitted rows."""

    def fit(self, rows: NDArray[np.float64], labels: Labels | None = None) -> Self:
        """Learns where the bins end."""
        self.ends_ = np.quantile(rows, np.linspace(0, 1, BINS + 1)[1:-1], axis=0)
        return self

    def transform(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the bins, float64, the rows' shape."""
        pairs = zip(self.ends_.T, rows.T, strict=True)
        return np.stack([np.searchsorted(ends, column, "right") for ends, column in pairs], axis=1).astype(np.float64)


class BalancedPerceptron(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A perceptron of one hidden layer whose probabilities are for classes of equal size."""

    def __init__(self, penalty: float, seed: int) -> None:
        self.penalty = penalty
        self.seed = seed

    def fit(self, rows: Rows, labels: Labels) -> Self:
        """Learns the weights; the rows alone end it, since a random part set aside could hold a row's own copies."""
        self.model_ = MLPClassifier((32,), alpha=self.penalty, max_iter=60, tol=1e-3, random_state=self.seed)
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # a short run is meant
            self.model_.fit(rows, labels)
        self.classes_ = self.model_.classes_
        self.shares_ = np.array([np.mean(np.asarray(labels) == name) for name in self.classes_])
        return self

    def predict_proba(self, rows: Rows) -> NDArray[np.float64]:
        """Returns probabilities, shape (rows, classes)."""
        scores = self.model_.predict_proba(rows) / self.shares_
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _linear(strengths: tuple[float, ...]) -> tuple[Candidate, ...]:
    def one(strength: float) -> Candidate:
        return Candidate(
            "logistic regression",
            f"C={strength:g}",
            lambda: LogisticRegression(C=strength, class_weight="balanced", max_iter=1000),
        )

    return tuple(map(one, strengths))


def _bayes() -> tuple[Candidate, ...]:
    def one(smoothing: float) -> Candidate:
        return Candidate("naive Bayes", f"alpha={smoothing:g}", lambda: MultinomialNB(alpha=smoothing, fit_prior=False))

    return tuple(map(one, SMOOTHINGS))


def _channel_bayes() -> tuple[Candidate, ...]:
    def one(smoothing: float) -> Candidate:
        return Candidate("channel Bayes", f"smoothing={smoothing:g}", lambda: ChannelBayes(smoothing))

    return tuple(map(one, PRIOR_TOKENS))


def _boosting(seed: int) -> tuple[Candidate, ...]:
    return (
        Candidate(
            "gradient boosting",
            "",
            lambda: make_pipeline(
                # the forest's own bins weigh rows, which takes it three times as long as all the rest
                QuantileBins(),
                HistGradientBoostingClassifier(
                    max_iter=60,
                    max_leaf_nodes=6,
                    max_bins=BINS,
                    l2_regularization=1.0,
                    class_weight="balanced",
                    early_stopping=False,
                    random_state=seed,
                ),
            ),
        ),
    )


def _perceptrons(seed: int) -> tuple[Candidate, ...]:
    def one(penalty: float) -> Candidate:
        return Candidate("perceptron", f"alpha={penalty:g}", lambda: BalancedPerceptron(penalty, seed))

    return tuple(map(one, PENALTIES))


def _text_tfidf() -> TfidfVectorizer:
    """Returns TF-IDF of words and pairs of words; single letters and digits count: a reading is broken text."""
    return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, max_features=20_000, token_pattern=r"(?u)\b\w+\b")
