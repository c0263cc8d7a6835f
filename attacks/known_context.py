"""The attacker that token-level privacy is about: who knows the words before a token and asks for this one.

It is given the true words, so it is no blind attack: it has no `guess`, no row in the registry, and no place in the
ladder. What it recovers with the release is read beside what it recovers without (docs/theory.md, theorem 23).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from attacks.base import AttackerKnowledge, observe
from attacks.language_reader import Reader
from attacks.registry import INFORMED_VERSIONS
from mechanisms.channel import BLOCK_ROWS
from mechanisms.decoding.language import mixed
from mechanisms.errors import UserError
from mechanisms.mechanism import KnownChannel, ObservableMechanism, Observed
from mechanisms.validation import at_least

Hits = NDArray[np.bool_]
"""Whether the guess at each token is right, shape (tokens,), prompts in order."""
LOGITS_BYTES = 256 << 20
"""Logits of the prompts that are read together, at most, unless one prompt takes more."""


@dataclass(frozen=True, slots=True)
class KnownContext:
    """Guesses the word that is likeliest by the true words to its left and by its own release, each under its law.

    The prior is (1 - share) softmax(temper logits) + share unigrams, as the beam's. Of tempers and shares those are
    taken that make public_prompts public texts of public_tokens tokens likeliest; no private text is looked at.
    batch: prompts that the model reads together. Raises UserError for values out of range.
    """

    tempers: tuple[float, ...] = (1.0, 0.8, 1.25)
    shares: tuple[float, ...] = (0.2, 0.02, 0.05, 0.1, 0.4)
    public_prompts: int = 32
    public_tokens: int = 32
    batch: int = 16
    name: str = "known left context"
    version: int = INFORMED_VERSIONS["known-context"]

    def __post_init__(self) -> None:
        if not self.tempers or not all(0 < temper <= 10 for temper in self.tempers):
            raise UserError(f"Expected tempers in (0, 10], at least one, got tempers={self.tempers!r}.")
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise UserError(f"Expected shares in [0, 1], at least one, got shares={self.shares!r}.")
        for name in ("public_prompts", "public_tokens", "batch"):
            at_least(name, getattr(self, name), 1)

    def fit(self, public: AttackerKnowledge) -> "ContextReader":
        """Returns the reader; its temper and share are the first of each where there is no public text.

        Raises UserError without a language model, a known law, or one vocabulary for both.
        """
        reader, channel = Reader.of(public, self.tempers[0], self.shares[0]), public.channel
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
        return ContextReader(public.mechanism, channel, self, replace(reader, temper=temper, share=share))


@dataclass(frozen=True, slots=True)
class ContextHits:
    """given: with the release. without: with no release, from the prior alone. other: with `others` in its place."""

    given: Hits
    without: Hits
    other: Hits | None


@dataclass(frozen=True, slots=True)
class ContextReader:
    """The attack on one mechanism. reader: of the language model, with the temper and the share that were chosen."""

    mechanism: ObservableMechanism
    channel: KnownChannel
    settings: KnownContext
    reader: Reader

    def read(
        self, messages: Sequence[bytes], truths: Sequence[Sequence[int]], others: Sequence[bytes] | None = None
    ) -> ContextHits:
        """Returns which tokens are guessed right, each after the true words to its left.

        messages: one per prompt. truths: the tokens of each prompt: context of the later ones, and what scores the
        guesses. others: further messages of as many tokens, read by the same rule with the same prior, such as
        releases that do not depend on the text. The model reads each prompt once. Raises UserError as observe does,
        for numbers of prompts or tokens that do not agree, and for a prompt that the model's context does not hold.
        """
        sets = [observe(self.mechanism, each) for each in (messages, others) if each is not None]
        for observed in sets:
            if (got := [len(row) for row in observed]) != (wanted := [len(row) for row in truths]):
                raise UserError(f"Expected messages of the prompts' numbers of tokens, {wanted}, got {got}.")
        longest = max(map(len, truths))
        self.reader.require_room(longest)
        batch = max(1, min(self.settings.batch, LOGITS_BYTES // (4 * len(self.reader.unigrams) * longest)))
        found = list[list[Hits]]()
        with tqdm(total=len(truths), desc=self.settings.name, unit="prompt", disable=None) as bar:
            for start in range(0, len(truths), batch):
                part = truths[start : start + batch]
                for row, logits in enumerate(self.reader.logits_along(part), start):
                    found.append(self._hits(logits, np.asarray(truths[row]), [observed[row] for observed in sets]))
                bar.update(len(part))
        without, given, *other = (np.concatenate(rows) for rows in zip(*found, strict=True))
        return ContextHits(given, without, other[0] if other else None)

    def _hits(self, logits: Tensor, truth: NDArray[np.int64], releases: Sequence[Observed]) -> list[Hits]:
        """Returns the hits of one prompt: without a release, then with each."""
        guesses = np.empty((1 + len(releases), len(truth)), dtype=np.int64)
        for rows, prior in self._priors(logits, len(truth)):
            guesses[0, rows] = prior.argmax(axis=1)
            for guess, observed in zip(guesses[1:], releases, strict=True):
                for part, scores in self.channel.scores(observed[rows]):
                    guess[rows][part] = (scores + prior[part]).argmax(axis=1)
        return list(guesses == truth)

    def _priors(self, logits: Tensor, tokens: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log prior of every word), float32, shape (rows, words): blocks of one prompt's tokens.

        logits: of the last tokens; a first token that nothing is read before has the unigram prior.
        """
        first = tokens - len(logits)
        for start in range(0, tokens, BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, tokens))
            prior = self.reader.log_prior(logits[max(0, start - first) : rows.stop - first].float())
            if start < first:
                prior = torch.cat([self.reader.unigrams[None], prior])
            yield rows, prior.cpu().numpy()
