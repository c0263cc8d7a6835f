"""The trained contextual inverter: an attack on any mechanism whose messages can be read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch

from attacks.base import AttackerKnowledge, AttackOptions, observe
from attacks.inversion.contextual.reader import Reader
from attacks.inversion.contextual.settings import ContextualTraining, NetworkShape
from attacks.inversion.contextual.training import Fitting, require_text
from attacks.ranking import DEPTH, Guesses, best_words
from attacks.registry import version_of
from mechanisms.canonical_json import Json
from mechanisms.device_channel import as_block
from mechanisms.mechanism import Observed
from mechanisms.models import LanguageModel

BRIEF = 60


@dataclass(frozen=True, slots=True)
class ContextualInverter:
    """The likeliest words given the whole prompt's release, as a network trained on public text estimates them.

    It reads both sides of a token. Where the channel is known, it corrects the exact posterior; where not, it learns
    all of it from simulated releases. folder: where a fit is kept, under a hash of all that decides it, and where one
    that was killed is gone on with; it does not change the result, and None keeps nothing.
    """

    name: str = "contextual inverter"
    version: int = version_of("contextual")
    context_free: ClassVar[bool] = False
    shape: NetworkShape = field(default_factory=NetworkShape)
    training: ContextualTraining = field(default_factory=ContextualTraining)
    depth: int = DEPTH
    folder: Path | None = field(default=None, compare=False)

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth and folder."""
        return cls(depth=options.depth, folder=options.folder)

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError for too little public text to train on."""
        require_text(documents, self.training.window)

    def fit(self, public: AttackerKnowledge) -> "ContextualAttacker":
        """Returns the attacker, of the step with the lowest loss on public documents that are kept out of training.

        Step 0, which ranks as MAP does where the channel is known, is among them. Raises UserError for fewer than two
        public documents, for fewer tokens to train on than a window, and as mechanisms.training.loop.run does.
        """
        about: dict[str, Json] = {"attack": self.name, "version": self.version}
        fitting = Fitting.of(public, self.shape, self.training, about)
        fitting.run(self.folder)
        return ContextualAttacker(fitting.reader, self.depth)

    def brief(self, public: AttackerKnowledge) -> "ContextualInverter":
        """Returns the same attack after BRIEF steps, kept nowhere: for self-tests, where nothing is hard to learn."""
        return replace(self, training=replace(self.training, steps=min(BRIEF, self.training.steps)), folder=None)


@dataclass(frozen=True, slots=True)
class ContextualAttacker:
    """The attack on one mechanism."""

    reader: Reader
    depth: int = DEPTH

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message; their scores are log posterior probabilities over all words, nats."""
        return [self._guess(one) for one in observe(self.reader.evidence.mechanism, messages)]

    def _guess(self, observed: Observed) -> Guesses:
        depth = min(self.depth, len(self.reader.evidence.rows))
        words, scores = np.empty((len(observed), depth), np.int32), np.empty((len(observed), depth), np.float32)
        for part, block in self.reader.blocks(observed):
            words[part], best = best_words(as_block(block, self.reader.evidence.device), depth)
            scores[part] = best - torch.logsumexp(block, 1, keepdim=True).cpu().numpy()
        return Guesses(words, scores)
