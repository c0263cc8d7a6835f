"""What a probe looks at: named views of the same prompts, each with its counterpart on the clean text.

A view has one row a prompt: numbers of shape (prompts, width), a sparse bag of words, texts, or sequences of token
features (an object array). `attacks/attribute/candidates.py` says what is done with each kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from attacks.attribute.channel_bayes import Rows, TokenPosteriors
from attacks.base import Attacker, AttackerKnowledge
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from attacks.ranking import best_words
from mechanisms.channel import exponentiate
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import KnownChannel, embeddings_of
from mechanisms.models import SentenceEncoder
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.text_pieces import text_of

CODES, SPREAD = "released codes, mean", "released codes, mean and deviation"
EMBEDDING, BAG = "posterior-mean embedding", "posterior over words"
WORDS, TEXT, SENTENCE = "mean embedding of the reading", "text of the reading", "sentence embedding of the reading"
TOKENS, SEQUENCE = "posterior of each token", "token sequence"
LENGTHS = "lengths"
VIEWS = (CODES, SPREAD, EMBEDDING, BAG, WORDS, TEXT, SENTENCE, TOKENS, SEQUENCE)

KEPT_WORDS = 1024
"""Words of a prompt's expected bag that are kept, the largest; the posterior-mean embedding is of all words."""
LEAST, KEPT_CANDIDATES = 1e-5, 1024
"""Words of a token's posterior that are kept: the likeliest, of at least this probability; 8 kB a token at most.

Rare words tell most of an attribute, so a shorter list is a weaker attack: at mu = 10, d = 18, one release, held-out
balanced accuracy was .39 with all words above 1e-5 or 1e-6, .37 with these, and .27 (by another probe) with 1e-4.
"""
REDUCED = 32
"""Coordinates of a token's embedding in a sequence: the table's directions of largest variance under the prior."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Views:
    """rows: of each view, in the order of the prompts. left_out: why a view of VIEWS is missing."""

    rows: dict[str, Rows]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Viewer:
    """How prompts are looked at. Everything here is public, and no row depends on another prompt.

    reader: who reads the text; by default MAP where the mechanism's law is known, else the cosine neighbour.
    tokenizer, sentences: for the views of text, which are left out without them.
    """

    public: AttackerKnowledge
    reader: Attacker | None = None
    tokenizer: "PreTrainedTokenizerBase | None" = None
    sentences: SentenceEncoder | None = None

    def released(self, messages: Sequence[bytes], texts: Sequence[Sequence[int]] | None = None) -> Views:
        """Returns the views of messages.

        texts: the tokens of public prompts, from which a probe learns how each class writes; never of private ones.
        Raises UserError for no messages, for another number of texts, and for a message of another mechanism.
        """
        if not messages or (texts is not None and len(texts) != len(messages)):
            got = f"{len(messages)} messages" + ("" if texts is None else f" and {len(texts)} texts")
            raise UserError(f"Expected at least one message to look at, and as many texts if any, got {got}.")
        codes = self._released_codes(messages)
        readings = [guesses.best for guesses in self._attacker.guess(messages)]
        bags: list[Floats] = []
        means: list[Floats] = []
        posteriors = [_one_hot(reading, self.public.words) for reading in readings]
        if self._known:
            bags, means, posteriors = self._posteriors(messages)
        known = None if texts is None else [np.asarray(text, dtype=np.int64) for text in texts]
        return self._views(codes, bags, means, readings, posteriors, known)

    def clean(self, documents: Sequence[Sequence[int]]) -> Views:
        """Returns the same views without the mechanism, which no attacker sees: the ceiling.

        The codes have no noise, the posterior is certain, and the reading is right. Raises UserError for no documents
        and for a document without tokens.
        """
        tokens = [np.asarray(document, dtype=np.int64) for document in documents]
        if not tokens or not all(map(len, tokens)):
            raise UserError("Expected at least one document, and tokens in each, got none.")
        bags, means = [], []
        if self._known:
            bags = [np.bincount(row, minlength=self.public.words).astype(np.float32) for row in tokens]
            means = [self._reduced_table[row] for row in tokens]
        posteriors = [_one_hot(row, self.public.words) for row in tokens]
        return self._views([self._clean_codes(row) for row in tokens], bags, means, tokens, posteriors, tokens)

    def plain(self, messages: Sequence[bytes]) -> Views:
        """Returns the two cheapest views of messages, pooled codes and mean embedding of the reading.

        For what the server is meant to tell, where a weaker probe overstates nothing; raises UserError as `released`.
        """
        readings = [guesses.best for guesses in self._attacker.guess(messages)]
        return self._plain(self._released_codes(messages), readings)

    def plain_clean(self, documents: Sequence[Sequence[int]]) -> Views:
        """Returns the same two without the mechanism; raises UserError as `clean` does."""
        tokens = [np.asarray(document, dtype=np.int64) for document in documents]
        if not tokens or not all(map(len, tokens)):
            raise UserError("Expected at least one document, and tokens in each, got none.")
        return self._plain([self._clean_codes(row) for row in tokens], tokens)

    def _plain(self, codes: Sequence[Floats], readings: Sequence[NDArray[np.int64]]) -> Views:
        means = [self.public.table[reading].mean(axis=0) for reading in readings]
        return Views({CODES: _numbers([part.mean(axis=0) for part in codes]), WORDS: _numbers(means)})

    @property
    def _known(self) -> bool:
        return isinstance(self.public.mechanism, KnownChannel)

    @cached_property
    def _attacker(self) -> Attacker:
        if self.reader is not None:
            return self.reader
        return (MaximumAPosteriori(depth=1) if self._known else CosineNeighbour(depth=1)).fit(self.public)

    @cached_property
    def _reduced_table(self) -> Floats:
        """The table in REDUCED coordinates of unit variance under the prior, shape (words, at most REDUCED)."""
        prior = self.public.prior
        centred = self.public.table - (prior @ self.public.table).astype(np.float32)
        values, vectors = np.linalg.eigh(centred.T @ (centred * prior[:, None].astype(np.float32)).astype(np.float64))
        kept = np.flatnonzero(values > 1e-6 * values[-1])[-REDUCED:]
        return np.asarray(centred @ (vectors[:, kept] / np.sqrt(values[kept])), dtype=np.float32)

    def _released_codes(self, messages: Sequence[bytes]) -> list[Floats]:
        """Returns each token's release as numbers: DEL's codes dequantized, or what a rival's server reads."""
        mechanism = self.public.mechanism
        if isinstance(mechanism, Pipeline):
            quantizer = StochasticQuantizer(mechanism.spec)
            return [quantizer.dequantize(mechanism.observed(message)) for message in messages]
        return embeddings_of(mechanism, messages)

    def _clean_codes(self, tokens: NDArray[np.int64]) -> Floats:
        mechanism = self.public.mechanism
        return mechanism.encoder.encode(tokens) if isinstance(mechanism, Pipeline) else self.public.table[tokens]

    def _posteriors(self, messages: Sequence[bytes]) -> tuple[list[Floats], list[Floats], list[csr_array]]:
        """Returns each prompt's expected bag of words, its tokens' mean reduced embeddings, and their posteriors."""
        bags, means, posteriors, log_prior = [], [], [], self.public.log_prior
        for message in messages:
            observed = self.public.mechanism.observed(message)
            bag, mean, kept = np.zeros(self.public.words, np.float32), [], []
            for _, scores in self.public.channel.scores(observed, log_prior):
                totals, _ = exponentiate(scores)
                bag += (1 / totals) @ scores
                mean.append(scores @ self._reduced_table / totals[:, None])
                kept.append(_likeliest(scores, totals))
            bags.append(bag)
            means.append(np.concatenate(mean))
            posteriors.append(vstack(kept, format="csr"))
        return bags, means, posteriors

    def _views(
        self,
        codes: list[Floats],
        bags: list[Floats],
        means: list[Floats],
        readings: Sequence[NDArray[np.int64]],
        posteriors: Sequence[csr_array],
        texts: Sequence[NDArray[np.int64]] | None,
    ) -> Views:
        table = self.public.table
        rows: dict[str, Rows] = {
            CODES: _numbers([part.mean(axis=0) for part in codes]),
            SPREAD: _numbers([np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in codes]),
        }
        if bags:
            rows[EMBEDDING] = _numbers([bag @ table / bag.sum() for bag in bags])
            rows[BAG] = _sparse(bags)
        rows[WORDS] = _numbers([table[reading].mean(axis=0) for reading in readings])
        if self.tokenizer is not None:
            written = [text_of(self.tokenizer, reading.tolist()) for reading in readings]
            rows[TEXT] = objects(written)
            if self.sentences is not None:
                rows[SENTENCE] = self.sentences.embed(written).astype(np.float64)
        known = [None] * len(codes) if texts is None else texts
        prior = self.public.prior
        rows[TOKENS] = objects([TokenPosteriors(p, prior, t) for p, t in zip(posteriors, known, strict=True)])
        parts = [np.concatenate(pair, axis=1) for pair in zip(codes, means, strict=True)] if means else codes
        rows[SEQUENCE] = objects(parts)
        return Views(rows, {name: self._reason(name) for name in VIEWS if name not in rows})

    def _reason(self, name: str) -> str:
        if name in (EMBEDDING, BAG):
            return f"the law of {self.public.mechanism.name} is not known"
        return "no tokenizer was given" if self.tokenizer is None else "no sentence encoder was given"


