"""What the inversion attacks read, beside what the guarantee allows them."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.base import InversionAttack, Public
from attacks.outcome import Outcome, invert
from attacks.self_test import SelfTest
from del_audit.accounting import Bound, inversion_bound
from del_audit.evidence.figure import Figure
from del_audit.evidence.intervals import clopper_pearson, clustered_rate
from del_audit.evidence.worst_prompt import worst_prompt
from mechanisms.spec import QuantizerSpec

COMMON_WORDS = 100
ALARM = 1e-4
"""False-alarm rate, over the whole ladder, of the claim that an attack beat what the guarantee allows."""


@dataclass(frozen=True, slots=True)
class AttackFigures:
    """success: share of tokens guessed. rare: the same among tokens that are none of the commonest COMMON_WORDS words.

    worst: success on the prompt that is read best. broken_below: a lower limit of success that is wrong with
    probability at most ALARM over the ladder: above the allowed bound, it proves the implementation broken; None for
    an attack that looks at more than one token, which the bound does not speak of.
    """

    name: str
    version: int
    success: Figure
    rare: Figure | None
    worst: Figure
    broken_below: float | None
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Leakage:
    """kappa: upper limit of the commonest word's share among the attacked tokens.

    allowed: the bound of theorem 6 on any context-free attack, at kappa; it holds per token, on average.
    unusable: the self-tests that were not passed; what those attacks read is not among `attacks`.
    """

    attacks: tuple[AttackFigures, ...]
    kappa: float
    allowed: Bound
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
        below = ((a.name, a.broken_below) for a in self.attacks)
        return tuple(name for name, limit in below if limit is not None and limit > self.allowed.upper)


@dataclass(frozen=True, slots=True)
class Sent:
    """Released private prompts: messages, the true tokens that score the guesses, and the document of each."""

    messages: Sequence[bytes]
    truths: Sequence[Sequence[int]]
    documents: Sequence[Hashable]

    def one_a_document(self, count: int) -> "Sent":
        """Returns the first prompt of each of the first `count` documents."""
        first = list({document: i for i, document in reversed(list(enumerate(self.documents)))}.values())
        kept = sorted(first)[:count]
        return Sent([self.messages[i] for i in kept], [self.truths[i] for i in kept], [self.documents[i] for i in kept])


def run_ladder(ladder: Sequence[InversionAttack], public: Public, sent: Sent) -> list[tuple[InversionAttack, Outcome]]:
    """Returns each attack of the ladder with its outcome on what was sent; the truths reach no attack."""
    return [
        (attack, invert(attack, attack.fit(public), sent.messages, sent.truths, sent.documents)) for attack in ladder
    ]


def measure_leakage(
    outcomes: Sequence[tuple[InversionAttack, Outcome]],
    spec: QuantizerSpec,
    prior: NDArray[np.float64],
    seed: int,
    unusable: Sequence[SelfTest] = (),
    *,
    longest: int,
) -> Leakage:
    """Returns what each attack read, with intervals over documents, and what the guarantee allows.

    outcomes: may be of different prompts; kappa is the largest of those that a context-free attack saw.
    spec: of the mechanism that released. longest: the most tokens that one document can have, fixed before any
    is drawn.
    Raises UserError for outcomes of a single document, and of one longer than that.
    """
    common = np.argsort(-prior)[:COMMON_WORDS]
    free = sum(attack.context_free for attack, _ in outcomes)
    figures = []
    for attack, outcome in outcomes:
        rare = ~np.isin(outcome.truth, common)
        below = None
        if attack.context_free:
            below, _ = clopper_pearson(int(outcome.hits.sum()), len(outcome), 1 - 2 * ALARM / free)
        figures.append(
            AttackFigures(
                attack.name,
                attack.version,
                clustered_rate(outcome.hits, outcome.clusters, longest, "share of tokens read", "tokens", seed),
                _rate_of(outcome, rare, longest, seed),
                worst_prompt(outcome, attack.context_free),
                below,
                outcome,
            )
        )
    commonest = [(int(np.bincount(o.truth).max()), len(o)) for attack, o in outcomes if attack.context_free]
    kappa = max((clopper_pearson(*count, 1 - 2 * ALARM)[1] for count in commonest), default=1.0)
    return Leakage(tuple(figures), kappa, inversion_bound(spec, kappa, proved=True), tuple(unusable))


def _rate_of(outcome: Outcome, chosen: NDArray[np.bool_], longest: int, seed: int) -> Figure | None:
    """Returns the share of the chosen tokens read; None where they are of fewer than two documents."""
    clusters: Any = outcome.clusters[chosen]
    if len(np.unique(clusters)) < 2:
        return None
    return clustered_rate(outcome.hits[chosen], clusters, longest, "share of rarer tokens read", "tokens", seed)
