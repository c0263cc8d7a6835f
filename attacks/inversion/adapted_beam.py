"""Beam search, then both sides, with a language model adapted to public text and to reading after wrong words."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

from attacks.base import AttackerKnowledge, AttackOptions
from attacks.inversion.adapted.adapter import Adapter
from attacks.inversion.adapted.settings import Adaptation
from attacks.inversion.adapted.training import language_of, loss_of, require_text, trained
from attacks.inversion.two_sided import TwoSided, TwoSidedAttacker
from attacks.registry import version_of
from mechanisms.models import LanguageModel

WORSE = 0.02
"""Nats per token by which an adapter may read public text worse than the model without it."""


@dataclass(frozen=True, slots=True)
class AdaptedBeam:
    """Beam and both sides as TwoSided, whose model's low-rank adapters are trained on public text through noise.

    One adapter serves every mechanism over a model and public text. Where the model without it reads held-out public
    text better at the mechanism attacked, that one reads. folder: where adapters are kept; it does not change the
    result. adapter: one to read with whatever it is worth; None finds the one for this public text, or trains it.
    """

    search: TwoSided = field(default_factory=TwoSided)
    adaptation: Adaptation = field(default_factory=Adaptation)
    adapter: Adapter | None = None
    folder: Path | None = field(default=None, compare=False)
    name: str = "both sides, adapted language model"
    version: int = version_of("adapted-beam")
    context_free: ClassVar[bool] = False

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth and folder."""
        return cls(replace(cls().search, depth=options.depth), folder=options.folder)

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError as the beam's does, and for too little public text."""
        self.search.require(language, documents, longest)
        require_text(documents)

    def fit(self, public: AttackerKnowledge) -> TwoSidedAttacker:
        """Returns the attacker; raises UserError as the beam's fit does, and for too little public text."""
        plain = self.search.fit(public)  # refuses what the beam refuses, before anything is trained
        adapter = self.adapter or trained(public, self.adaptation, self.folder)
        if self.adapter is None and self._loss_added(adapter, public) > 0:
            return plain
        language = adapter.applied(language_of(public))
        return replace(self.search.fit(replace(public, language=language)), trained=adapter.sha256)

    def brief(self, public: AttackerKnowledge) -> "AdaptedBeam":
        """Returns the same attack with the adapter of this public world, for self-tests in others."""
        return replace(self, adapter=self.adapter or trained(public, self.adaptation, self.folder))

    def complaint(self, public: AttackerKnowledge) -> str:
        """Returns what is wrong with the adapter, as public text at the mechanism attacked shows it; "" if nothing."""
        adapter = self.adapter or trained(public, self.adaptation, self.folder)
        added = self._loss_added(adapter, public)
        if added <= WORSE:
            return ""
        return (
            f"Its adapter reads held-out public text worse than the model without it, by {added:.3f} nats per token: "
            f"it was trained on other noise or other text. Delete {adapter.folder}; it is trained again."
        )

    def _loss_added(self, adapter: Adapter, public: AttackerKnowledge) -> float:
        """Returns by how much the adapter makes held-out public text less likely, nats per token."""
        language = language_of(public)
        own = loss_of(public, adapter.applied(language).model, self.adaptation)
        return own - loss_of(public, language.model, self.adaptation)
