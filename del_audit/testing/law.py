"""A stated law against the mechanism's own releases, and the independence of tokens."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from del_audit.testing.report import ContractError
from del_audit.testing.sample import MESSAGE_TOKENS, Floats, Sample, all_scores, excess_p, size
from del_audit.testing.subject import Subject
from mechanisms.mechanism import KnownChannel

_SURE = 3.0
_DULLEST = -30.0
"""Of a log-probability that is summed: one word less probable than that is judged alone."""
_COMMON = 16
_COLUMNS = 16
_PRIOR_RANGE = 5.0
_ROUNDING = 1e-5

Scores = NDArray[np.floating]
Part = tuple[float, str]
"""A bound on a p-value, and what the test was of."""


def scores(subject: Subject, channel: KnownChannel) -> str:
    """Scores are one float32 row per token; the prior is added, and no token's row depends on the others."""
    seen = subject.observed(subject.message(MESSAGE_TOKENS, "scores"), MESSAGE_TOKENS)
    plain = all_scores(channel, seen, subject.words)
    log_prior = subject.generator("prior").uniform(-_PRIOR_RANGE, 0, subject.words)
    log_prior -= np.log(np.exp(log_prior).sum())
    added = all_scores(channel, seen, subject.words, log_prior=log_prior)
    _check_same(added, plain + log_prior, "scores with a prior are not the scores without it plus log_prior")
    alone = np.concatenate([all_scores(channel, seen[at : at + 1], subject.words) for at in range(4)])
    _check_same(alone, plain[:4], "the scores of a token alone are not those of the token in its message")
    return f"shape {plain.shape}"


def _check_same(found: Scores, expected: Scores, what: str) -> None:
    """Raises ContractError unless rows agree up to a constant each, and to float32's rounding."""
    possible = np.isfinite(expected)
    if not np.array_equal(possible, np.isfinite(found)):
        raise ContractError(f"{what}: other words are impossible")
    gaps = np.where(possible, np.where(possible, found, 0.0) - np.where(possible, expected, 0.0), np.nan)
    room = _ROUNDING * (100 + np.nanmax(np.abs(np.where(possible, expected, np.nan)), axis=1))
    apart = np.nanmax(gaps, axis=1) - np.nanmin(gaps, axis=1)
    if (apart > room).any():
        raise ContractError(f"{what}: by up to {apart.max():.3g} nats between words")


def law(found: list[Sample], alpha: float) -> str:
    """Words are told apart as often as the scores say, whatever was observed: tests of own tokens only."""
    families: tuple[Callable[[Sample], Iterator[Part]], ...] = (_likely, _sureness, _each_word, _by_observed)
    _check(found, families, alpha, "what is released does not have the law that the scores state")
    return size(found)


def independence(found: list[Sample], alpha: float) -> str:
    """A token's release tells nothing of the word beside it."""
    _check(found, (_alike, _by_neighbour), alpha, "tokens of a message are not released independently by that law")
    return size(found)


def _check(
    found: list[Sample], families: tuple[Callable[[Sample], Iterator[Part]], ...], alpha: float, what: str
) -> None:
    """Raises ContractError for the smallest p-value of any family, each with an equal share of alpha."""
    for family in families:
        parts = [part for sample in found for part in family(sample)]
        if not parts:
            continue
        p, text = min(parts)
        if p * len(parts) * len(families) < alpha:
            raise ContractError(f"{what}: {text}, {_chance(p * len(parts) * len(families))} by chance")


def _chance(p: float) -> str:
    return f"p = {p:.1e}" if p > 0 else "p = 0"


def _likely(sample: Sample) -> Iterator[Part]:
    """Yields whether some released word was as good as impossible: the union bound over tokens and words."""
    at = int(sample.own.argmin())
    word, seen = sample.group[sample.drawn[at]], sample.observed[at].tolist()
    p = min(1.0, sample.posterior.size * math.exp(sample.own[at]))
    yield p, f"word {word} was released as {seen[:_COLUMNS]}, where its log-probability is {sample.own[at]:.1f}"


def _sureness(sample: Sample) -> Iterator[Part]:
    """Yields whether the released words are as probable as the law expects of them: too sure, or not sure enough."""
    values = np.maximum(sample.log_posterior, _DULLEST)
    expected = float((sample.posterior * values).sum(axis=1).mean())
    own = float(values[np.arange(len(values)), sample.drawn].mean())
    words = f"of words {', '.join(map(str, sample.group))}"
    yield (
        excess_p(values, sample.drawn, sample.log_posterior),
        f"it is {'too sure' if own < expected else 'not sure enough'} {words} (log-probability of the true word "
        f"{own:.4f} per token, {expected:.4f} by the law)",
    )


