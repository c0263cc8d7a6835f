"""The exact channel law turned against the release (docs/theory.md, theorem 7)."""

from dataclasses import dataclass
from typing import ClassVar, Self

from attacks.base import AttackerKnowledge, AttackOptions, TokenByToken
from attacks.ranking import DEPTH, rank
from attacks.registry import version_of


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
        channel = public.channel
        return TokenByToken(public.mechanism, lambda seen: rank(channel.scores(seen), len(seen), self.depth))


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
        channel, log_prior = public.channel, public.log_prior
        return TokenByToken(public.mechanism, lambda seen: rank(channel.scores(seen, log_prior), len(seen), self.depth))
