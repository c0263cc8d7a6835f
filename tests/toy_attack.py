"""An attack that the registry does not have: a test adds its row."""

from dataclasses import dataclass
from typing import ClassVar, Self

from attacks.base import AttackerKnowledge, AttackOptions, TokenByToken
from attacks.ranking import DEPTH, rank
from attacks.registry import version_of


@dataclass(frozen=True, slots=True)
class HalfPrior:
    """The likeliest words under the square root of the unigram prior: between maximum likelihood and MAP."""

    name: str = "half prior (toy)"
    version: int = version_of("toy")
    context_free: ClassVar[bool] = True
    depth: int = DEPTH

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def fit(self, public: AttackerKnowledge) -> TokenByToken:
        """Returns the attacker who ranks by log P(release | word) + log prior / 2."""
        channel, half = public.channel, public.log_prior / 2
        return TokenByToken(public.mechanism, lambda seen: rank(channel.scores(seen, half), len(seen), self.depth))
