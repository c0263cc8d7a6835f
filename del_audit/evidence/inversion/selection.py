"""Which of several attacks is the strongest, and a figure for it that the picking has not flattered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import require_same_prompts
from del_audit.statistics.bootstrap import group
from del_audit.statistics.comparison import holm, sign_flip
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_mean
from mechanisms.errors import UserError
from mechanisms.randomness import simulation_generator

FEWEST_DOCUMENTS = 4
"""To split: two to choose on, and two for an interval."""

Score = Callable[[Outcome], NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Considered:
    """One attack of those picked from. chosen_by: its mean score on the documents that it was picked on.

    p: of the hypothesis that it reads no more and no less than the baseline, by sign flips of whole documents; holm:
    corrected for all attacks considered. None without a baseline, and for holdout but for the attack that was picked.
    """

    attack: str
    version: int
    chosen_by: float
    p: float | None
    holm: float | None


@dataclass(frozen=True, slots=True)
class Strongest:
    """The attack at `index` of those considered, its figure, and how it was picked, in words for a certificate."""

    index: int
    attack: str
    version: int
    figure: Figure
    method: str
    how: str
    considered: tuple[Considered, ...]


def hits(outcome: Outcome) -> NDArray[np.bool_]:
    """Returns whether each token's first guess is right: what attacks are picked by unless told otherwise."""
    return outcome.hits


def strongest(
    outcomes: Sequence[Outcome],
    seed: int,
    method: Literal["holdout", "simultaneous"] = "holdout",
    baseline: Outcome | None = None,
    confidence: float = 0.95,
    score: Score = hits,
    unit: str = "share of tokens read",
    *,
    longest: int,
) -> Strongest:
    """Returns the attack of largest mean score and its figure, whose interval holds in spite of the picking.

    holdout: half of the documents pick, and the figure is the picked attack's on the others, which nothing was picked
    on. simultaneous: all documents pick, and the interval is for the largest true mean of any attack: its lower end is
    the largest lower limit, each at an equal share of the tail (Bonferroni); its upper end is the largest upper limit
    at the whole tail, no less than that of the truly strongest attack, which needs no share. The value is the largest
    mean seen, which is too high on average: quote the ends.
    score: of each token, in [0, 1]. longest: the most tokens that one document can have, fixed before any is drawn.
    Raises UserError for no outcome, outcomes of different prompts, another method,
    and documents too few to split (FEWEST_DOCUMENTS) or for an interval.
    """
    if not outcomes:
        raise UserError("Expected outcomes of at least one attack to pick from, got none.")
    require_same_prompts([*outcomes] if baseline is None else [*outcomes, baseline])
    if method not in ("holdout", "simultaneous"):
        raise UserError(f"Expected method to be holdout or simultaneous, got method={method!r}.")
    scores = [np.asarray(score(outcome), dtype=np.float64) for outcome in outcomes]
    given = None if baseline is None else np.asarray(score(baseline), dtype=np.float64)
    clusters = outcomes[0].clusters
    if method == "holdout":
        return _on_a_holdout(outcomes, scores, given, clusters, longest, seed, confidence, unit)
    return _simultaneous(outcomes, scores, given, clusters, longest, seed, confidence, unit)


def halves(clusters: NDArray[np.str_], seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Returns the trials of half of the documents, drawn at random, and those of the others, shape (trials,) each.

    No document is on both sides. Raises UserError for fewer than FEWEST_DOCUMENTS.
    """
    documents = np.unique(clusters)
    if len(documents) < FEWEST_DOCUMENTS:
        raise UserError(f"Expected {FEWEST_DOCUMENTS} documents or more to split in halves, got {len(documents)}.")
    drawn = simulation_generator(seed, "holdout").permutation(documents)
    first = np.isin(clusters, drawn[: len(documents) // 2])
    return first, ~first


def _on_a_holdout(
    outcomes: Sequence[Outcome],
    scores: list[NDArray[np.float64]],
    given: NDArray[np.float64] | None,
    clusters: NDArray[np.str_],
    longest: int,
    seed: int,
    confidence: float,
    unit: str,
) -> Strongest:
    picking, reporting = halves(clusters, seed)
    means = [float(values[picking].mean()) for values in scores]
    index = int(np.argmax(means))
    figure = clustered_mean(scores[index][reporting], clusters[reporting], longest, unit, "tokens", seed, confidence)
    p = None
    if given is not None:
        p = _p(scores[index][reporting] - given[reporting], clusters[reporting], seed)
    considered = tuple(
        Considered(o.attack, o.version, mean, p if place == index else None, p if place == index else None)
        for place, (o, mean) in enumerate(zip(outcomes, means, strict=True))
    )
    how = (
        f"picked of {len(outcomes)} attacks on {len(np.unique(clusters[picking]))} documents; "
        f"reported on {figure.documents} other documents"
    )
    return Strongest(index, outcomes[index].attack, outcomes[index].version, figure, "holdout", how, considered)


def _simultaneous(
    outcomes: Sequence[Outcome],
    scores: list[NDArray[np.float64]],
    given: NDArray[np.float64] | None,
    clusters: NDArray[np.str_],
    longest: int,
    seed: int,
    confidence: float,
    unit: str,
) -> Strongest:
    shared = 1 - (1 - confidence) / len(outcomes)
    own = [clustered_mean(values, clusters, longest, unit, "tokens", seed, confidence) for values in scores]
    lower = max(clustered_mean(values, clusters, longest, unit, "tokens", seed, shared).lower for values in scores)
    means = [figure.value for figure in own]
    index, upper = int(np.argmax(means)), max(figure.upper for figure in own)
    best = own[index]
    how = f"picked of {len(outcomes)} attacks on all {best.documents} documents; the interval allows for the picking"
    figure = Figure(
        best.value,
        lower,
        upper,
        unit,
        best.sample,
        best.sample_unit,
        f"{best.method}, the largest of {len(outcomes)}, Bonferroni below",
        confidence,
        documents=best.documents,
        seed=seed,
    )
    tests: list[float | None] = [None] * len(outcomes)
    corrected = tests
    if given is not None:
        found = [_p(values - given, clusters, seed) for values in scores]
        tests, corrected = [*found], [*holm(found)]
    considered = tuple(
        Considered(o.attack, o.version, mean, p, together)
        for o, mean, p, together in zip(outcomes, means, tests, corrected, strict=True)
    )
    return Strongest(index, outcomes[index].attack, outcomes[index].version, figure, "simultaneous", how, considered)


def _p(gaps: NDArray[np.float64], clusters: NDArray[np.str_], seed: int) -> float:
    return sign_flip(group(clusters, len(gaps)).sums(gaps), seed)
