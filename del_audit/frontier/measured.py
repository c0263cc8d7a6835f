"""What is known of a point after each stage, and how it is kept as JSON values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.candidate_list import ListFigure
from del_audit.frontier.points import Point
from del_audit.statistics.bound import Bound
from del_audit.statistics.figure import Figure
from mechanisms.canonical_json import Json

LISTED_OTHERS = "the other private texts"


@dataclass(frozen=True, slots=True)
class First:
    """The first stage.

    epsilon: of one token sent once, nats: at delta for DEL, pure for the others. Points of one epsilon share it.
    at_delta, pure: both figures of one token sent once. prompt: of a whole prompt at delta, at the policy's sends.
    baseline, map: share of private tokens recovered. information: that one release carries about a public token.
    """

    epsilon: Bound
    at_delta: Bound
    pure: Bound
    prompt: Bound
    bytes_per_token: float
    baseline: Figure
    map: Figure
    information: Figure

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields as JSON values; bounds with their kind."""
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "First":
        """Returns what to_dict wrote."""
        epsilon, at_delta, pure, prompt = (Bound(**kept[name]) for name in ("epsilon", "at_delta", "pure", "prompt"))
        baseline, found, told = (Figure(**kept[name]) for name in ("baseline", "map", "information"))
        return cls(epsilon, at_delta, pure, prompt, kept["bytes_per_token"], baseline, found, told)


@dataclass(frozen=True, slots=True)
class Attacked:
    """What one attack recovered. above, meaning_above: lower limits, corrected for the number of attacks."""

    key: str
    name: str
    version: int
    success: Figure
    above: float
    meaning: Figure
    meaning_above: float

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Attacked":
        """Returns what asdict wrote."""
        return cls(**{**kept, "success": Figure(**kept["success"]), "meaning": Figure(**kept["meaning"])})


@dataclass(frozen=True, slots=True)
class Knowing:
    """What who knows the words around a token recovers. context: of which sides. lift: above no release."""

    context: str
    success: Figure
    without: Figure
    lift: Figure

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Knowing":
        """Returns what asdict wrote."""
        return cls(kept["context"], *(Figure(**kept[name]) for name in ("success", "without", "lift")))


@dataclass(frozen=True, slots=True)
class Second:
    """The second stage. gains: of each prompt, in the order that all points share, nats per token, shape (prompts,).

    documents: which document each of these prompts is from. share: gain over the clean gain; None where that is not
    above zero. attribute: the probe's advantage; None where the configuration names no attribute. decoder: the
    point's. decoder_losses: on public text, nats a token, of those that it was chosen of; empty where there was no
    choice. soft_prompt: of the point's own, where it is kept and what its training did; None where it has the
    configuration's.
    """

    attacks: tuple[Attacked, ...]
    contexts: tuple[Knowing, ...]
    lists: tuple[ListFigure, ...]
    gains: NDArray[np.float64]
    documents: tuple[int, ...]
    gain: Figure
    share: Figure | None
    attribute: Figure | None
    decoder: str
    decoder_losses: Mapping[str, float] = field(default_factory=dict)
    soft_prompt: Mapping[str, Json] | None = None

    @property
    def strongest(self) -> Attacked:
        """The attack of largest upper end, which covers the best attack's rate without correction."""
        return max(self.attacks, key=lambda attack: attack.success.upper)

    @property
    def above(self) -> float:
        """A lower limit of what the best attack recovers, corrected for the number of attacks."""
        return max(attack.above for attack in self.attacks)

    @property
    def meaning_above(self) -> float:
        """The same limit of what is recovered up to meaning."""
        return max(attack.meaning_above for attack in self.attacks)

    @property
    def meaning(self) -> Figure:
        """What is recovered up to meaning by the attack that recovers most so."""
        return max((attack.meaning for attack in self.attacks), key=lambda figure: figure.upper)

    def knowing(self, context: str) -> Knowing:
        """Returns the figures of who knows those sides; raises StopIteration for others than left and both sides."""
        return next(each for each in self.contexts if each.context == context)

    @property
    def listed(self) -> ListFigure | None:
        """The figure of whole prompts among the other private texts, all cut alike; None where texts are too few."""
        same = [each for each in self.lists if each.decoys == LISTED_OTHERS and each.lengths == "equal"]
        return max(same, key=lambda each: each.tokens, default=None)

    def to_dict(self) -> dict[str, Json]:
        """Returns the figures as JSON values, without the single prompts' gains."""
        found: dict[str, Json] = {
            name: value for name, value in asdict(self).items() if name not in ("gains", "documents")
        }
        return {**found, "strongest": self.strongest.key, "above": self.above}


def list_figure(kept: Mapping[str, Any]) -> ListFigure:
    """Returns what asdict wrote."""
    return ListFigure(**{**kept, "success": Figure(**kept["success"])})


@dataclass(slots=True)
class Row:
    """A point with what was measured. why: what ended before the last stage, and for what reason."""

    point: Point
    first: First | None = None
    second: Second | None = None
    why: str = ""
