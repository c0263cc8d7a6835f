"""Distinguishing games on worst-case pairs, held against the exact trade-off curve, and the epsilon that they prove."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from del_audit.accounting import Accountant, Bound, TradeOff
from del_audit.evidence.games import Curve, EpsilonLimit, p_value
from del_audit.evidence.verification.binomial import DULL, TOP_LEVEL, Counts, Floats, at_least
from del_audit.evidence.verification.finding import Measurement, Part, smallest
from del_audit.evidence.verification.one_run import one_run_limit
from del_audit.evidence.verification.sample import Sample
from del_audit.statistics.intervals import clopper_pearson

DELTA, CONFIDENCE = 1e-5, 0.95
JUDGED = 1e-8
"""Where the bound of a game's p-value is tight; far smaller ones are not told apart."""
QUANTILES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
MEANING = (
    "Two inputs can be told apart better than the exact curve allows: epsilon and delta are not as claimed, whatever "
    "the code looks like. The other findings say where to look."
)
MOST_JUDGED = 2
Side = NDArray[np.bool_]


class Errors(NamedTuple):
    """Errors of both types of one test in a game."""

    false: int
    missed: int
    test: str


class Rule(NamedTuple):
    """Says the second side where the statistic is above the threshold, or where it is not."""

    statistic: str
    threshold: float
    above: bool

    def play(self, sides: Sequence[Floats]) -> Errors:
        """Returns its errors on the statistics of both sides."""
        said = [(side > self.threshold) == self.above for side in sides]
        return Errors(int(said[0].sum()), int((~said[1]).sum()), self.statistic)


@dataclass(frozen=True, slots=True)
class EpsilonEvidence:
    """Lower limits of one token's epsilon (nats) at delta beside the claimed one; each limit holds at its confidence.

    two_samples: from the errors of tests between opposite corners. one_run: from guesses of the side of each token.
    claimed: the exact epsilon of the spec.
    """

    two_samples: EpsilonLimit
    one_run: EpsilonLimit
    claimed: Bound


def guarantee_tests(main: Sample) -> list[Measurement]:
    """Returns the games, each with the two tests that did best on rows that are not counted (Bonferroni)."""
    spec, accountant = main.law.spec, Accountant(main.law.spec)
    pair, corners = main.of_kind("pair"), main.of_kind("corners")
    centre = TradeOff.of_centre(accountant.trials(), *accountant.offset)
    one = TradeOff.of_vertices(spec.trials, *accountant.offset)
    against = main.where((main.kind == "zero") | ((main.kind == "pair") & (main.levels[:, 0] == TOP_LEVEL)))
    return [
        _tested("opposite corners", _game(pair, _top(pair, 0), accountant.trade_off(), "all +clip or all -clip")),
        _tested("zero or corner", _game(against, _top(against, 0), centre, "zero or all +clip")),
        _tested("one coordinate", _one_coordinate(corners, one)),
        _tested("one run of tokens", _guesses(pair, accountant.total_variation())),
        _tested("one run of coordinates", _coordinate_guesses(corners)),
    ]


