"""Which of two prompts was sent, and was a phrase in it: likelihood-ratio tests on the law of what is on the wire.

No test between two known prompts has fewer errors (Neyman and Pearson, 1933), so these draw what a guarantee allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from attacks.base import AttackerKnowledge, observe
from attacks.repeated import RepeatedPipeline
from mechanisms.device_channel import Scores, log_sums, looked_up
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import level_thresholds
from mechanisms.spec import WORD_BITS
from mechanisms.tokens import checked_tokens

Floats = NDArray[np.float64]


class Distinguisher(Protocol):
    """A test after fitting: it is shown messages, and nothing else of a prompt."""

    def statistic(self, messages: Sequence[bytes]) -> Floats:
        """Returns a number for each message, nats, shape (messages,); above a threshold the test says the second."""
        ...


@dataclass(frozen=True, slots=True)
class LikelihoodRatio:
    """Tells two prompts of equal length apart: log P(message | second) - log P(message | first).

    first, second: the words of each. Raises UserError for prompts of different lengths, empty ones, and equal ones.
    """

    first: tuple[int, ...]
    second: tuple[int, ...]
    name: str = "likelihood ratio"
    version: int = 1

    def __post_init__(self) -> None:
        for side in ("first", "second"):
            object.__setattr__(self, side, tuple(int(word) for word in getattr(self, side)))
        if len(self.first) != len(self.second) or not self.first:
            raise UserError(
                f"Expected two prompts of one length, at least one token, got {len(self.first)} and {len(self.second)}."
            )
        if self.first == self.second:
            raise UserError(f"Expected two different prompts, got {self.first} twice.")

    @property
    def places(self) -> NDArray[np.intp]:
        """Positions at which the two differ: the only ones that tell anything."""
        return np.flatnonzero(np.array(self.first) != np.array(self.second))

    def fit(self, public: AttackerKnowledge) -> Distinguisher:
        """Returns the test; exact in double precision for DEL, from the law's own scores for others.

        Raises UserError for a word outside the vocabulary, and where the law is not known.
        """
        sides = [checked_tokens(side, public.words) for side in (self.first, self.second)]
        if isinstance(public.mechanism, Pipeline):
            return _OfCounts.of(public.mechanism, *sides)
        return _OfScores(public, public.placed_scores(), *sides)


@dataclass(frozen=True, slots=True)
class Membership:
    """Tells whether a phrase is in a prompt: the likelihood ratio of both hypotheses, averaged over where it may be.

    With it: the phrase at a uniformly random position, other words from the prior. Without: all words from the prior.
    A phrase of one word is left out of the prior. Raises UserError for an empty phrase.
    """

    phrase: tuple[int, ...]
    name: str = "membership likelihood ratio"
    version: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "phrase", tuple(int(word) for word in self.phrase))
        if not self.phrase:
            raise UserError("Expected a phrase of at least one token, got an empty one.")

    def fit(self, public: AttackerKnowledge) -> Distinguisher:
        """Returns the test; raises UserError for a word outside the vocabulary, and where the law is not known."""
        words = checked_tokens(self.phrase, public.words)
        scores = public.placed_scores(public.log_prior)
        if public.words < 2:
            raise UserError(f"Expected a vocabulary of 2 words or more, got {public.words}.")
        return _OfMembership(public, scores, words)


@dataclass(frozen=True, slots=True)
class _OfCounts:
    """weights: log-odds of the second less those of the first, shape (tokens, dim). offset: nats, of one release."""

    mechanism: Pipeline
    weights: Floats
    offset: float

    @classmethod
    def of(cls, mechanism: Pipeline, first: NDArray[np.int64], second: NDArray[np.int64]) -> "_OfCounts":
        thresholds = level_thresholds(mechanism.spec)
        chances = [thresholds[mechanism.encoder.levels_of(side)] / float(1 << WORD_BITS) for side in (first, second)]
        odds = [np.log(chance) - np.log1p(-chance) for chance in chances]
        failures = np.log1p(-chances[1]) - np.log1p(-chances[0])
        return cls(mechanism, odds[1] - odds[0], float(mechanism.spec.trials * failures.sum()))

    def statistic(self, messages: Sequence[bytes]) -> Floats:
        """Returns the log-likelihood ratios, nats; all releases of a repeated one together."""
        counts = np.stack(_of_length(observe(self.mechanism, messages), len(self.weights)))
        times = self.mechanism.times if isinstance(self.mechanism, RepeatedPipeline) else 1
        return np.asarray(times * (np.einsum("mtd,td->m", counts.astype(np.float64), self.weights) + self.offset))


@dataclass(frozen=True, slots=True)
class _OfScores:
    """scores: the law's, where the model is."""

    public: AttackerKnowledge
    scores: Scores
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def statistic(self, messages: Sequence[bytes]) -> Floats:
        """Returns the log-likelihood ratios, nats; infinite where one of the two cannot have been sent."""
        places = np.flatnonzero(self.first != self.second)
        observed = _of_length(observe(self.public.mechanism, messages), len(self.first))
        rows = np.concatenate([seen[places] for seen in observed])
        pair = np.tile(np.column_stack([self.first, self.second])[places], (len(observed), 1))
        found = np.empty((len(rows), 2))
        for part, block in self.scores(rows):
            found[part] = looked_up(block, pair[part])
        with np.errstate(invalid="ignore"):
            ratios = found[:, 1] - found[:, 0]
        ratios[np.isneginf(found).all(axis=1)] = 0.0  # neither can have been sent: nothing of these two
        return np.asarray(ratios.reshape(len(observed), -1).sum(axis=1))


@dataclass(frozen=True, slots=True)
class _OfMembership:
    """scores: the law's under the prior, where the model is."""

    public: AttackerKnowledge
    scores: Scores
    phrase: NDArray[np.int64]

    def statistic(self, messages: Sequence[bytes]) -> Floats:
        """Returns the log-likelihood ratios, nats; raises UserError for a message shorter than the phrase."""
        observed = observe(self.public.mechanism, messages)
        evidence = self._evidence(np.concatenate(observed))
        ends = np.cumsum([len(seen) for seen in observed])[:-1]
        return np.array([self._over_positions(part) for part in np.split(evidence, ends)])

    def _evidence(self, rows: Observed) -> Floats:
        """Returns log P(row | word of the phrase) - log P(row | any other text), shape (rows, words of the phrase)."""
        log_prior, words = self.public.log_prior, self.phrase
        left_out = float(self.public.prior[words[0]]) if len(words) == 1 else 0.0
        evidence = np.empty((len(rows), len(words)))
        for part, block in self.scores(rows):
            inside = looked_up(block, np.tile(words, (len(block), 1))) - log_prior[words]
            if len(words) == 1:
                block[:, int(words[0])] = -np.inf
            evidence[part] = inside - (log_sums(block) - np.log1p(-left_out))[:, None]
        return evidence

    def _over_positions(self, evidence: Floats) -> float:
        positions = len(evidence) - len(self.phrase) + 1
        if positions < 1:
            raise UserError(f"Expected messages of {len(self.phrase)} tokens or more, got one of {len(evidence)}.")
        at = sum(evidence[word : word + positions, word] for word in range(len(self.phrase)))
        return float(logsumexp(at) - np.log(positions))


def _of_length(observed: list[Observed], tokens: int) -> list[Observed]:
    """Returns what was observed; raises UserError for a message of another number of tokens."""
    other = [len(seen) for seen in observed if len(seen) != tokens]
    if other:
        raise UserError(f"Expected messages of {tokens} tokens, as the two prompts, got one of {other[0]}.")
    return observed
