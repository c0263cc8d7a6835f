"""The attacker that token-level privacy is about: who knows other words of a prompt and asks for this one.

A place is read from its own release, the true words to its left, and the known words that follow it directly: none, a
template's, or all. With w for the word and r for the known words to the right,

    P(w | left, r, release) is proportional to P(release | w) P(w | left) P(r | left, w).

It is given the true words, so it is no blind attack: it has no `guess`, no row in the registry, and no place in the
ladder. What it recovers with the release is read beside what it recovers without (docs/theory.md, theorem 23).
"""

from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from attacks.base import AttackerKnowledge, observe
from attacks.language_reader import Reader
from attacks.ranking import best_words
from attacks.registry import INFORMED_VERSIONS
from mechanisms.channel import BLOCK_ROWS
from mechanisms.decoding.language import mixed
from mechanisms.device_channel import Scores, as_block, with_prior
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.validation import at_least

Hits = NDArray[np.bool_]
"""Whether the guess at each asked token is right, shape (tokens,), prompts in order."""
Places = NDArray[np.bool_]
"""Some tokens of one prompt, shape (tokens,)."""
Sides = Literal["left", "both sides"]
LOGITS_BYTES = 256 << 20
"""Logits of the prompts that are read together, at most, unless one prompt takes more."""


@dataclass(frozen=True, slots=True)
class KnownContext:
    """Guesses the word that is likeliest by the known words around it and by its own release, each under its law.

    sides: of which all true words are known. The prior is (1 - share) softmax(temper logits) + share unigrams, as the
    beam's. Of tempers and shares those are taken that make public_prompts public texts of public_tokens tokens
    likeliest; no private text is looked at. batch: prompts that the model reads together. Where words to the right are
    known, the next `reach` of them weigh the `candidates` words that the left side and the release like best, those at
    most `within` nats below the best, `rows` at once: chosen on public text. Raises UserError for values out of range.
    """

    sides: Sides = "left"
    tempers: tuple[float, ...] = (1.0, 0.8, 1.25)
    shares: tuple[float, ...] = (0.2, 0.02, 0.05, 0.1, 0.4)
    public_prompts: int = 32
    public_tokens: int = 32
    batch: int = 16
    candidates: int = 8
    within: float = 4.0
    reach: int = 2
    rows: int = 64
    version: int = INFORMED_VERSIONS["known-context"]

    def __post_init__(self) -> None:
        if not self.tempers or not all(0 < temper <= 10 for temper in self.tempers):
            raise UserError(f"Expected tempers in (0, 10], at least one, got tempers={self.tempers!r}.")
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise UserError(f"Expected shares in [0, 1], at least one, got shares={self.shares!r}.")
        for name in ("public_prompts", "public_tokens", "batch", "candidates", "reach", "rows"):
            at_least(name, getattr(self, name), 1)
        if not self.within > 0:
            raise UserError(f"Expected within > 0 nats, got within={self.within}.")

    @property
    def name(self) -> str:
        """What reports call it."""
        return "known left context" if self.sides == "left" else "known context on both sides"

    def fit(self, public: AttackerKnowledge) -> "ContextReader":
        """Returns the reader; its temper and share are the first of each where there is no public text.

        Raises UserError without a language model, a known law, or one vocabulary for both.
        """
        reader, scores = Reader.of(public, self.tempers[0], self.shares[0]), public.placed_scores()
        length = min(self.public_tokens, reader.context - len(reader.opening))
        texts = [document[:length] for document in public.documents if len(document)][: self.public_prompts]
        likelihoods = dict.fromkeys(((temper, share) for temper in self.tempers for share in self.shares), 0.0)
        for start in range(0, len(texts), self.batch):
            part = texts[start : start + self.batch]
            for text, logits in zip(part, reader.logits_along(part), strict=True):
                words = torch.tensor(text[len(text) - len(logits) :], dtype=torch.long, device=logits.device)[:, None]
                for temper in self.tempers:
                    model = replace(reader, temper=temper, share=0.0).log_prior_of(logits.float(), words)
                    for share in self.shares:
                        likelihoods[temper, share] += float(mixed(model, reader.unigrams[words], share).sum())
        temper, share = max(likelihoods, key=likelihoods.__getitem__)
        return ContextReader(public, scores, self, replace(reader, temper=temper, share=share))


@dataclass(frozen=True, slots=True)
class ContextHits:
    """given: with the release. without: with no release, from the prior alone. other: with `others` in its place."""

    given: Hits
    without: Hits
    other: Hits | None


