"""A language model reads along: beam search over prompts under the exact channel law (BeamClean with a known channel).

A hypothesis w_1 ... w_i scores the sum of log P(release_j | w_j) + log unigram(w_j) + weight (log prior(w_j | w_<j) -
log unigram(w_j)), at weight 1 the posterior of the whole prompt (docs/theory.md, theorem 7). The prior is the model's
own, mixed with the public unigrams. No candidates are cut off: every word is weighed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from attacks.base import AttackerKnowledge, AttackOptions, observe
from attacks.language_reader import Reader, require_room
from attacks.ranking import DEPTH, Guesses, rank
from attacks.registry import version_of
from mechanisms.continuation import embed
from mechanisms.device_channel import evidence_on
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.model_facts import opening_tokens
from mechanisms.models import LanguageModel
from mechanisms.progress import Progress
from mechanisms.randomness import SimulatedRandomness
from mechanisms.stepping import CachedReader

WEAK, STRONG = 0.6, 0.8
"""Weights of the language model's say where MAP reads less than READ of public text, and where it reads more."""
READ = 0.3
MEASURED_TOKENS = 4096
EVIDENCE_BYTES = 256 << 20
"""Evidence of the prompts that are searched together, at most, unless one prompt takes more."""


@dataclass(frozen=True, slots=True)
class LanguageBeam:
    """Beam search with a causal language model.

    width: hypotheses kept a prompt. batch: prompts at once. temper, unigram_share: of the prior, (1 - share)
    softmax(temper logits) + share unigrams. weight: of what the prior says over the unigrams, in (0, 1]; None takes
    WEAK or STRONG, by what MAP reads of a simulated release of public text. At 1 the score is the posterior of the
    whole prompt, but where most words are read wrongly the model goes astray on them. All were chosen on public text.
    Raises UserError for values out of range.
    """

    width: int = 8
    batch: int = 16
    temper: float = 1.0
    unigram_share: float = 0.2
    weight: float | None = None
    depth: int = DEPTH
    name: str = "beam search, language model"
    version: int = version_of("beam")
    context_free: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name in ("width", "batch", "depth"):
            if getattr(self, name) < 1:
                raise UserError(f"Expected {name} >= 1, got {name}={getattr(self, name)}.")
        if not 0 < self.temper <= 10:
            raise UserError(f"Expected temper in (0, 10], got temper={self.temper!r}.")
        if not 0 <= self.unigram_share <= 1:
            raise UserError(f"Expected unigram_share in [0, 1], got unigram_share={self.unigram_share!r}.")
        if self.weight is not None and not 0 < self.weight <= 1:
            raise UserError(f"Expected weight in (0, 1], got weight={self.weight!r}.")

    @classmethod
    def of(cls, options: AttackOptions) -> Self:
        """Returns it with the options' depth."""
        return cls(depth=options.depth)

    def require(self, language: LanguageModel | None, documents: Sequence[Sequence[int]], longest: int) -> None:
        """Raises UserError without a language model, and for prompts that its context does not hold."""
        if language is None:
            raise UserError("Expected a language model to attack with, got none.")
        require_room(language.context_tokens, len(opening_tokens(language.model)), longest)

    def fit(self, public: AttackerKnowledge) -> "BeamAttacker":
        """Returns the attacker; raises UserError without a language model, a known law, or one vocabulary for both."""
        reader = Reader.of(public, self.temper, self.unigram_share)
        posterior = evidence_on(public.channel, public.device, public.log_prior, public.words)
        weight = weight_for(public) if self.weight is None else self.weight
        return BeamAttacker(public, self, reader, posterior, weight)


