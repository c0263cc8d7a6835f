"""How much must be attacked so that an interval certifies a limit: the power of the intervals that certificates use.

Documents are of one length; the rate of each is drawn from a Beta law, so that two tokens of one document agree with
the given intracluster correlation: 0 for independent tokens, 1 for documents that are read whole or not at all.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, ndtr, ndtri
from scipy.stats import binom

from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import UNSEEN
from del_audit.statistics.sample_size import drawn_tail, gain_prompts, of_gain, scatter_of
from del_audit.statistics.sequential import METHOD, capital
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

RUNS = 1_000
"""Simulated samples behind a power: its standard error is below .01 at .9."""
MOST_DOCUMENTS = 20_000
MOST_TRIALS = 10_000_000
BISECTIONS = 60
NEAREST_RATE = 1e-4

IntervalName = Literal["unseen-document", "sequential", "Clopper-Pearson"]
METHODS: dict[IntervalName, str] = {
    "unseen-document": UNSEEN,
    "sequential": METHOD,
    "Clopper-Pearson": "Clopper-Pearson",
}
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is assumed before anything is attacked. rate: true share of tokens read. tokens: of each document.

    Raises UserError for a rate outside [0, 1), tokens below 1 and an intracluster correlation outside [0, 1].
    """

    rate: float
    tokens: int = 40
    intracluster: float = 0.05

    def __post_init__(self) -> None:
        if not 0 <= self.rate < 1:
            raise UserError(f"Expected the rate in [0, 1), got rate={self.rate}.")
        if self.tokens < 1:
            raise UserError(f"Expected tokens a document >= 1, got tokens={self.tokens}.")
        if not 0 <= self.intracluster <= 1:
            raise UserError(f"Expected intracluster in [0, 1], got intracluster={self.intracluster}.")

    def hits(self, documents: int, runs: int, seed: int) -> Counts:
        """Returns hits of each document, int64, shape (runs, documents); more documents are the same ones and more."""
        generator = simulation_generator(seed, "planned documents")
        shape, between = (documents, runs), self.intracluster
        if between == 1:
            return np.where(self.rate > generator.random(shape).T, self.tokens, 0)
        if between == 0 or self.rate == 0:
            return generator.binomial(self.tokens, self.rate, shape).T
        alike = (1 - between) / between
        return generator.binomial(self.tokens, generator.beta(self.rate * alike, (1 - self.rate) * alike, shape)).T


@dataclass(frozen=True, slots=True)
class Asked:
    """The claim: the interval's upper end is at most limit, at this confidence, with this probability (power).

    Raises UserError for values outside (0, 1).
    """

    limit: float
    confidence: float = 0.95
    power: float = 0.9

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"Expected {name} in (0, 1), got {name}={getattr(self, name)}.")


@dataclass(frozen=True, slots=True)
class Plan:
    """Documents to attack, and the power that they have. stops_after: mean documents attacked, where that is fewer."""

    interval: IntervalName
    documents: int
    tokens: int
    power: float
    stops_after: float | None = None


def assumed_from(figure: Figure) -> Assumed:
    """Returns the law that a measured rate and its interval are of, for more documents of the same kind.

    The correlation is the one that explains the width of an interval with an unseen document; 0 for any other.
    Raises UserError for a figure that is no rate below 1.
    """
    documents = figure.documents or figure.sample
    tokens, spread = max(1, round(figure.sample / documents)), figure.value * (1 - figure.value)
    between = 0.0
    if figure.method == UNSEEN and tokens > 1 and spread > 0:
        between = (scatter_of(figure, upward=True) ** 2 / spread * tokens - 1) / (tokens - 1)
    return Assumed(figure.value, tokens, min(1.0, max(0.0, between)))


def power_of(interval: IntervalName, assumed: Assumed, asked: Asked, documents: int, seed: int = 0) -> float:
    """Returns the probability that so many documents certify the limit.

    Clopper-Pearson: exact, for documents * tokens independent trials. The others: over RUNS simulated samples, the
    unseen document's interval by its law of weights (`certified`). Raises UserError for documents out of range.
    """
    if interval == "Clopper-Pearson":
        return float(_exact_power(np.array([documents * assumed.tokens]), assumed.rate, asked)[0])
    _in_range(documents)
    hits = assumed.hits(documents, RUNS, seed)
    if interval == "sequential":
        return float((_stopping(hits, assumed.tokens, asked) <= documents).mean())
    return float(certified(hits, assumed.tokens, asked).mean())