def _each_word(sample: Sample) -> Iterator[Part]:
    """Yields whether each word is the true one as often as the law expects."""
    yield from _weighted(sample, np.ones((len(sample.drawn), 1)), ["a constant"])


def _by_observed(sample: Sample) -> Iterator[Part]:
    """Yields the same, weighted with functions of what was observed of the token."""
    yield from _weighted(sample, *_functions(sample))


def _by_neighbour(sample: Sample) -> Iterator[Part]:
    """Yields the same, weighted with functions of what was observed of the token before or after in its message."""
    weights, names = _functions(sample)
    whole = (weights - weights.mean(axis=0)).reshape(-1, MESSAGE_TOKENS, weights.shape[1])
    for step, side, first in ((1, "before", 0), (-1, "after", -1)):
        moved = np.roll(whole, step, axis=1)
        moved[:, first] = 0
        yield from _weighted(sample, moved.reshape(weights.shape), [f"{name} of the token {side} it" for name in names])


def _weighted(sample: Sample, weights: Floats, names: list[str]) -> Iterator[Part]:
    """Yields for each word and each column of weights whether the weights where it is the true word sum as expected."""
    chances, few = sample.posterior, len(sample.group)
    residuals = np.eye(few)[sample.drawn] - chances
    totals = residuals.T @ weights
    deviations = np.sqrt((chances * (1 - chances)).T @ weights**2)
    for word, column in np.argwhere(np.ones_like(totals, dtype=bool)):
        p = 1.0
        if abs(totals[word, column]) > _SURE * deviations[word, column] > 0:
            p = _indicator_p(sample, int(word), weights[:, column])
        more = "more" if totals[word, column] > 0 else "less"
        yield p, f"word {sample.group[word]} is the true one {more} often than they say, weighted with {names[column]}"


def _indicator_p(sample: Sample, word: int, weights: Floats) -> float:
    """Returns the p-value of the weights of the tokens whose word it was."""
    one = sample.posterior[:, word]
    with np.errstate(divide="ignore"):
        log_chances = np.log(np.stack([1 - one, one], axis=1))
    values = np.stack([np.zeros_like(weights), weights], axis=1)
    return excess_p(values, (sample.drawn == word).astype(np.int64), log_chances)


def _alike(sample: Sample) -> Iterator[Part]:
    """Yields whether two neighbours are the same word as often as expected, overall and where they came out alike."""
    first, second = sample.drawn[::2], sample.drawn[1::2]
    chance = (sample.posterior[::2] * sample.posterior[1::2]).sum(axis=1).clip(0, 1)
    with np.errstate(divide="ignore"):
        log_chances = np.log(np.stack([1 - chance, chance], axis=1))
    same = (first == second).astype(np.int64)
    came_alike = (sample.observed[::2] == sample.observed[1::2]).all(axis=1)
    for among, where in ((np.ones_like(came_alike), "overall"), (came_alike, "where they came out alike")):
        values = np.stack([np.zeros(len(same)), among.astype(np.float64)], axis=1)
        yield excess_p(values, same, log_chances), f"two neighbours are one word, {where}"


def _functions(sample: Sample) -> tuple[Floats, list[str]]:
    """Returns bounded functions of what was observed of each token, shape (tokens, functions), and their names."""
    spread = sample.observed.std(axis=0)
    kept = np.flatnonzero(spread > 0)[:_COLUMNS]
    centred = (sample.observed[:, kept] - sample.observed[:, kept].mean(axis=0)) / spread[kept]
    columns = [np.clip(centred, -_SURE, _SURE), sample.posterior]
    names = [f"observed coordinate {at}" for at in kept]
    names += [f"the probability of word {word}" for word in sample.group]
    rows, places, counts = np.unique(sample.observed, axis=0, return_inverse=True, return_counts=True)
    if len(rows) <= len(sample.drawn) // 4:
        common = np.argsort(-counts, kind="stable")[:_COMMON]
        columns.append((places.ravel()[:, None] == common).astype(np.float64))
        names += [f"what was observed being {rows[at].tolist()}" for at in common]
    return np.concatenate(columns, axis=1), names
