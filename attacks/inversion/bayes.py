"""The exact channel law turned against the release (docs/theory.md, theorem 7)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attacks.base import AttackerKnowledge, AttackOptions, TokenByToken
from attacks.ranking import DEPTH, Guesses, rank
from attacks.registry import version_of
from mechanisms.mechanism import Observed


@dataclass(frozen=True, slots=True)
class MaximumLikelihood:
    """The words under which the release is likeliest; knows the channel, no prior."""

    name: str = "maximum likelihood"
    version: int = version_of("likelihood")
    context_free: ClassVar[bool] = True
    depth: int = DEPTH

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def fit(self, public: AttackerKnowledge) -> TokenByToken:
        """Returns the attacker who ranks by log P(release | word); raises UserError where the law is not known."""
        return TokenByToken(public.mechanism, _ranking(public, None, self.depth))


@dataclass(frozen=True, slots=True)
class MaximumAPosteriori:
    """The likeliest words under the unigram prior of public text: no context-free attacker does better on average."""

    name: str = "MAP, unigram prior"
    version: int = version_of("map")
    context_free: ClassVar[bool] = True
    depth: int = DEPTH

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def fit(self, public: AttackerKnowledge) -> TokenByToken:
        """Returns the attacker who ranks by log P(release | word) + log prior; raises UserError as above."""
        return TokenByToken(public.mechanism, _ranking(public, public.log_prior, self.depth))


def _ranking(
    public: AttackerKnowledge, log_prior: NDArray[np.float64] | None, depth: int
) -> Callable[[Observed], Guesses]:
    """Returns what ranks the words of tokens by the law and a prior, where the attacker's language model is."""
    scores = public.placed_scores(log_prior)
    return lambda seen: rank(scores(seen), len(seen), depth)
