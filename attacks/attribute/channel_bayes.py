"""Naive Bayes through the channel: exact for texts whose words are independent given the class.

Class c writes word w with probability theta_c(w). Then P(release | c) is the product over tokens of sum_w theta_c(w)
P(release | w), which is, up to what no class changes, sum_w posterior(w) theta_c(w) / prior(w): no word is decided on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin

Floats = NDArray[np.float64]
Labels = Sequence[str] | NDArray[np.str_]
Rows = NDArray[np.float64] | NDArray[np.object_] | csr_array
"""A view's rows: numbers, a bag of words, or objects: texts, sequences of token features, TokenPosteriors."""


@dataclass(frozen=True, slots=True)
class TokenPosteriors:
    """One prompt as an attacker with the channel's law sees it, token by token.

    words: P(word | release), sparse, shape (tokens, words); what is left out of a row counts as neutral. prior: the one
    under which that was computed. text: the true tokens, in the training part alone, where the text is public.
    """

    words: csr_array
    prior: Floats
    text: NDArray[np.int64] | None = None


class ChannelBayes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of TokenPosteriors, by the conventions of scikit-learn.

    smoothing: tokens drawn from the prior that are added to each class's text.
    """

    def __init__(self, smoothing: float) -> None:
        self.smoothing = smoothing

    def fit(self, rows: Sequence[TokenPosteriors], labels: Labels) -> Self:
        """Learns each class's words from the text of its rows, or from their expected counts where there is none."""
        self.classes_, truth = np.unique(np.asarray(labels), return_inverse=True)
        prior = rows[0].prior
        counts = np.zeros((len(self.classes_), prior.size))
        for row, label in zip(rows, truth, strict=True):
            counts[label] += _counts(row)
        laws = counts + self.smoothing * prior
        laws /= laws.sum(axis=1, keepdims=True)
        self.excess_ = (laws / prior - 1).T
        return self

    def log_likelihoods(self, rows: Sequence[TokenPosteriors]) -> Floats:
        """Returns log P(release | class) less a constant of the release, nats, shape (rows, classes)."""
        tiny = np.finfo(float).tiny
        return np.array([np.log(np.maximum(1 + row.words @ self.excess_, tiny)).sum(axis=0) for row in rows])

    def predict_proba(self, rows: Sequence[TokenPosteriors]) -> Floats:
        """Returns probabilities for classes of equal size, shape (rows, classes).

        Words of one text are not independent: log-likelihoods are divided by the square root of the number of tokens,
        which changes no decision and keeps a vote with others from being drowned.
        """
        tokens = np.array([row.words.shape[0] for row in rows])
        scores = self.log_likelihoods(rows) / np.sqrt(tokens)[:, None]
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))


def _counts(row: TokenPosteriors) -> Floats:
    if row.text is not None:
        return np.bincount(row.text, minlength=row.prior.size).astype(np.float64)
    return np.asarray(row.words.sum(axis=0), dtype=np.float64).ravel()
