"""The yardstick: an attacker who does not look at the release."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from attacks.base import AttackerKnowledge, AttackOptions, TokenByToken
from attacks.ranking import DEPTH, Guesses, best_words
from attacks.registry import version_of
from mechanisms.mechanism import Observed


@dataclass(frozen=True, slots=True)
class CommonestWord:
    """Always answers the commonest words of the public text. An attack that does not beat it reads nothing."""

    name: str = "commonest word (baseline)"
    version: int = version_of("baseline")
    context_free: ClassVar[bool] = True

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it; it has no options."""
        return cls()

    def ceiling(self, public: AttackerKnowledge, prompts: Sequence[Sequence[int]]) -> float:
        """Returns the share of the prompts' tokens that are the commonest word: no release makes it more."""
        return float(np.mean(np.concatenate([np.asarray(prompt) for prompt in prompts]) == public.prior.argmax()))

    def fit(self, public: AttackerKnowledge) -> TokenByToken:
        """Returns the attacker who ranks by the prior alone."""
        words, scores = best_words(public.log_prior[None].astype(np.float32), min(DEPTH, public.words))

        def guesses(observed: Observed) -> Guesses:
            return Guesses(np.repeat(words, len(observed), 0), np.repeat(scores, len(observed), 0))

        return TokenByToken(public.mechanism, guesses)