@dataclass(frozen=True, slots=True)
class ContextReader:
    """The attack on one mechanism.

    scores: the law's, where the model is. reader: of the language model, with the temper and the share that were
    chosen.
    """

    public: AttackerKnowledge
    scores: Scores
    settings: KnownContext
    reader: Reader

    def read(
        self,
        messages: Sequence[bytes],
        truths: Sequence[Sequence[int]],
        others: Sequence[bytes] | None = None,
        *,
        asked: Sequence[Places] | None = None,
        fixed: Sequence[Places] | None = None,
    ) -> ContextHits:
        """Returns which of the asked tokens are guessed right.

        messages: one per prompt. truths: the tokens of each prompt: context of the others, and what scores the guesses.
        others: further messages of as many tokens, read by the same rule with the same prior, such as releases that do
        not depend on the text. asked: the tokens to guess, all if left out. fixed: those that a template fixes, which
        are known on either side, none if left out. The model reads each prompt once, and once more its candidates where
        words to the right are known. Raises UserError as observe does, for numbers of prompts or tokens that do not
        agree, for a token both asked for and fixed, and for a prompt that the model's context does not hold.
        """
        sets = [observe(self.public.mechanism, each) for each in (messages, others) if each is not None]
        for observed in sets:
            _require_lengths("messages", observed, truths)
        asking = [np.ones(len(row), dtype=bool) for row in truths] if asked is None else asked
        known = [np.zeros(len(row), dtype=bool) for row in truths] if fixed is None else fixed
        _require_lengths("asked", asking, truths)
        _require_lengths("fixed", known, truths)
        if any((one & other).any() for one, other in zip(asking, known, strict=True)):
            raise UserError("Expected asked to be no token that is fixed: the attacker knows those.")
        longest = max(map(len, truths))
        self.reader.require_room(longest)
        batch = max(1, min(self.settings.batch, LOGITS_BYTES // (4 * len(self.reader.unigrams) * longest)))
        found = list[list[Hits]]()
        with tqdm(total=len(truths), desc=self.settings.name, unit="prompt", disable=None) as bar:
            for start in range(0, len(truths), batch):
                part = truths[start : start + batch]
                for row, logits in enumerate(self.reader.logits_along(part), start):
                    seen = [observed[row] for observed in sets]
                    ends = _ends(known[row] if self.settings.sides == "left" else np.ones_like(known[row]))
                    found.append(self._hits(logits, np.asarray(truths[row]), seen, np.flatnonzero(asking[row]), ends))
                bar.update(len(part))
        without, given, *other = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return ContextHits(given, without, other[0] if other else None)

    def _hits(
        self,
        logits: Tensor,
        truth: NDArray[np.int64],
        releases: Sequence[Observed],
        places: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> list[Hits]:
        """Returns the hits at places of one prompt: without a release, then with each. ends: as _ends."""
        right = ends[places] > places + 1
        depth = min(self.settings.candidates, len(self.reader.unigrams)) if right.any() else 1
        shape = (1 + len(releases), len(places), depth)
        words, scores = np.empty(shape, np.int32), np.empty(shape, np.float32)
        for rows, prior in self._priors(logits, places, len(truth)):
            words[0, rows], scores[0, rows] = best_words(as_block(prior, self.public.device), depth)
            for number, observed in enumerate(releases, 1):
                for part, block in self.scores(observed[places[rows]]):
                    seen = with_prior(block, prior[part])
                    words[number, rows][part], scores[number, rows][part] = best_words(seen, depth)
        weighed = (scores >= scores[:, :, :1] - self.settings.within) & right[:, None]
        weighed[weighed.sum(axis=2) == 1] = False  # one word alone has nothing to be weighed against
        if weighed.any():
            pairs = np.stack([np.broadcast_to(places[:, None], shape)[weighed], words[weighed]], 1)
            pairs, back = np.unique(pairs, axis=0, return_inverse=True)
            likely = self._right(truth, pairs[:, 0], pairs[:, 1], ends)[back.reshape(-1)]
            scores[weighed.any(axis=2, keepdims=True) & ~weighed] = -np.inf
            scores[weighed] += likely
        guesses = np.take_along_axis(words, scores.argmax(axis=2, keepdims=True), 2)[:, :, 0]
        return list(guesses == truth[places])

    def _right(
        self,
        truth: NDArray[np.int64],
        places: NDArray[np.int64],
        chosen: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> NDArray[np.float32]:
        """Returns log P(the known words to the right | left, word) of each (place, word) pair, shape (pairs,)."""
        reader, settings = self.reader, self.settings
        there, word, end, words = (
            torch.from_numpy(each.astype(np.int64)).to(reader.unigrams.device)
            for each in (places, chosen, ends[places], truth)
        )

        def likely(logits: Tensor, nexts: Tensor) -> Tensor:
            return reader.log_prior_of(logits, words[nexts, None])[:, 0]

        found = reader.right_of(truth.tolist(), there, word, end, settings.reach, likely, settings.rows)
        return np.asarray(found.cpu().numpy(), dtype=np.float32)

    def _priors(self, logits: Tensor, places: NDArray[np.int64], tokens: int) -> Iterator[tuple[slice, Tensor]]:
        """Yields (rows, log prior of every word), float32, shape (rows, words): blocks of places in one prompt.

        logits: of the last tokens; a first token that nothing is read before has the unigram prior.
        """
        first = tokens - len(logits)
        for start in range(0, len(places), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            here = torch.from_numpy(places[rows] - first).to(logits.device)
            prior = self.reader.log_prior(logits[here[here >= 0]].float())
            if here[0] < 0:
                prior = torch.cat([self.reader.unigrams[None], prior])
            yield rows, prior


def _ends(known: Places) -> NDArray[np.int64]:
    """Returns, for each token, the first place to its right that is not known.

    >>> _ends(np.array([True, False, True, True])).tolist()
    [1, 4, 4, 4]
    """
    ends = np.full(len(known), len(known))
    for place in range(len(known) - 2, -1, -1):
        ends[place] = ends[place + 1] if known[place + 1] else place + 1
    return ends


def _require_lengths(name: str, got: Sequence[Sized], truths: Sequence[Sequence[int]]) -> None:
    if (lengths := [len(row) for row in got]) != (wanted := [len(row) for row in truths]):
        raise UserError(f"Expected {name} of the prompts' numbers of tokens, {wanted}, got {lengths}.")
