"""What a distinguishing game measures: errors of a test, each with its interval, beside the curve that bounds them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaincinv
from scipy.stats import rankdata

from del_audit.accounting import Bound, Unit
from del_audit.statistics.contradiction import improbable, level_of
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clopper_pearson, rate
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator
from mechanisms.validation import whole_at_least

if TYPE_CHECKING:
    from attacks.base import Named

Floats = NDArray[np.float64]

_CELLS = 200
_LEAST_PILOT, _MOST_PILOT = 50, 400
_NULL_LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.97, 1.0)
_ALTERNATIVE_LEVELS = (0.0, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9)


class Curve(Protocol):
    """What no test beats: the least type II error at each type I error."""

    def beta(self, alpha: ArrayLike) -> float | Floats:
        """Returns the least type II error of any test at type I error alpha, both in [0, 1]."""
        ...


@dataclass(frozen=True, slots=True)
class Claim:
    """The curve of (epsilon, delta): what a mechanism that claims these promises. epsilon: nats.

    Raises UserError for epsilon < 0 and delta outside [0, 1).
    """

    epsilon: float
    delta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < math.inf or not 0 <= self.delta < 1:
            raise UserError(f"Expected epsilon >= 0 and delta in [0, 1), got {self.epsilon} and {self.delta}.")

    def beta(self, alpha: ArrayLike) -> float | Floats:
        """Returns the least type II error at alpha (Wasserman and Zhou, 2010, theorem 2.4)."""
        down = math.exp(-self.epsilon)
        left = 1 - self.delta - np.asarray(alpha, dtype=np.float64)
        steep = 1 - self.delta - np.exp(np.minimum(self.epsilon, 700.0)) * np.asarray(alpha, dtype=np.float64)
        least: Floats = np.maximum(0.0, np.maximum(steep, down * left))
        return least


@dataclass(frozen=True, slots=True)
class GameSettings:
    """trials: messages of each of the two prompts that are counted. delta: of the epsilon that is proved and quoted.

    confidence: of every interval. seed: of the releases. Raises UserError for values out of range.
    """

    trials: int
    seed: int = 0
    delta: float = 1e-5
    confidence: float = 0.95

    def __post_init__(self) -> None:
        whole_at_least("trials", self.trials, 1)
        for name in ("delta", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"Expected {name} in (0, 1), got {name}={getattr(self, name)}.")

    @property
    def pilot(self) -> int:
        """Further messages of each prompt, which only choose the thresholds: they are not counted."""
        return max(_LEAST_PILOT, min(_MOST_PILOT, self.trials // 4))


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The test [statistic > threshold (nats)]. alpha, beta: its errors of type I and II, each with its own interval.

    least_beta: of any test at the measured alpha; None where no curve is known. beats: both errors together are fewer
    than the curve allows, as del_audit.statistics.contradiction judges all points of all games together: the
    implementation is broken.
    """

    threshold: float
    alpha: Figure
    beta: Figure
    least_beta: float | None
    beats: bool


@dataclass(frozen=True, slots=True)
class EpsilonLimit:
    """value: epsilon at delta is at least this (nats), at that confidence, whatever the accountant says.

    sample: messages of each of the two prompts.
    """

    value: float
    delta: float
    confidence: float
    sample: int
    seed: int
    unit: str = "nats"
    kind: str = "estimated, lower confidence limit"
    method: str = "Clopper-Pearson, Bonferroni over operating points"


