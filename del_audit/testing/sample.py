"""Releases of random words, and how probable the mechanism's own law makes each of those words afterwards.

Words are drawn uniformly from a few. If the law is right, and tokens are released independently, then the words given
all that was observed are independent, each with the probabilities that the law's scores make over those few. What the
scores leave out, a constant of the observed, cancels; outputs need not be countable. So every function of words and
observations has a known distribution, and a sum of them is held against the exact Chernoff bound of its tail.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from del_audit.evidence.verification.binomial import chernoff_p
from del_audit.testing.report import ContractError
from del_audit.testing.subject import Subject
from mechanisms.mechanism import KnownChannel, Observed

Floats = NDArray[np.float64]
Words = NDArray[np.int64]

MESSAGE_TOKENS = 64
"""Tokens of a message: an even number, since neighbours are paired."""
_FEW = 8
_CLOSE_GROUPS = 3
_MOST, _FEWEST = 40_960, 5_120
"""Tokens of all groups together."""
_SCORES = 1 << 28
"""Scores that are read at most, unless the fewest tokens need more."""
_IMPOSSIBLE = -1e30
_ROUNDING = 1e-6
_LEAST = -700.0
"""Of a log-probability: what is less probable than e^-700 counts as impossible."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Released words of one group, token by token in the order of release; messages hold MESSAGE_TOKENS of them.

    group: the few words, shape (few,). drawn: which of them was released, int64, shape (tokens,). observed: what came
    out, shape (tokens, dim). log_posterior: of each of the few, given what came out, float64, shape (tokens, few).
    rounding: nats that float32 may have moved a loss, by the size of the scores.
    """

    group: Words
    drawn: Words
    observed: Floats
    log_posterior: Floats
    rounding: float

    @property
    def posterior(self) -> Floats:
        """The probabilities, shape (tokens, few)."""
        return np.exp(self.log_posterior)

    @property
    def own(self) -> Floats:
        """The log-probability of the word that was released, shape (tokens,)."""
        return self.log_posterior[np.arange(len(self.drawn)), self.drawn]


def samples(subject: Subject, channel: KnownChannel) -> list[Sample]:
    """Returns the releases of each group: random words, words that the law tells apart best, and words it mixes up.

    Raises ContractError for scores that are not those of a law.
    """
    groups = list(_groups(subject, channel))
    tokens = max(_FEWEST, min(_MOST, _SCORES // subject.words)) // len(groups)
    count = -(-tokens // MESSAGE_TOKENS)
    return [_sample(subject, channel, group, count, str(number)) for number, group in enumerate(groups)]


def size(found: list[Sample]) -> str:
    """Returns how much was released, as a report says it."""
    tokens, words = sum(len(sample.drawn) for sample in found), sum(len(sample.group) for sample in found)
    return f"{tokens} releases of {words} words"


def _groups(subject: Subject, channel: KnownChannel) -> Iterator[Words]:
    if subject.words <= _FEW:
        yield np.arange(subject.words)
        return
    choose = subject.generator("groups")
    yield np.sort(choose.permutation(subject.words)[:_FEW])
    yield _far_apart(_pilot(subject, channel, subject.prompt(MESSAGE_TOKENS, "groups")))
    for anchor in choose.integers(0, subject.words, _CLOSE_GROUPS):
        scores = _pilot(subject, channel, [int(anchor)] * MESSAGE_TOKENS)
        likely = np.exp(log_softmax(scores, axis=1)).mean(axis=0)
        likely[anchor] = np.inf
        yield np.sort(np.argsort(-likely, kind="stable")[:_FEW])


def _pilot(subject: Subject, channel: KnownChannel, prompt: list[int]) -> Floats:
    """Returns the scores of one message, float64, shape (tokens, words); it is not part of any sample."""
    observed = subject.observed(subject.released(prompt, "pilot", str(prompt[0])), len(prompt))
    return _finite(all_scores(channel, observed, subject.words))


def _finite(scores: NDArray[np.float32]) -> Floats:
    return np.maximum(scores, _IMPOSSIBLE).astype(np.float64)


def _far_apart(scores: Floats) -> Words:
    """Returns the likeliest and the least likely word of tokens, of those first where these are farthest apart."""
    pairs = np.stack([scores.argmax(axis=1), scores.argmin(axis=1)], axis=1)
    order = np.argsort(-np.ptp(scores, axis=1), kind="stable")
    found = list(dict.fromkeys(int(word) for word in pairs[order].ravel()))
    return np.sort(found[:_FEW])


def _sample(subject: Subject, channel: KnownChannel, group: Words, messages: int, label: str) -> Sample:
    drawn = subject.generator("drawn", label).integers(0, len(group), (messages, MESSAGE_TOKENS))
    source = subject.source("law", label)
    rows, scores = [], []
    for words in drawn:
        message = subject.mechanism.release([int(word) for word in group[words]], source)
        observed = subject.observed(message, MESSAGE_TOKENS)
        rows.append(observed.reshape(MESSAGE_TOKENS, -1).astype(np.float64))
        scores.append(_finite(all_scores(channel, observed, subject.words, group)))
    together = np.concatenate(scores)
    log_posterior = np.maximum(log_softmax(together, axis=1), _LEAST)
    rounding = _ROUNDING * (1000 + float(np.abs(together[together > _IMPOSSIBLE]).max()))
    return Sample(group, drawn.ravel(), np.concatenate(rows), log_posterior, rounding)


def all_scores(
    channel: KnownChannel,
    observed: Observed,
    words: int,
    columns: Words | None = None,
    log_prior: Floats | None = None,
) -> NDArray[np.float32]:
    """Returns a channel's blocks as one array, float32, shape (tokens, words), or of the columns alone.

    Raises ContractError for blocks that leave out rows or take other rows twice, of another shape or type, with NaN or
    infinity, and for a token that no word can have released.
    """
    kept = []
    done = 0
    for rows, block in channel.scores(observed, log_prior):
        size = len(range(*rows.indices(len(observed)))) if isinstance(rows, slice) else -1
        if size < 1 or rows.start != done:
            raise ContractError(f"scores yielded rows {rows} after {done} of {len(observed)}")
        done += size
        if not isinstance(block, np.ndarray) or block.dtype != np.float32:
            raise ContractError(f"scores are {getattr(block, 'dtype', type(block).__name__)}, expected float32")
        if block.shape != (size, words):
            raise ContractError(f"a block of scores has shape {block.shape}, expected {(size, words)}")
        largest = block.max(axis=1)  # NaN where a row has one
        if np.isnan(largest).any() or (largest == np.inf).any():
            raise ContractError("scores have NaN or +infinity")
        if (largest == -np.inf).any():
            raise ContractError("scores say that no word can have released what was observed")
        kept.append(block.copy() if columns is None else block[:, columns])
    if done != len(observed):
        raise ContractError(f"scores yielded {done} of {len(observed)} rows")
    return np.concatenate(kept)


def excess_p(values: Floats, drawn: Words, log_chances: Floats) -> float:
    """Returns a bound on the two-sided p-value of the sum of the values of what was drawn.

    values, log_chances: shape (draws, outcomes), of each outcome its value and its log-probability. drawn: the outcome
    of each draw.
    """
    chances = np.exp(log_chances)
    mean = (chances * values).sum(axis=1)
    centred = values - mean[:, None]
    total = float(centred[np.arange(len(drawn)), drawn].sum())
    variance = float((chances * centred**2).sum())

    def log_mgf(s: float) -> float:
        exponents = s * centred
        largest = exponents.max(axis=1, keepdims=True)
        inner = (chances * np.exp(exponents - largest)).sum(axis=1)
        with np.errstate(divide="ignore"):
            return float((np.log(inner) + largest[:, 0]).sum())

    return chernoff_p(total, variance, log_mgf)
