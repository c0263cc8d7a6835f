"""Two readers together: the contextual inverter, which reads releases on both sides, and a language model.

The inverter was trained on little text but on this very noise, and looks to the right too; the language model knows the
language but only what it has read so far. A beam search adds what both say of a word over its unigram probability.
Both look to the left, so the model's say counts by a weight below 1, which was chosen on public text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from attacks.base import AttackerKnowledge, AttackOptions
from attacks.inversion.contextual import ContextualInverter
from attacks.inversion.language_prior import BeamAttacker, LanguageBeam
from attacks.language_reader import Reader
from attacks.registry import version_of
from mechanisms.mechanism import Observed
from mechanisms.models import LanguageModel

HALF = 0.5
"""The model's weight unless the beam has one: the inverter has heard the left side already."""


@dataclass(frozen=True, slots=True)
class ContextualBeam:
    """Beam search whose evidence is the contextual inverter's posterior.

    beam: width, prior and weight of the search. It needs no known law.
    """

    inverter: ContextualInverter = field(default_factory=ContextualInverter)
    beam: LanguageBeam = field(default_factory=lambda: LanguageBeam(unigram_share=0.1, weight=HALF))
    name: str = "beam search over the contextual inverter"
    version: int = version_of("contextual-beam")
    context_free: ClassVar[bool] = False

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth, over an inverter with their depth and folder."""
        return cls(ContextualInverter.of(options), replace(cls().beam, depth=options.depth))

    def brief(self, public: AttackerKnowledge) -> "ContextualBeam":
        """Returns the same attack with a briefly trained inverter, for self-tests."""
        return replace(self, inverter=self.inverter.brief(public))

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError as the beam's and the inverter's do."""
        self.beam.require(language, documents, longest)
        self.inverter.require(language, documents, longest)

    def fit(self, public: AttackerKnowledge) -> BeamAttacker:
        """Returns the attacker; raises UserError without a language model that fits, and as the inverter's fit does."""
        reader = Reader.of(public, self.beam.temper, self.beam.unigram_share)
        inverter = self.inverter.fit(public)

        def posterior(seen: Observed) -> Tensor:
            return torch.log_softmax(torch.cat([block for _, block in inverter.reader.blocks(seen)]), 1)

        return BeamAttacker(public, self.beam, reader, posterior, self.beam.weight or HALF)