@dataclass(frozen=True, slots=True)
class Game:
    """One game. points: by rising threshold. advantage: true less false positives of the test at threshold 0.

    auc: chance that a message of the second prompt has the larger statistic. epsilon: what the game proves.
    unit, tokens: of the guarantee that bounds it; tokens that differ, each counted as often as it is sent.
    total_variation, exact_epsilon, exact_auc: of the guarantee, at epsilon.delta; None where no exact curve is known.
    own_total_variation, own_epsilon: of this very pair; None where they were not asked for.
    """

    name: str
    test: str
    version: int
    unit: Unit
    tokens: int
    trials: int
    seed: int
    points: tuple[OperatingPoint, ...]
    advantage: Figure
    auc: Figure
    epsilon: EpsilonLimit
    total_variation: Bound | None = None
    exact_epsilon: Bound | None = None
    exact_auc: float | None = None
    own_total_variation: Bound | None = None
    own_epsilon: Bound | None = None

    @property
    def broken(self) -> bool:
        """Whether any test makes fewer errors than the guarantee allows."""
        return any(point.beats for point in self.points)

    @property
    def drawn(self) -> tuple[Floats, Floats]:
        """The measured (alpha, beta) of the points, for drawing on the curve: shape (points,) each."""
        return np.array([p.alpha.value for p in self.points]), np.array([p.beta.value for p in self.points])

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names, and `broken`."""
        return asdict(self) | {"broken": self.broken}


@dataclass(frozen=True, slots=True)
class Guarantee:
    """What bounds a game: the curve, and figures of it where it is DEL's own; None where nothing is known."""

    unit: Unit
    tokens: int
    curve: Curve | None
    total_variation: Bound | None = None
    epsilon: Bound | None = None
    auc: float | None = None


def judge(
    name: str,
    attack: "Named",
    released: Sequence[Floats],
    allowed: Guarantee,
    settings: GameSettings,
    games: int = 1,
    own: tuple[Bound | None, Bound | None] = (None, None),
) -> Game:
    """Returns the figures of one game.

    released: statistics under null and alternative, settings.pilot + settings.trials each. games: how many are judged
    together. own: total variation and epsilon of the very pair.
    """
    # values of one likelihood ratio that were added up in another order fall together
    null, alternative = (np.round(side[settings.pilot :], 9) for side in released)
    thresholds = _thresholds(*(side[: settings.pilot] for side in released))
    judged = len(thresholds) * games
    confidence, seed = settings.confidence, settings.seed
    limit = _epsilon_limit(thresholds, null, alternative, settings.delta, confidence)
    return Game(
        name,
        attack.name,
        attack.version,
        allowed.unit,
        allowed.tokens,
        settings.trials,
        seed,
        tuple(_point(t, null, alternative, allowed.curve, judged, confidence) for t in thresholds),
        _advantage(null, alternative, confidence),
        _auc(null, alternative, seed, name, confidence),
        EpsilonLimit(limit, settings.delta, confidence, settings.trials, seed),
        allowed.total_variation,
        allowed.epsilon,
        allowed.auc,
        *own,
    )


def _thresholds(null: Floats, alternative: Floats) -> Floats:
    """Returns thresholds, rising: 0 and quantiles of both pilots; what is tested plays no part."""
    marks = [
        np.quantile(null, _NULL_LEVELS, method="higher"),
        np.quantile(alternative, _ALTERNATIVE_LEVELS, method="lower"),
    ]
    every: Floats = np.unique(np.round(np.concatenate([*marks, [0.0]]), 9))
    finite: Floats = every[np.isfinite(every)]
    return finite


def _point(
    threshold: float, null: Floats, alternative: Floats, curve: Curve | None, judged: int, confidence: float
) -> OperatingPoint:
    false, missed = _errors(threshold, null, alternative)
    alpha = rate(false, len(null), "share of messages taken for the second", "messages", confidence)
    beta = rate(missed, len(alternative), "share of messages taken for the first", "messages", confidence)
    if curve is None:
        return OperatingPoint(float(threshold), alpha, beta, None, False)
    least = float(curve.beta(alpha.value))
    beats = beta.value < least and beaten(false, missed, len(null), curve, judged)
    return OperatingPoint(float(threshold), alpha, beta, least, beats)