def objects(parts: Sequence[object]) -> NDArray[np.object_]:
    """Returns parts, whatever they are, as the rows of an object array, shape (parts,)."""
    rows = np.empty(len(parts), dtype=object)
    for index, part in enumerate(parts):
        rows[index] = part
    return rows


def _numbers(rows: Sequence[Floats]) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64)


def _one_hot(tokens: NDArray[np.int64], words: int) -> csr_array:
    ones = np.ones(len(tokens), np.float32)
    return csr_array((ones, tokens, np.arange(len(tokens) + 1)), shape=(len(tokens), words))


def _likeliest(weights: Floats, totals: Floats) -> csr_array:
    """Returns the words of each row that are kept with their probabilities, sparse, shape (rows, words).

    weights: probabilities times totals, shape (rows, words).
    """
    least = LEAST * totals
    above = weights >= least[:, None]
    for row in np.flatnonzero(above.sum(axis=1) > KEPT_CANDIDATES):
        least[row] = np.partition(weights[row, above[row]], -KEPT_CANDIDATES)[-KEPT_CANDIDATES]
    rows, words = np.nonzero(weights >= least[:, None])
    values = weights[rows, words] / totals[rows]
    ends = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=len(weights)))])
    return csr_array((values, words.astype(np.int32), ends), shape=weights.shape)


def _sparse(bags: Sequence[Floats]) -> csr_array:
    """Returns the bags' KEPT_WORDS largest entries, as one sparse array of shape (bags, words)."""
    kept = []
    for bag in bags:
        words, values = best_words(bag[None], min(KEPT_WORDS, bag.size))
        kept.append(csr_array((values[0], words[0], [0, words.size]), shape=(1, bag.size)))
    stacked = vstack(kept, format="csr")
    stacked.eliminate_zeros()
    stacked.sort_indices()
    return stacked
