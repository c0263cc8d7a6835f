"""Whether a candidate is within the policy's limits, with room for the certificate that is made on other documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from del_audit.accounting.any_mechanism import Proved
from del_audit.configuration.limits import CONTROLS, Evidence, Unit, list_contenders, most_recovered
from del_audit.configuration.policy import Policy
from del_audit.configuration.verdict import Contender
from del_audit.evidence.candidate_list import TOO_FEW, ListFigure
from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure
from del_audit.statistics.planning import Asked, assumed_from, power_of
from del_audit.tune.proof import proved_epsilon, sent_bytes

ATTRIBUTE = "attribute_advantage_at_most"
TASK = "task_accuracy_at_least"
TASK_OVER = "task_over_majority"
SHARE = "share_of_clean_gain_at_least"
MOST_DOCUMENTS = 2_000
"""Documents that the chance of certification is worked out for, at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one attack read. slices: of those that the policy limits, those with tokens enough.

    above: a lower limit of success, corrected for the number of attacks; None where it was not measured.
    worst_of_releases: the worst prompt over repeated releases, where the policy limits it. meaning, meaning_above: what
    was read up to meaning, and its lower limit, where the policy limits it.
    """

    name: str
    context_free: bool
    success: Figure
    worst_prompt: Figure
    slices: Mapping[str, Figure] = field(default_factory=dict)
    above: float | None = None
    worst_of_releases: Figure | None = None
    meaning: Figure | None = None
    meaning_above: float | None = None


@dataclass(frozen=True, slots=True)
class Informed:
    """What attackers recover who know more, as far as the policy limits it.

    lists: texts picked out of lists; None where it was not measured. contexts: share of tokens recovered by who knows
    the context, by the sides that are known; empty where it was not measured.
    """

    lists: tuple[ListFigure, ...] | None = None
    contexts: Mapping[str, Figure] = field(default_factory=dict)


class Over(NamedTuple):
    """A limit that is not met: in words, and what was found over what is allowed."""

    why: str
    excess: float


@dataclass(frozen=True, slots=True)
class Judge:
    """documents: that the certifier attacks, by whether an attack is context-free. power: as Effort's."""

    policy: Policy
    documents: Mapping[bool, int]
    power: float

    def attacks(self, readings: Sequence[Reading]) -> Over | None:
        """Returns the attack that reads too much to be certified with the power asked for; None where none does."""
        limit = self.policy.attack_success_at_most
        if limit is None:
            return None
        for each in sorted(readings, key=lambda each: -each.success.value):
            documents = min(MOST_DOCUMENTS, self.documents[each.context_free])
            if not certifiable(each.success, limit, documents, self.power):
                read = f"{each.name} reads {each.success.value:.3g} of tokens"
                chance = f"at most {limit:g} with probability {self.power:g}"
                return Over(f"{read}: {documents} documents would not certify {chance}", each.success.value / limit)
        return None

    def rest(self, tuned: "Tuned", evidence: Evidence | None = None) -> Over | None:
        """Returns the first limit that a certificate would not pass, but for those of `attacks` and of the proof.

        evidence: only limits that need it are looked at.
        """
        asked = {name: None for name, row in self.policy.asked().items() if evidence not in (None, row.needs)}
        policy = self.policy.model_copy(update={**asked, "attack_success_at_most": None, "epsilon": ()})
        for check in policy.checks(tuned):
            if check.status != "passed":
                said = f"{check.found}, where {check.asked} is asked. {check.reason}"
                return Over(f"{check.limit}: {said}", 1.0)
        return None


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search measured of one candidate, as the policy's limits ask for it.

    others: further figures by their names (ATTRIBUTE, TASK, TASK_OVER, SHARE and the controls of the gain).
    """

    spec: Proved
    readings: Sequence[Reading] = ()
    paired_gain: Figure | None = None
    others: Mapping[str, Figure] = field(default_factory=dict)
    informed: Informed = field(default_factory=Informed)

    def epsilon(self, unit: Unit, tokens: int, sends: int, delta: float) -> Bound:
        """Proved epsilon (nats) at delta, for a unit of that many tokens, each sent so often."""
        return proved_epsilon(self.spec, unit, tokens, sends, delta)

    def bytes_per_token(self) -> float:
        """Payload on the wire, counted."""
        return sent_bytes(self.spec)

    def success(self) -> list[Contender]:
        """Share of tokens recovered by each attack."""
        return [Contender(each.name, each.success, each.above) for each in self.readings]

    def meaning(self) -> list[Contender]:
        """Share of tokens recovered up to meaning by each attack."""
        why = "no guess was compared up to meaning"
        return [Contender(each.name, each.meaning, each.meaning_above, why) for each in self.readings]

    def slice_success(self, name: str) -> list[Contender]:
        """Share of a slice's tokens recovered by each attack."""
        why = "too few tokens on the part to choose on for a figure"
        return [Contender(each.name, each.slices.get(name), why=why) for each in self.readings]

    def worst_prompt(self) -> list[Contender]:
        """Share recovered of the prompt that is read best, by each attack."""
        why = "no prompt was released repeatedly"
        return [Contender(each.name, each.worst_of_releases, why=why) for each in self.readings]

    def known_context(self) -> Figure | None:
        """Share of tokens recovered by who knows the context: of the attackers the one whose share may be largest."""
        return most_recovered(self.informed.contexts.values())

    def lists(self) -> list[Contender]:
        """Share of texts picked out of a list, for each list that was tried."""
        return [] if self.informed.lists is None else list_contenders(self.informed.lists, TOO_FEW)

    def attribute(self) -> tuple[str, Figure | None]:
        """The advantage of the strongest probe."""
        return "the attribute", self.others.get(ATTRIBUTE)

    def gain(self, control: str) -> Figure | None:
        """Nats per token that the released prompt saves over a control."""
        return self.paired_gain if control == CONTROLS[0] else self.others.get(control)

    def share_of_gain(self) -> Figure | None:
        """The gain over another user's prompt, as a share of what the clean prompt gives."""
        return self.others.get(SHARE)

    def task(self) -> tuple[str, Figure | None, Figure | None]:
        """The task's accuracy, and by how much it exceeds always naming the commonest class."""
        return "the task", self.others.get(TASK), self.others.get(TASK_OVER)


def certifiable(figure: Figure, limit: float, documents: int, power: float) -> bool:
    """Returns whether so many documents certify the limit with that power, were the true rate as measured."""
    if figure.value >= limit or documents < 2:
        return False
    return power_of("unseen-document", assumed_from(figure), Asked(limit, power=power), documents) >= power