def beaten(false: int, missed: int, trials: int, curve: Curve, judged: int) -> bool:
    """Returns whether a test makes so few errors that the curve is contradicted; judged: points judged together.

    false, missed: errors of type I and II among so many trials of each prompt.
    """
    return improbable(p_value(false, missed, trials, curve, level_of(judged)), judged)


def p_value(false: int, missed: int, trials: int, curve: Curve, level: float) -> float:
    """Returns a bound on the chance of so few errors of both types where no test is below the curve, tight near level.

    False and missed are independent, Bin(trials, alpha) and Bin(trials, beta) with beta >= curve(alpha): the two lower
    tails are combined as Fisher (1932) does, and the largest result over alpha is taken. It is bounded cell by cell:
    at a cell's lower end the first tail is largest, at its upper end the curve is lowest.
    """
    if max(false, missed) == trials:
        return 1.0
    rare = np.geomspace(1.0, level * 1e-3, _CELLS)
    tails = np.unique(np.concatenate([rare, 1 - rare[rare < 0.1]]))[::-1]  # of the errors of type I, falling
    alphas = betaincinv(false + 1, trials - false, 1 - tails)
    ends = np.append(np.clip(curve.beta(alphas[1:]), 0, 1) * (1 - 1e-9), 0.0)
    product = np.maximum(tails * betainc(trials - missed, missed + 1, 1 - ends), np.finfo(float).tiny)
    return float((product * (1 - np.log(product))).max())


def _epsilon_limit(thresholds: Floats, null: Floats, alternative: Floats, delta: float, confidence: float) -> float:
    """Returns the largest epsilon (nats) that any point proves, in either direction; all its limits hold at once."""
    tail, best = (1 - confidence) / (2 * len(thresholds)), 0.0
    for threshold in thresholds:
        alpha, beta = (_upper(k, len(null), tail) for k in _errors(threshold, null, alternative))
        for one, other in ((alpha, beta), (beta, alpha)):
            if 1 - other - delta > 0:
                best = max(best, math.log((1 - other - delta) / one))
    return best


def _errors(threshold: float, null: Floats, alternative: Floats) -> tuple[int, int]:
    return int((null > threshold).sum()), int((alternative <= threshold).sum())


def _upper(successes: int, trials: int, tail: float) -> float:
    return clopper_pearson(successes, trials, 1 - 2 * tail)[1]


def _advantage(null: Floats, alternative: Floats, confidence: float) -> Figure:
    """Returns 1 - alpha - beta at threshold 0; each error's interval fails with half the probability."""
    false, missed = _errors(0.0, null, alternative)
    half = (1 + confidence) / 2
    alpha, beta = clopper_pearson(false, len(null), half), clopper_pearson(missed, len(alternative), half)
    value = 1 - false / len(null) - missed / len(alternative)
    return Figure(
        value,
        1 - alpha[1] - beta[1],
        1 - alpha[0] - beta[0],
        "true less false positives",
        len(null) + len(alternative),
        "messages",
        "Clopper-Pearson of both errors, Bonferroni",
        confidence,
    )


def _auc(null: Floats, alternative: Floats, seed: int, name: str, confidence: float) -> Figure:
    """Returns the Mann-Whitney statistic; the interval is Clopper-Pearson's over disjoint pairs, ties by a coin.

    It is exact for any laws, wider than what all pairs would allow, and does not collapse where the two never mix.
    """
    count = len(null)
    ranks = rankdata(np.concatenate([null, alternative]))[count:]
    value = float((ranks.sum() - count * (count + 1) / 2) / count**2)
    coin = simulation_generator(seed, "ties", name).integers(0, 2, count).astype(np.bool_)
    wins = int(((alternative > null) | ((alternative == null) & coin)).sum())
    lower, upper = clopper_pearson(wins, count, confidence)
    return Figure(
        value,
        min(lower, value),
        max(upper, value),
        "area under the receiver operating curve",
        count,
        "pairs of messages",
        "Clopper-Pearson over disjoint pairs",
        confidence,
        seed=seed,
    )
