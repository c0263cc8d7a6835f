"""What the inversion attacks read, beside what the guarantee allows them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks.base import Outcome, invert, observe
from attacks.inversion import CommonestWord, MaximumAPosteriori, MaximumLikelihood, NearestNeighbour
from del_audit.accounting import Bound, inversion_bound
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import clopper_pearson, rate
from mechanisms.pipeline import Pipeline

LADDER = (CommonestWord(), NearestNeighbour(), MaximumLikelihood(), MaximumAPosteriori())
COMMON_WORDS = 100
ALARM = 1e-4
"""False-alarm rate, over the whole ladder, of the claim that an attack beat what the guarantee allows."""


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """success: share of tokens guessed. rare: the same among tokens that are none of the commonest COMMON_WORDS words.

    broken_below: a lower limit of success that is wrong with probability at most ALARM over the ladder: above the
    allowed bound, it proves the implementation broken. examples: the attack's guesses, in order.
    """

    name: str
    success: Figure
    rare: Figure | None
    broken_below: float
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Leakage:
    """kappa: upper limit of the commonest word's share among the attacked tokens.

    allowed: the bound of theorem 6 on any context-free attack, at kappa; it holds per token, on average.
    """

    attacks: tuple[AttackFigures, ...]
    kappa: float
    allowed: Bound

    @property
    def strongest(self) -> AttackFigures:
        """The attack of largest upper limit: its upper end covers the best attack's rate without correction.

        The best attack's own interval fails with the stated probability, and this upper end is no smaller.
        """
        return max(self.attacks, key=lambda attack: attack.success.upper)

    @property
    def broken(self) -> tuple[str, ...]:
        """Names of attacks that succeed more often than the guarantee allows."""
        return tuple(a.name for a in self.attacks if a.broken_below > self.allowed.upper)


def measure_leakage(public: Pipeline, messages: Sequence[bytes], documents: Sequence[Sequence[int]]) -> Leakage:
    """Returns what each attack of the ladder reads from the messages of private documents.

    documents: the true tokens, which score the guesses and reach no attack.
    """
    truth = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents])
    counts = observe(public, messages)
    rare = ~np.isin(truth, np.argsort(-public.prior)[:COMMON_WORDS])
    figures = []
    for attack in LADDER:
        outcome = invert(attack, public, counts, truth)
        hits, among = int(outcome.hits.sum()), int(rare.sum())
        rare_hits = int(outcome.hits[rare].sum())
        below, _ = clopper_pearson(hits, len(truth), 1 - 2 * ALARM / len(LADDER))
        figures.append(
            AttackFigures(
                attack.name,
                rate(hits, len(truth), "share of tokens read", "tokens"),
                rate(rare_hits, among, "share of rarer tokens read", "tokens") if among else None,
                below,
                outcome,
            )
        )
    commonest = int(np.bincount(truth).max())
    _, kappa = clopper_pearson(commonest, len(truth), 1 - 2 * ALARM)
    return Leakage(tuple(figures), kappa, inversion_bound(public.spec, kappa, proved=True))