def epsilon_evidence(main: Sample) -> EpsilonEvidence:
    """Returns what the rows at opposite corners prove of one token's epsilon."""
    accountant = Accountant(main.law.spec)
    pair = main.of_kind("pair")
    right = _right(pair)
    tokens = len(pair)
    return EpsilonEvidence(
        EpsilonLimit(_two_sample_limit(pair), DELTA, CONFIDENCE, tokens // 2, 0),
        one_run_limit(max(tokens, 1), tokens, right, DELTA, CONFIDENCE),
        accountant.epsilon(DELTA),
    )


def _tested(name: str, part: Part) -> Measurement:
    return Measurement("guarantee", name, part.p, part.text, MEANING)


def _top(sample: Sample, column: int) -> Side:
    return np.asarray(sample.levels[:, column] == TOP_LEVEL)


def _game(sample: Sample, side: Side, curve: Curve, what: str) -> Part:
    """Returns the game between the rows of both sides.

    A quarter of the rows teaches the statistic that is learned, a quarter chooses tests, the rest plays: only what is
    played counts (DP-Sniper, 2021, chooses so).
    """
    sides = [np.flatnonzero(chosen) for chosen in (~side, side)]
    length = min(len(rows) for rows in sides) // 2
    if length < 4:
        return Part(1.0, f"Nothing to test: fewer than 8 rows of a side ({what}).")
    learn, choose, play = (
        [rows[start:stop] for rows in sides]
        for start, stop in ((0, length // 2), (length // 2, length), (length, 2 * length))
    )
    statistics = _statistics(sample, learn)
    candidates = [
        Rule(name, float(threshold), above)
        for name, statistic in statistics.items()
        for threshold in np.unique(np.quantile(statistic[np.concatenate(choose)], QUANTILES, method="inverted_cdf"))
        for above in (True, False)
    ]
    tried = [test.play([statistics[test.statistic][rows] for rows in choose]) for test in candidates]
    best = np.argsort(-_below(curve, tried, len(choose[0])), kind="stable")[:MOST_JUDGED]
    chosen = [candidates[at] for at in best]
    played = [test.play([statistics[test.statistic][rows] for rows in play]) for test in chosen]
    return _against(curve, played, length, what)


def _below(curve: Curve, played: Sequence[Errors], length: int) -> Floats:
    """Returns how far each test is below the curve, in standard deviations, roughly."""
    false, missed = (np.array([getattr(errors, side) for errors in played]) for side in ("false", "missed"))
    alpha, beta = (false + 1) / (length + 1), missed / length
    least = np.asarray(curve.beta(alpha))
    spread = np.sqrt((least * (1 - least) + alpha * (1 - alpha)) / length + length**-2.0)
    return np.asarray((least - beta) / spread)


def _against(curve: Curve, played: Sequence[Errors], length: int, what: str) -> Part:
    """Returns the smallest p-value of so few errors under the curve, times the number of tests that were played.

    Only the few that are furthest below the curve are bounded: the others are taken to show nothing.
    """
    below, parts = _below(curve, played, length), []
    for at in np.argsort(-below)[:MOST_JUDGED]:
        errors = played[at]
        p = p_value(errors.false, errors.missed, length, curve, JUDGED) if below[at] > DULL else 1.0
        least = length * float(curve.beta((errors.false + 1) / (length + 1)))
        text = (
            f"{what}, by {errors.test}: {errors.false} false and {errors.missed} missed of {length} each, where the "
            f"curve allows about {least:.1f} missed"
        )
        parts.append(Part(min(1.0, p * len(played)), text))
    return min(parts)


def _statistics(sample: Sample, learn: Sequence[Counts]) -> dict[str, Floats]:
    """Returns statistics of each row alone, by name: the likelihood ratio, and some that know no law."""
    counts, top = sample.counts, sample.law.spec.trials
    total = counts.sum(axis=1)
    numbers = {
        "likelihood ratio": total,
        "parity": total % 2,
        "counts at an end": ((counts == 0) | (counts == top)).sum(axis=1),
        "the largest count": counts.max(axis=1),
        "the last count": counts[:, -1],
    }
    statistics = {name: np.asarray(number, dtype=np.float64) for name, number in numbers.items()}
    return statistics | {"a learned ratio": _learned(counts, learn, top)}


def _learned(counts: Counts, learn: Sequence[Counts], top: int) -> Floats:
    """Returns how much likelier each row is on the second side: a log ratio of tables of the rows to learn from."""
    columns = np.arange(counts.shape[1])
    tables = []
    for rows in learn:
        seen = np.ones((counts.shape[1], top + 1))
        np.add.at(seen, (np.broadcast_to(columns, counts[rows].shape), counts[rows]), 1)
        tables.append(np.log(seen / seen.sum(axis=1, keepdims=True)))
    return np.asarray((tables[1] - tables[0])[columns, counts].sum(axis=1))


def _one_coordinate(corners: Sample, curve: Curve) -> Part:
    """Returns the games of each coordinate's sign among rows whose other signs are random, by its count and by all.

    Convexity of trade-off functions: a mixture over the other signs is no easier than one coordinate's pair.
    """
    sides = [_top(corners, column) for column in range(corners.counts.shape[1])]
    length = min((int(chosen.sum()) for side in sides for chosen in (side, ~side)), default=0)
    if length < 2:
        return Part(1.0, "Nothing to test: too few rows at corners.")
    above, played = corners.counts > corners.law.spec.trials / 2, []
    for column, side in enumerate(sides):
        null, other = (above[chosen, column][:length] for chosen in (~side, side))
        played.append(Errors(int(null.sum()), int((~other).sum()), f"the count of coordinate {column}"))
    by_count = _against(curve, played, length, "the sign of one coordinate")
    return smallest([by_count, _game(corners, sides[0], curve, "the sign of coordinate 0 among random others")])


def _right(pair: Sample) -> int:
    """Returns how many sides are guessed right from the sum of a row's counts; a tie is no right guess."""
    middle = pair.law.spec.trials * pair.counts.shape[1] / 2
    return int((pair.aligned.sum(axis=1) > middle).sum())


def _guesses(pair: Sample, variation: Bound) -> Part:
    """Returns the chance of so many right guesses of tokens' sides, each right with at most (1 + TV) / 2."""
    right, tokens = _right(pair), len(pair)
    chance = (1 + variation.upper) / 2
    text = f"{right} of {tokens} sides guessed right, where the guarantee allows {100 * chance:.2f}% on average"
    return Part(float(at_least(right, tokens, chance)) if chance < 1 else 1.0, text)


def _coordinate_guesses(corners: Sample) -> Part:
    """Returns the same of every coordinate's sign, each chosen by a coin of its own, from its own count alone."""
    law, u = corners.law, corners.law.spec.trials
    right, number = int((corners.aligned > u / 2).sum()), corners.counts.size
    chance = float(binom.sf(u // 2, u, law.chance[TOP_LEVEL]))
    text = f"{right} of {number} signs guessed right, where the guarantee allows {100 * chance:.3f}% on average"
    return Part(float(at_least(right, number, chance)) if number else 1.0, text)


def _two_sample_limit(pair: Sample) -> float:
    """Returns the largest epsilon at DELTA that errors of tests by the row's sum prove; all limits hold at once."""
    side, total = _top(pair, 0), pair.counts.sum(axis=1)
    null, other = total[~side], total[side]
    if min(len(null), len(other)) < 2:
        return 0.0
    pilots, (null, other) = zip(
        *((rows[: len(rows) // 4], rows[len(rows) // 4 :]) for rows in (null, other)), strict=True
    )
    every = [np.quantile(pilot, QUANTILES, method="inverted_cdf") for pilot in pilots if len(pilot)]
    thresholds = np.unique(np.concatenate([*every, [pair.law.spec.trials * pair.counts.shape[1] / 2]]))
    confidence, best = 1 - (1 - CONFIDENCE) / len(thresholds), 0.0
    for threshold in thresholds:
        alpha = clopper_pearson(int((null > threshold).sum()), len(null), confidence)[1]
        beta = clopper_pearson(int((other <= threshold).sum()), len(other), confidence)[1]
        for one, miss in ((alpha, beta), (beta, alpha)):
            if 1 - miss > DELTA:
                best = max(best, float(np.log((1 - miss - DELTA) / one)))
    return best
