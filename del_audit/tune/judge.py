"""Whether a candidate is within the policy's limits, with room for the certificate that is made on other documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from del_audit.certificate.config import Policy
from del_audit.evidence.figure import Figure
from del_audit.evidence.planning import Asked, assumed_from, power_of

ATTRIBUTE = "attribute_advantage_at_most"
TASK = "task_accuracy_at_least"
MOST_DOCUMENTS = 2_000
"""Documents that the chance of certification is worked out for, at most."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one attack read. slices: of those that the policy limits, those with tokens enough."""

    name: str
    context_free: bool
    success: Figure
    worst_prompt: Figure
    slices: Mapping[str, Figure] = field(default_factory=dict)


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

    def rest(self, readings: Sequence[Reading], gain: Figure, others: Mapping[str, Figure]) -> Over | None:
        """Returns the first other limit that an interval's far end is beyond; None where there is none.

        others: task accuracy and attribute advantage by their names in the policy.
        """
        for name, limit in self.policy.slice_success_at_most.items():
            if any(name not in each.slices for each in readings):
                return Over(f"slice {name}: too few tokens on the part to choose on for a figure", 1.0)
            figure = max((each.slices[name] for each in readings), key=lambda figure: figure.upper)
            if figure.upper > limit:
                return _beyond(f"slice {name}", figure, limit, "at most")
        if (most := self.policy.worst_prompt_success_at_most) is not None:
            worst = max((each.worst_prompt for each in readings), key=lambda figure: figure.upper)
            if worst.upper > most:
                return _beyond("worst prompt", worst, most, "at most")
        if (most := self.policy.attribute_advantage_at_most) is not None:
            figure = others[ATTRIBUTE]
            if figure.upper > most:
                return _beyond("attribute advantage", figure, most, "at most")
        if (least := self.policy.paired_gain_at_least) is not None and gain.lower < least:
            return _beyond("paired gain", gain, least, "at least")
        if (least := self.policy.task_accuracy_at_least) is not None and others[TASK].lower < least:
            return _beyond("task accuracy", others[TASK], least, "at least")
        return None


def certifiable(figure: Figure, limit: float, documents: int, power: float) -> bool:
    """Returns whether so many documents certify the limit with that power, were the true rate as measured."""
    if limit == 1:
        return True
    if figure.value >= limit or documents < 2:
        return False
    return power_of("unseen-document", assumed_from(figure), Asked(limit, power=power), documents) >= power


def _beyond(name: str, figure: Figure, limit: float, side: str) -> Over:
    end = figure.upper if side == "at most" else figure.lower
    said = f"{name} {figure.value:.3g} [{figure.lower:.3g}, {figure.upper:.3g}], where {side} {limit:g} is asked"
    return Over(said, end / limit if side == "at most" and limit > 0 else 1 + abs(end - limit))
