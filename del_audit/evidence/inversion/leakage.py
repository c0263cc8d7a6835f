"""What the inversion attacks read, beside what the guarantee allows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.base import InversionAttack
from attacks.outcome import Outcome
from attacks.registry import AttackName
from attacks.self_test import SelfTest
from del_audit.accounting import Bound
from del_audit.accounting.any_mechanism import guess_bound, has_proof
from del_audit.evidence.inversion.meaning import SHARE_MEANT, Meaning
from del_audit.evidence.inversion.worst_prompt import worst_prompt
from del_audit.statistics.bootstrap import Clusters
from del_audit.statistics.contradiction import contradicts, lower_limit, upper_limit
from del_audit.statistics.figure import Figure
from del_audit.statistics.intervals import clustered_rate
from mechanisms.description import Description

COMMON_WORDS = 100
SHARE_READ = "share of tokens recovered"
Ran = Mapping[AttackName, tuple[InversionAttack, Outcome]]
"""Attacks that ran, each with what it guessed, under its short name."""


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """key, name: the attack's short name, which figures are paired by, and what reports call it.

    success: share of tokens guessed. above: its lower limit, corrected for the number of attacks. meaning,
    meaning_above: the same of tokens guessed up to meaning; None where it was not asked for, or does not hold.
    rare: success among tokens that are none of the commonest COMMON_WORDS words.
    worst: success on the prompt that is read best. broken_below: the lower limit of success that
    del_audit.statistics.contradiction judges, shared over the ladder; None for an attack that looks at more than one
    token, which the bound does not speak of.
    """

    key: AttackName
    name: str
    version: int
    success: Figure
    above: float
    rare: Figure | None
    worst: Figure
    broken_below: float | None
    outcome: Outcome
    meaning: Figure | None = None
    meaning_above: float | None = None


@dataclass(frozen=True, slots=True)
class Leakage:
    """kappa: upper limit of the commonest word's share among the attacked tokens.

    allowed: the bound of theorem 6, or 24, on any context-free attack, at kappa; it holds per token, on average. None
    for a mechanism without a proved guarantee.
    unusable: the self-tests that were not passed; what those attacks read is not among `attacks`.
    """

    attacks: tuple[AttackFigures, ...]
    kappa: float
    allowed: Bound | None
    unusable: tuple[SelfTest, ...] = ()

    @property
    def strongest(self) -> AttackFigures:
        """The attack of largest upper limit: its upper end covers the best attack's rate without correction.

        The best attack's own interval fails with the stated probability, and this upper end is no smaller.
        """
        return max(self.attacks, key=lambda attack: attack.success.upper)

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of attacks that succeed more often than the guarantee allows."""
        most = None if self.allowed is None else self.allowed.upper
        return tuple(a.name for a in self.attacks if contradicts(a.broken_below, most))

    def of(self, key: AttackName) -> AttackFigures:
        """Returns an attack's figures; raises KeyError for one that did not run."""
        return {figures.key: figures for figures in self.attacks}[key]


def measure_leakage(
    outcomes: Ran,
    spec: Description,
    prior: NDArray[np.float64],
    seed: int,
    unusable: Sequence[SelfTest] = (),
    *,
    longest: int,
    context_longest: int | None = None,
    sends: int = 1,
    meaning: Meaning | None = None,
) -> Leakage:
    """Returns what each attack read, with intervals over documents, and what the guarantee allows.

    outcomes: may be of different prompts; kappa is the largest of those that a context-free attack saw. spec: of the
    mechanism that released. longest: tokens of one document that can be attacked at most, known before any is drawn;
    context_longest: the same for attacks on contexts, longest where left out. sends: releases of each token that the
    attacks held. meaning: which guesses count up to meaning; None leaves those figures out.
    Raises UserError for outcomes of a single document, for a document of more tokens than longest, and with meaning as
    its `recovered` does.
    """
    common = np.argsort(-prior)[:COMMON_WORDS]
    free = sum(attack.context_free for attack, _ in outcomes.values())
    figures = []
    meant = meaning.recovered([outcome for _, outcome in outcomes.values()]) if meaning else [None] * len(outcomes)
    for (key, (attack, outcome)), guessed in zip(outcomes.items(), meant, strict=True):
        most = longest if attack.context_free or context_longest is None else context_longest
        rare = ~np.isin(outcome.truth, common)
        below = lower_limit(int(outcome.hits.sum()), len(outcome), free) if attack.context_free else None
        about = (outcome.clusters, most)
        success, above = rate_and_limit(outcome.hits, *about, SHARE_READ, seed, len(outcomes))
        alike = (None, None) if guessed is None else rate_and_limit(guessed, *about, SHARE_MEANT, seed, len(outcomes))
        figures.append(
            AttackFigures(
                key,
                attack.name,
                attack.version,
                success,
                above,
                _rate_of(outcome, rare, most, seed),
                worst_prompt(outcome, attack.context_free),
                below,
                outcome,
                *alike,
            )
        )
    free_outcomes = (outcome for attack, outcome in outcomes.values() if attack.context_free)
    kappa = max((upper_limit(int(np.bincount(o.truth).max()), len(o)) for o in free_outcomes), default=1.0)
    allowed = guess_bound(spec, kappa, sends) if has_proof(spec) else None
    return Leakage(tuple(figures), kappa, allowed, tuple(unusable))


def rate_and_limit(
    hits: NDArray[np.bool_],
    clusters: Clusters,
    longest: int,
    unit: str,
    seed: int,
    together: int,
    confidence: float = 0.95,
) -> tuple[Figure, float]:
    """Returns a rate with its own interval, and its lower limit where so many attacks are judged together.

    The limits of all of them together are wrong with a chance of at most half of 1 - confidence (Bonferroni).
    """
    own = clustered_rate(hits, clusters, longest, unit, "tokens", seed, confidence)
    shared = clustered_rate(hits, clusters, longest, unit, "tokens", seed, 1 - (1 - confidence) / together)
    return own, shared.lower


def _rate_of(outcome: Outcome, chosen: NDArray[np.bool_], longest: int, seed: int) -> Figure | None:
    """Returns the share of the chosen tokens read; None where they are of fewer than two documents."""
    clusters = outcome.clusters[chosen]
    if len(np.unique(clusters)) < 2:
        return None
    return clustered_rate(outcome.hits[chosen], clusters, longest, "share of rarer tokens recovered", "tokens", seed)
