"""Naive Bayes through the channel: exact for texts whose words are independent given the class.

Class c writes word w with probability theta_c(w). Then P(release | c) is the product over tokens of sum_w theta_c(w)
P(release | w), which is, up to what no class changes, sum_w posterior(w) theta_c(w) / prior(w): no word is decided on.

theta_c mixes the words that the class wrote in training with the prior, so a token's sum over words is that mixture of
the class's own sum and 1. The own sums, `ClassExcess`, do not depend on the share: they are taken once for all shares.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from attacks.attribute.posteriors import TokenPosteriors

Floats = NDArray[np.float64]
Labels = Sequence[str] | NDArray[np.str_]


class ClassExcess(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """How much likelier each class's words make each token of TokenPosteriors than the prior does, less 1."""

    def fit(self, rows: Sequence[TokenPosteriors], labels: Labels) -> Self:
        """Learns each class's words from the text of its rows, or from their expected counts where there is none."""
        _, truth = np.unique(np.asarray(labels), return_inverse=True)
        prior = rows[0].prior
        counts = np.zeros((int(truth.max()) + 1, prior.size))
        self.counted_ = np.zeros(len(rows))
        for index, (row, label) in enumerate(zip(rows, truth, strict=True)):
            counted = _counts(row)
            counts[label] += counted
            self.counted_[index] = counted.sum()
        totals = np.maximum(counts.sum(axis=1, keepdims=True), np.finfo(float).tiny)  # 0 where no word was kept
        self.excess_ = np.ascontiguousarray((counts / totals / prior - 1).T)
        return self

    def fit_transform(self, rows: Sequence[TokenPosteriors], labels: Labels) -> Floats:
        """Learns the classes' words; returns each row's number of counted words, all that ChannelBayes learns from."""
        return self.fit(rows, labels).counted_

    def transform(self, rows: Sequence[TokenPosteriors]) -> NDArray[np.object_]:
        """Returns the excess of each row's tokens under each class, arrays of shape (tokens, classes)."""
        found = np.empty(len(rows), dtype=object)
        for index, row in enumerate(rows):
            found[index] = row.words @ self.excess_
        return found


class ChannelBayes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of what ClassExcess makes, by the conventions of scikit-learn.

    smoothing: tokens drawn from the prior that are added to each class's text.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def fit(self, counted: Floats, labels: Labels) -> Self:
        """Learns each class's share in its mixture with the prior from the numbers of words of the training rows."""
        self.classes_, truth = np.unique(np.asarray(labels), return_inverse=True)
        totals = np.bincount(truth, weights=counted)
        self.shares_ = totals / (totals + self.smoothing)
        return self

    def log_likelihoods(self, rows: NDArray[np.object_]) -> Floats:
        """Returns log P(release | class) less a constant of the release, nats, shape (rows, classes)."""
        tiny = np.finfo(float).tiny
        return np.array([np.log(np.maximum(1 + self.shares_ * row, tiny)).sum(axis=0) for row in rows])

    def predict_proba(self, rows: NDArray[np.object_]) -> Floats:
        """Returns probabilities for classes of equal size, shape (rows, classes).

        Words of one text are not independent: log-likelihoods are divided by the square root of the number of tokens,
        which changes no decision and keeps a vote with others from being drowned.
        """
        tokens = np.array([len(row) for row in rows])
        scores = self.log_likelihoods(rows) / np.sqrt(tokens)[:, None]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _counts(row: TokenPosteriors) -> Floats:
    if row.text is not None:
        return np.bincount(row.text, minlength=row.prior.size).astype(np.float64)
    return np.asarray(row.words.sum(axis=0), dtype=np.float64).ravel()
