"""Forward-backward re-scoring: each token's posterior given what stands, and what was released, on both sides of it.

A causal model gives log P(w | left), which counts by the beam's weight. The evidence of the right side is how likely
the releases to the right are once w stands here: for each of the next places, log of the sum over words v of
P(v | left, w, words between) P(release | v). The sum runs over the LIKELY words that fit the release best; the others
add next to nothing. Both are added to log P(release here | w) (docs/theory.md, theorem 7). The words on both sides are
the beam's at first; then the places that prefer another word are changed, a sweep at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Self

import torch
from torch import Tensor
from tqdm import tqdm

from attacks.base import AttackerKnowledge, AttackOptions, observe
from attacks.inversion.language_prior import BeamAttacker, LanguageBeam, likelihood
from attacks.ranking import DEPTH, Guesses, rank
from attacks.registry import version_of
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.models import LanguageModel

LIKELY = 128
APART = 3
"""Places nearer than this do not change in one sweep: each was scored with the other as it stood."""


@dataclass(frozen=True, slots=True)
class TwoSided:
    """Re-scores the beam's words from both sides.

    candidates: words a place that are weighed, those that the left side likes best; within: nats below the best beyond
    which a word is not. reach: places to the right whose releases are weighed. sweeps: rounds of scoring. rows:
    continuations read at once. Raises UserError for values out of range.
    """

    beam: LanguageBeam = field(default_factory=LanguageBeam)
    candidates: int = 4
    within: float = 2.0
    reach: int = 2
    sweeps: int = 2
    rows: int = 128
    depth: int = DEPTH
    name: str = "forward-backward, language model"
    version: int = version_of("two-sided")
    context_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("candidates", "reach", "sweeps", "rows", "depth"):
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")
        if not self.within > 0:
            raise UserError(f"Expected within > 0 nats, got within={self.within}.")

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError as LanguageBeam.require does."""
        self.beam.require(language, documents, longest)

    def fit(self, public: AttackerKnowledge) -> "TwoSidedAttacker":
        """Returns the attacker; raises UserError as LanguageBeam.fit does."""
        return TwoSidedAttacker(public, self, self.beam.fit(public))


@dataclass(frozen=True, slots=True)
class TwoSidedAttacker:
    """The attack on one mechanism. trained: sha256 of what was trained for it, "" where nothing was."""

    public: AttackerKnowledge
    settings: TwoSided
    beam: BeamAttacker
    trained: str = ""

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message by their two-sided posterior; raises UserError as the beam does."""
        observed = observe(self.public.mechanism, messages)
        found = self.beam.search(observed)
        ranked = []
        with tqdm(total=len(found), desc=self.settings.name, unit="prompt", disable=None) as bar:
            for seen, words in zip(observed, found, strict=True):
                ranked.append(self._refined(seen, words))
                bar.update()
        return ranked

    def _refined(self, seen: Observed, words: list[int]) -> Guesses:
        """Returns the guesses for one prompt after all sweeps."""
        evidence = likelihood(self.public, seen, self.beam.reader.unigrams)
        scores = self.scores(words, evidence)
        for _ in range(self.settings.sweeps - 1):
            changed = improved(scores, words)
            if changed == words:
                break
            near = nearby(words, changed, self.settings.reach).to(scores.device)
            words, scores = changed, torch.where(near[:, None], self.scores(changed, evidence, near), scores)
        return rank([(slice(0, len(words)), scores.cpu().numpy())], len(words), self.settings.depth)

    def scores(self, words: Sequence[int], evidence: Tensor, near: Tensor | None = None) -> Tensor:
        """Returns each word's score at each place, the other places being as they stand; shape (tokens, words).

        evidence: log P(release | word), same shape. near: the places that are scored, bool, shape (tokens,), if not
        all; the rows of others lack the right side. A word that is no candidate gets the least of its place's right
        sides, so it never comes before the best candidate.
        """
        reader, settings = self.beam.reader, self.settings
        own = torch.arange(len(words), device=evidence.device), torch.tensor(words, device=evidence.device)
        prior = reader.along(words)
        scores = evidence + reader.unigrams + self.beam.weight * (prior - reader.unigrams)
        best, candidates = scores.topk(min(settings.candidates, scores.shape[1]))
        weighed = torch.zeros_like(scores, dtype=torch.bool)
        weighed.scatter_(1, candidates, best >= best[:, :1] - settings.within)
        weighed[own] = False  # its right side is what stands, which the model has just read
        if near is not None:
            weighed &= near[:, None]
        places, chosen = weighed[:-1].nonzero(as_tuple=True)  # nothing stands to the right of the last
        fitting = (evidence + reader.unigrams).topk(min(LIKELY, evidence.shape[1])).indices
        each = (prior.gather(1, fitting) + evidence.gather(1, fitting)).logsumexp(1)
        standing = torch.stack([each[place + 1 : place + 1 + settings.reach].sum() for place in range(len(words))])
        right = self._right(words, places, chosen, evidence, fitting)
        least = standing.scatter_reduce(0, places, right, "amin")
        added = least[:, None].expand_as(scores).clone()
        added[places, chosen], added[own] = right, standing
        return scores + added

    def _right(self, words: Sequence[int], places: Tensor, chosen: Tensor, evidence: Tensor, fitting: Tensor) -> Tensor:
        """Returns the right side's evidence for each (place, word) pair, nats, shape (pairs,).

        fitting: the words that are summed over at each place, shape (tokens, some).
        """
        reader, settings = self.beam.reader, self.settings

        def likely(logits: Tensor, there: Tensor) -> Tensor:
            prior = reader.log_prior_of(logits, fitting[there])
            return (prior + evidence[there].gather(1, fitting[there])).logsumexp(1)

        ends = torch.full_like(places, len(words))
        return reader.right_of(words, places, chosen, ends, settings.reach, likely, settings.rows)


def improved(scores: Tensor, words: Sequence[int]) -> list[int]:
    """Returns the words with the best one at those places that gain most, no two of them nearer than APART."""
    best = scores.argmax(1)
    gains = (scores.gather(1, best[:, None])[:, 0] - scores[torch.arange(len(words)), list(words)]).tolist()
    changed, taken = list(words), [-APART]
    for place in sorted(range(len(words)), key=lambda index: -gains[index]):
        if gains[place] > 0 and all(abs(place - other) >= APART for other in taken):
            changed[place] = int(best[place])
            taken.append(place)
    return changed


def nearby(before: Sequence[int], after: Sequence[int], reach: int) -> Tensor:
    """Returns the places that a change of words bears on most, bool, shape (tokens,): reach from it on both sides."""
    near = torch.zeros(len(before), dtype=torch.bool)
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            near[max(0, place - reach) : place + 1 + reach] = True
    return near