def plan_documents(interval: IntervalName, assumed: Assumed, asked: Asked, seed: int = 0) -> Plan:
    """Returns the fewest documents whose power is at least the one asked for.

    Raises UserError for a rate that is not below the limit, and where more than MOST_DOCUMENTS would be needed.
    """
    if assumed.rate >= asked.limit:
        raise UserError(f"Expected a rate < limit={asked.limit:g}, got rate={assumed.rate:g}: no sample certifies it.")
    if interval == "Clopper-Pearson":
        trials = _exact_trials(assumed, asked)
        documents = math.ceil(trials / assumed.tokens)
        return Plan(interval, documents, trials, power_of(interval, Assumed(assumed.rate, 1, 0), asked, trials))
    documents = _fewest(lambda count: power_of(interval, assumed, asked, count, seed) >= asked.power)
    power, stops = power_of(interval, assumed, asked, documents, seed), None
    if interval == "sequential":
        stopping = _stopping(assumed.hits(documents, RUNS, seed), assumed.tokens, asked)
        stops = float(np.minimum(stopping, documents).mean())
    return Plan(interval, documents, documents * assumed.tokens, power, stops)


def largest_rate(interval: IntervalName, assumed: Assumed, asked: Asked, documents: int, seed: int = 0) -> float | None:
    """Returns the largest true rate, to NEAREST_RATE, that so many documents certify with the power asked for.

    assumed: its tokens and correlation. None where not even a rate of 0 is certified.
    Raises UserError for documents out of range.
    """
    if interval != "Clopper-Pearson":
        _in_range(documents)

    def enough(rate: float) -> bool:
        tried = Assumed(rate, assumed.tokens, assumed.intracluster)
        return power_of(interval, tried, asked, documents, seed) >= asked.power

    if not enough(0.0):
        return None
    low, high = 0.0, asked.limit
    while high - low > NEAREST_RATE:
        middle = (low + high) / 2
        low, high = (middle, high) if enough(middle) else (low, middle)
    return low


def plan_prompts(figure: Figure, limit: float, power: float) -> int:
    """Returns the prompts after which the lower end of a mean like the figure's is at least the limit: approximate.

    The mean is taken for normal with the scatter that the figure's interval shows, and the interval for the figure's
    own: that of `gain_mean`, or one that narrows as one over the square root. It counts the figure's own sample unit.
    Raises UserError for a value that is not above the limit, and power outside (0, 1).
    """
    if not 0 < power < 1:
        raise UserError(f"Expected power in (0, 1), got power={power}.")
    if not figure.lower < figure.value or figure.value <= limit:
        raise UserError(f"Expected a figure above limit={limit:g}, got {figure.value:g}: no sample shows it.")
    if of_gain(figure):
        needed = gain_prompts(figure, limit, power)
        if needed is None:
            raise UserError(
                f"Expected a figure further above limit={limit:g}, got {figure.value:g}: no sample shows it."
            )
        return max(2, needed)
    end = -float(ndtri((1 - figure.confidence) / 2))
    ratio = (figure.value - figure.lower) / end * (end + float(ndtri(power))) / (figure.value - limit)
    return max(2, math.ceil(figure.sample * ratio**2))


