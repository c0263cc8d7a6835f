"""Distinguishing games on the real client: errors of the exact test beside the trade-off curve that it cannot beat."""

from collections.abc import Mapping, Sequence

import numpy as np

from attacks.base import AttackerKnowledge
from attacks.distinguishing import Distinguisher, LikelihoodRatio, Membership
from del_audit.accounting import Accountant, TradeOff, Unit
from del_audit.accounting.any_mechanism import Proved, has_proof, proved_guarantee, trade_off_of
from del_audit.evidence.games import Claim, Floats, Game, GameSettings, Guarantee, judge
from del_audit.evidence.pairs import Pair, pair_figures
from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.randomness import SimulatedRandomness, simulation_generator


def play(
    public: AttackerKnowledge,
    pairs: Mapping[str, Pair],
    settings: GameSettings,
    claim: Claim | None = None,
) -> tuple[Game, ...]:
    """Returns one game a pair: each prompt is released by the mechanism itself, once a trial, and told apart.

    pairs: from a name to two prompts of equal length, in tokens. claim: what a mechanism without an exact curve of its
    own says of these pairs, or another claim to be tested; DEL is held to the accountant's curve unless there is one.
    Raises UserError for no pairs, a word outside the vocabulary, and as LikelihoodRatio does.
    """
    if not pairs:
        raise UserError("Expected at least one pair of prompts, got none.")
    tests = {name: LikelihoodRatio(tuple(first), tuple(second)) for name, (first, second) in pairs.items()}
    fitted = {name: test.fit(public) for name, test in tests.items()}
    games = []
    for name, test in tests.items():
        released = [
            _statistics(
                public, fitted[name], [side] * (settings.pilot + settings.trials), settings.seed, f"{name}\0{label}"
            )
            for label, side in (("first", test.first), ("second", test.second))
        ]
        allowed = _guarantee(public, len(test.places), settings.delta, claim)
        own = pair_figures(public, test, settings.delta)
        games.append(judge(name, test, released, allowed, settings, len(pairs), own))
    return tuple(games)


def play_membership(
    public: AttackerKnowledge,
    phrases: Mapping[str, Sequence[int]],
    texts: Sequence[Sequence[int]],
    length: int,
    settings: GameSettings,
    claim: Claim | None = None,
) -> tuple[Game, ...]:
    """Returns one game a phrase: it is put into prompts of public text at random positions, or not.

    texts: tokenized, of which windows of `length` tokens without the phrase are drawn alike. A prompt with the phrase
    and the same without differ in its tokens only, so the curve of so many tokens bounds the game (theorem 1, and
    convexity over windows and positions). claim: as of play. Raises UserError for no phrases, a phrase
    that is longer than `length`, texts without such a window, and as Membership does.
    """
    if not phrases:
        raise UserError("Expected at least one phrase, got none.")
    games = []
    for name, phrase in phrases.items():
        attack = Membership(tuple(phrase))
        fitted = attack.fit(public)
        count = settings.pilot + settings.trials
        absent, present = _planted(attack.phrase, texts, length, count, settings.seed, name)
        released = [
            _statistics(public, fitted, prompts, settings.seed, f"{name}\0{label}")
            for label, prompts in (("absent", absent), ("present", present))
        ]
        allowed = _guarantee(public, len(attack.phrase), settings.delta, claim)
        games.append(judge(name, attack, released, allowed, settings, len(phrases)))
    return tuple(games)


def exact_auc(curve: TradeOff) -> float:
    """Returns the area under the best test's receiver operating curve: one less the area under the trade-off curve."""
    alpha, beta = curve.vertices()
    return float(1 - np.trapezoid(beta[::-1], alpha[::-1]))


def _guarantee(public: AttackerKnowledge, differing: int, delta: float, claim: Claim | None) -> Guarantee:
    """Returns what bounds a game of so many differing tokens."""
    mechanism = public.mechanism
    times = getattr(mechanism, "times", 1)
    tokens = differing * times
    unit: Unit = "session" if times > 1 else "token" if tokens == 1 else "phrase"
    if claim is None and not isinstance(mechanism, Pipeline) and has_proof(mechanism.spec):
        return _of_words(mechanism.spec, unit, tokens, delta)
    if claim is not None or not isinstance(mechanism, Pipeline):
        return Guarantee(unit, tokens, claim)
    accountant = Accountant(mechanism.spec)
    curve = accountant.trade_off(unit, tokens)
    area = exact_auc(curve) if accountant.trials(unit, tokens) <= 100_000 else None
    variation, epsilon = accountant.total_variation(unit, tokens), accountant.epsilon(delta, unit, tokens)
    return Guarantee(unit, tokens, curve, variation, epsilon, area)


def _of_words(spec: Proved, unit: Unit, tokens: int, delta: float) -> Guarantee:
    """Returns what bounds a game of a mechanism whose every two words have the same losses, or none (theorem 24)."""
    figures = proved_guarantee(spec, unit, tokens, delta)
    return Guarantee(unit, tokens, trade_off_of(spec, tokens), figures.total_variation, figures.epsilon)


def _statistics(
    public: AttackerKnowledge, test: Distinguisher, prompts: Sequence[Sequence[int]], seed: int, label: str
) -> Floats:
    """Returns the statistic of one release of each prompt, by the mechanism itself, shape (prompts,)."""
    source = SimulatedRandomness(seed, "distinguishing", label)
    return test.statistic([public.mechanism.release(prompt, source) for prompt in prompts])


def _planted(
    phrase: Sequence[int], texts: Sequence[Sequence[int]], length: int, count: int, seed: int, name: str
) -> tuple[list[list[int]], list[list[int]]]:
    """Returns `count` windows without the phrase, and `count` others into which it was put."""
    if length < len(phrase):
        raise UserError(f"Expected length >= {len(phrase)}, the phrase's, got length={length}.")
    windows = [
        list(map(int, text[start : start + length]))
        for text in texts
        for start in range(0, len(text) - length + 1, length)
    ]
    windows = [window for window in windows if not _contains(window, phrase)]
    if not windows:
        raise UserError(f"Expected public text with {length} tokens in a row without the phrase, got none.")
    generator = simulation_generator(seed, "membership", name)
    chosen = generator.integers(0, len(windows), (2, count))
    starts = generator.integers(0, length - len(phrase) + 1, count)
    present = []
    for index, start in zip(chosen[1], starts, strict=True):
        window = list(windows[index])
        window[start : start + len(phrase)] = phrase
        present.append(window)
    return [windows[index] for index in chosen[0]], present


def _contains(window: Sequence[int], phrase: Sequence[int]) -> bool:
    ends = range(len(window) - len(phrase) + 1)
    return any(list(window[start : start + len(phrase)]) == list(phrase) for start in ends)