@dataclass(frozen=True, slots=True)
class BeamAttacker:
    """The attack on one mechanism.

    evidence: from what is observed of a prompt to each token's scores by itself, the unigram prior among them, float32,
    shape (tokens, words). weight: of what the model says over the unigrams. trained: sha256 of what was trained for
    the attack, "" where nothing was.
    """

    public: AttackerKnowledge
    settings: LanguageBeam
    reader: Reader
    evidence: Callable[[Observed], Tensor]
    weight: float
    trained: str = ""

    def guess(self, messages: Sequence[bytes]) -> list[Guesses]:
        """Returns the guesses for each message: first the best hypothesis's word, then by its own left context.

        Where one guess a token is kept there is nothing to rank: its score is 0, and the model does not read again.
        Raises UserError as observe does, and for a prompt that does not fit the model's context.
        """
        observed = observe(self.public.mechanism, messages)
        found = self.search(observed)
        if self.settings.depth == 1:
            return [
                Guesses(np.array(words, np.int32)[:, None], np.zeros((len(words), 1), np.float32)) for words in found
            ]
        return [self._ranked(seen, words) for seen, words in zip(observed, found, strict=True)]

    def search(self, observed: Sequence[Observed]) -> list[list[int]]:
        """Returns the best hypothesis for each prompt."""
        for seen in observed:
            self.reader.require_room(len(seen))
        order = sorted(range(len(observed)), key=lambda index: -len(observed[index]))
        found: list[list[int]] = [[] for _ in observed]
        longest = max(map(len, observed), default=1)
        batch = max(1, min(self.settings.batch, EVIDENCE_BYTES // (4 * self.public.words * longest)))
        with tqdm(total=sum(map(len, observed)), desc=self.settings.name, unit="token", disable=None) as bar:
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                for index, words in zip(chosen, self._beam([observed[i] for i in chosen], bar), strict=True):
                    found[index] = words
        return found

    def _ranked(self, seen: Observed, words: list[int]) -> Guesses:
        """Returns the words by evidence and by what the model says after the hypothesis left of them, its own first."""
        said = self.reader.along(words) - self.reader.unigrams
        scores = self.evidence(seen).to(said.device) + self.weight * said
        return first(rank([(slice(0, len(words)), scores.cpu().numpy())], len(words), self.settings.depth), words)

    @torch.no_grad()
    def _beam(self, prompts: Sequence[Observed], bar: Progress) -> list[list[int]]:
        """Returns the best hypothesis for each of the prompts, which come longest first.

        All start together, so no padding is needed; the short ones end first and leave.
        """
        reader, width, words = self.reader, self.settings.width, self.public.words
        reading, active = CachedReader(reader.model), len(prompts)
        logits = reading.read(reader.opening.expand(active, -1, -1)) if len(reader.opening) else None
        scores = torch.zeros(active, 1, device=reader.unigrams.device)
        histories = torch.empty(active, 1, 0, dtype=torch.long, device=scores.device)
        evidence = [self.evidence(prompt).to(scores.device) for prompt in prompts]
        found: list[list[int]] = [[] for _ in prompts]
        for place in range(len(prompts[0])):
            lift = torch.zeros(active, words, device=scores.device) if logits is None else reader.lift(logits)
            here = torch.stack([rows[place] for rows in evidence[:active]])
            total = lift.mul_(self.weight).view(active, -1, words).add_(scores[:, :, None]).add_(here[:, None])
            scores, best = total.reshape(active, -1).topk(min(width, total[0].numel()))
            parents, chosen = best // words, best % words
            histories = torch.cat(
                [histories.gather(1, parents[:, :, None].expand(-1, -1, place)), chosen[:, :, None]], 2
            )
            bar.update(active)
            going = sum(len(prompt) > place + 1 for prompt in prompts[:active])
            for row in range(going, active):
                found[row] = histories[row, 0].tolist()
            if going and logits is not None:
                firsts = torch.arange(going, device=parents.device)[:, None] * total.shape[1]
                reading.keep((firsts + parents[:going]).flatten().tolist())
            elif going:
                scores, histories, chosen = scores[:going], histories[:going], chosen[:going]
            if going:
                logits = reading.read(embed(reader.model, chosen[:going].flatten().tolist())[:, None])
            active, scores, histories = going, scores[:going], histories[:going]
        return found


def weight_for(public: AttackerKnowledge) -> float:
    """Returns WEAK or STRONG, by the share of public tokens that MAP reads of a simulated release.

    Without public text it is STRONG. Raises UserError where the law is not known.
    """
    text = [token for document in public.documents[-MEASURED_TOKENS:] for token in document][-MEASURED_TOKENS:]
    if not text:
        return STRONG
    message = public.mechanism.release(text, SimulatedRandomness(public.seed, "beam weight"))
    observed = public.mechanism.observed(message)
    read = rank(public.placed_scores(public.log_prior)(observed), len(text), 1).best
    return STRONG if float(np.mean(read == np.asarray(text))) >= READ else WEAK


def likelihood(public: AttackerKnowledge, observed: Observed, like: Tensor) -> Tensor:
    """Returns log P(release | word) less a constant of the release, float32, (tokens, words), on like's device."""
    return evidence_on(public.channel, public.device, None, public.words)(observed).to(like.device)


def first(guesses: Guesses, words: Sequence[int]) -> Guesses:
    """Returns the guesses with the given word of each token moved, or put, to the first place.

    Its score becomes that of the first place, where its own is below.
    """
    own = np.asarray(words, dtype=np.int32)[:, None]
    depth = guesses.words.shape[1]
    known = guesses.words == own
    last = np.where(known.any(axis=1), known.argmax(axis=1), depth - 1)  # the place that is given up
    shifted = np.arange(depth)[None] - (np.arange(depth)[None] <= last[:, None])
    ranked = np.take_along_axis(guesses.words, np.maximum(shifted, 0), 1)
    scores = np.take_along_axis(guesses.scores, np.maximum(shifted, 0), 1)
    return Guesses(np.where(np.arange(depth) == 0, own, ranked), scores)