def certified(hits: Counts, tokens: int, asked: Asked) -> NDArray[np.bool_]:
    """Returns whether `clustered_rate`'s upper end is expected to be at most the limit, bool, shape (runs,).

    hits: of documents of so many tokens, int64, shape (runs, documents). The end is a quantile of a ratio of
    exponentially weighted sums; that it is at most the limit says that the sum of weights times (hits - limit tokens),
    with one unseen document read whole, is above 0 with drawn_tail probability at most. That probability is by
    Lugannani and Rice's formula (1980), from the counts of documents with equally many hits: no weights are drawn.
    """
    kinds = np.arange(tokens + 1)
    rows = np.arange(len(hits))[:, None] * (tokens + 1) + hits
    counts = np.bincount(rows.ravel(), minlength=len(hits) * (tokens + 1)).reshape(len(hits), tokens + 1)
    counts[:, tokens] += 1  # the unseen document
    if tokens == 1 or not (counts[:, 1:-1].any()):
        right = counts[:, tokens] - 1  # documents of 0 and 1: Gaffke's bound is Clopper and Pearson's
        tail = (1 - asked.confidence) / 2 if tokens == 1 else drawn_tail(asked.confidence)
        return np.asarray(bdtr(right, hits.shape[1], asked.limit) <= tail)
    return np.asarray(_tail(counts, kinds / tokens - asked.limit) <= drawn_tail(asked.confidence))


def _tail(counts: Counts, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns P(sum of counts of Gamma weights times values > 0), shape (runs,); 1 where it is above about 1/2."""
    below = counts @ values < 0
    low, high = np.zeros(len(counts)), np.full(len(counts), 1 / values.max())
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        slope = (counts * (values / (1 - middle[:, None] * values))).sum(axis=1)
        low, high = np.where(slope < 0, middle, low), np.where(slope < 0, high, middle)
    point = np.maximum(low, 1e-12)
    one = 1 - point[:, None] * values
    depth = np.sqrt(np.maximum(2 * (counts * np.log(one)).sum(axis=1), 1e-24))
    steep = point * np.sqrt((counts * (values / one) ** 2).sum(axis=1))
    density = np.exp(-(depth**2) / 2) / math.sqrt(2 * math.pi)
    return np.where(below, np.clip(ndtr(-depth) + density * (1 / steep - 1 / depth), 0, 1), 1.0)


def _stopping(hits: Counts, tokens: int, asked: Asked) -> NDArray[np.float64]:
    """Returns the first document after which the sequential interval certifies the limit; infinity where none."""
    sizes, decisive = np.full(hits.shape[1], float(tokens)), math.log(2 / (1 - asked.confidence))
    found = np.full(len(hits), math.inf)
    for run, read in enumerate(hits):
        won = capital(read.astype(np.float64), sizes, tokens, len(read), asked.limit, asked.confidence)[1] >= decisive
        if won.any():
            found[run] = won.argmax() + 1
    return found


def _exact_power(trials: Counts, rate: float, asked: Asked) -> NDArray[np.float64]:
    """Returns the chance that Clopper and Pearson's upper end is at most the limit, for each number of trials."""
    tail = (1 - asked.confidence) / 2
    most = binom.ppf(tail, trials, asked.limit)
    most = np.where(bdtr(most, trials, asked.limit) <= tail, most, most - 1)
    return np.where(most >= 0, bdtr(np.maximum(most, 0), trials, rate), 0.0)


def _exact_trials(assumed: Assumed, asked: Asked) -> int:
    """Returns the fewest trials from which on the power is enough: it rises in saw teeth, one in 1 / limit trials."""
    teeth = np.arange(math.ceil(3 / asked.limit))

    def enough(trials: int) -> bool:
        return bool((_exact_power(trials + teeth, assumed.rate, asked) >= asked.power).all())

    low, high = 0, 64
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_TRIALS:
            raise UserError(
                f"Expected a rate further below limit={asked.limit:g}, got rate={assumed.rate:g}: more than "
                f"{MOST_TRIALS:,} trials would be needed."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _fewest(enough: Callable[[int], bool]) -> int:
    """Returns the fewest documents that are enough; raises UserError where MOST_DOCUMENTS are not."""
    low, high = 1, 16
    while not enough(high):
        if high == MOST_DOCUMENTS:
            raise UserError(
                f"Expected a limit that {MOST_DOCUMENTS:,} documents can certify, got none: ask for less power, or "
                "for a limit further from the expected rate."
            )
        low, high = high, min(2 * high, MOST_DOCUMENTS)
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _in_range(documents: int) -> None:
    if not 2 <= documents <= MOST_DOCUMENTS:
        raise UserError(f"Expected documents in 2..{MOST_DOCUMENTS:,}, got documents={documents}.")
