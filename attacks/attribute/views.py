"""What a probe looks at: named views of the same prompts, each with its counterpart on the clean text.

A view has one row a prompt: numbers of shape (prompts, width), a sparse bag of words, texts, or sequences of token
features (an object array). `attacks/attribute/candidates.py` says what is done with each kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from attacks.attribute.posteriors import Rows, TokenPosteriors, posteriors_of
from attacks.base import Attacker, AttackerKnowledge
from attacks.inversion import CosineNeighbour, MaximumAPosteriori
from attacks.ranking import best_words
from mechanisms.channel import exponentiate
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.mechanism import KnownChannel, Observed, embeddings_of
from mechanisms.models import SentenceEncoder
from mechanisms.pipeline import Pipeline
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.table_sums import covariance, projected, weighted_sum
from mechanisms.text_pieces import text_of

CODES, SPREAD = "released codes, mean", "released codes, mean and deviation"
EMBEDDING, BAG = "posterior-mean embedding", "posterior over words"
WORDS, TEXT, SENTENCE = "mean embedding of the reading", "text of the reading", "sentence embedding of the reading"
TOKENS, SEQUENCE = "posterior of each token", "token sequence"
LENGTHS = "lengths"
VIEWS = (CODES, SPREAD, EMBEDDING, BAG, WORDS, TEXT, SENTENCE, TOKENS, SEQUENCE)

KEPT_WORDS = 1024
"""Words of a prompt's expected bag that are kept, the largest; the posterior-mean embedding is of all words."""
AT_ONCE = 32
"""Prompts whose whole bags of words are held at once."""
ALIKE = 2
"""How often a release must be sent on average before each different one is looked at once."""
REDUCED = 32
"""Coordinates of a token's embedding in a sequence: the table's directions of largest variance under the prior."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Views:
    """rows: of each view, in the order of the prompts. left_out: why a view of VIEWS is missing."""

    rows: dict[str, Rows]
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Looked:
    """A few messages, looked at: expected words of each, and each token's mean, likeliest word and posterior."""

    bags: Floats
    means: list[Floats]
    readings: list[NDArray[np.int64]]
    sources: Sequence[Callable[[], csr_array]]


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
        known = [None] * len(messages) if texts is None else [np.asarray(text, dtype=np.int64) for text in texts]
        return _joined([self._released(messages[part], known[part]) for part in _parts(len(messages))])

    def clean(self, documents: Sequence[Sequence[int]]) -> Views:
        """Returns the same views without the mechanism, which no attacker sees: the ceiling.

        The codes have no noise, the posterior is certain, and the reading is right. Raises UserError for no documents
        and for a document without tokens.
        """
        tokens = [np.asarray(document, dtype=np.int64) for document in documents]
        if not tokens or not all(map(len, tokens)):
            raise UserError("Expected at least one document, and tokens in each, got none.")
        return _joined([self._clean(tokens[part]) for part in _parts(len(tokens))])

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
        table, prior = self.public.table, self.public.prior
        mean = weighted_sum(table, prior)
        values, vectors = np.linalg.eigh(covariance(table, prior, mean).T)  # its lower triangle is set
        kept = np.flatnonzero(values > 1e-6 * values[-1])[-REDUCED:]
        return projected(table, mean, vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)

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

    def _released(self, messages: Sequence[bytes], texts: Sequence[NDArray[np.int64] | None]) -> Views:
        """Returns the views of a few messages."""
        codes, prior = self._released_codes(messages), self.public.prior
        if not self._known:
            readings = [guesses.best for guesses in self._attacker.guess(messages)]
            certain = [
                TokenPosteriors(_one_hot(reading, self.public.words), prior, text)
                for reading, text in zip(readings, texts, strict=True)
            ]
            return self._views(codes, None, [], readings, certain)
        looked = self._looked([self.public.mechanism.observed(message) for message in messages])
        means, readings = looked.means, looked.readings
        posteriors = [TokenPosteriors(source, prior, text) for source, text in zip(looked.sources, texts, strict=True)]
        bags = looked.bags
        if self.reader is not None:
            readings = [guesses.best for guesses in self.reader.guess(messages)]
        return self._views(codes, bags, means, readings, posteriors)

    def _looked(self, observed: Sequence[Observed]) -> "_Looked":
        """Returns what is seen of a few messages; where releases are often alike, each is looked at once."""
        together = np.concatenate(observed)
        distinct, places = np.unique(together, axis=0, return_inverse=True)
        channel, log_prior = self.public.channel, self.public.log_prior
        bags = np.zeros((len(observed), self.public.words), np.float32)
        if ALIKE * len(distinct) > len(together):
            looks = [self._look(part, log_prior, bag) for part, bag in zip(observed, bags, strict=True)]
            means, readings, totals = (list(parts) for parts in zip(*looks, strict=True))
            each = zip(observed, totals, strict=True)
            return _Looked(bags, means, readings, [partial(posteriors_of, channel, *seen, log_prior) for seen in each])
        ends = np.cumsum([0, *map(len, observed)])
        sent = csr_array((np.ones(len(together), np.float32), places.ravel(), ends), (len(observed), len(distinct)))
        mean, best, total = self._look(distinct, log_prior, bags, sent)
        kept = cache(partial(posteriors_of, channel, distinct, total, log_prior))
        rows = [places.ravel()[start:end] for start, end in pairwise(ends)]
        sources = [partial(_rows_of, kept, row) for row in rows]
        return _Looked(bags, [mean[row] for row in rows], [best[row] for row in rows], sources)

    def _look(
        self, observed: Observed, log_prior: NDArray[np.float64], bags: Floats, sent: csr_array | None = None
    ) -> tuple[Floats, NDArray[np.int64], Floats]:
        """Returns each token's mean reduced embedding, likeliest word and sum of weights; adds expected words to bags.

        A weight is exp(score - largest score), of each word. bags: of one message, shape (words,); with sent of
        several, shape (messages, words), where sent says how often each has each token, shape (messages, tokens).
        """
        means, best, sums = [], [], []
        for rows, scores in self.public.channel.scores(observed, log_prior):
            best.append(scores.argmax(axis=1))
            totals, _ = exponentiate(scores)
            sums.append(totals)
            shares = 1 / totals
            bags += shares @ scores if sent is None else sent[:, rows].multiply(shares).tocsr() @ scores
            means.append(scores @ self._reduced_table / totals[:, None])
        return np.concatenate(means), np.concatenate(best), np.concatenate(sums)

    def _clean(self, tokens: Sequence[NDArray[np.int64]]) -> Views:
        """Returns the views of a few documents without the mechanism."""
        words, bags, means = self.public.words, None, []
        if self._known:
            bags = np.stack([np.bincount(row, minlength=words) for row in tokens]).astype(np.float32)
            means = [self._reduced_table[row] for row in tokens]
        posteriors = [TokenPosteriors(_one_hot(row, words), self.public.prior, row) for row in tokens]
        return self._views([self._clean_codes(row) for row in tokens], bags, means, tokens, posteriors)

    def _views(
        self,
        codes: list[Floats],
        bags: Floats | None,
        means: list[Floats],
        readings: Sequence[NDArray[np.int64]],
        posteriors: Sequence[TokenPosteriors],
    ) -> Views:
        table = self.public.table
        rows: dict[str, Rows] = {
            CODES: _numbers([part.mean(axis=0) for part in codes]),
            SPREAD: _numbers([np.concatenate([part.mean(axis=0), part.std(axis=0)]) for part in codes]),
        }
        if bags is not None:
            rows[EMBEDDING] = (bags @ table / bags.sum(axis=1, keepdims=True)).astype(np.float64)
            rows[BAG] = _sparse(bags)
        rows[WORDS] = _numbers([table[reading].mean(axis=0) for reading in readings])
        if self.tokenizer is not None:
            written = [text_of(self.tokenizer, reading.tolist()) for reading in readings]
            rows[TEXT] = objects(written)
            if self.sentences is not None:
                rows[SENTENCE] = self.sentences.embed(written).astype(np.float64)
        rows[TOKENS] = objects(posteriors)
        parts = [np.concatenate(pair, axis=1) for pair in zip(codes, means, strict=True)] if means else codes
        rows[SEQUENCE] = objects(parts)
        return Views(rows, {name: self._reason(name) for name in VIEWS if name not in rows})

    def _reason(self, name: str) -> str:
        if name in (EMBEDDING, BAG):
            return f"the law of {self.public.mechanism.name} is not known"
        return "no tokenizer was given" if self.tokenizer is None else "no sentence encoder was given"


def _rows_of(kept: Callable[[], csr_array], rows: NDArray[np.int64]) -> csr_array:
    """Returns some rows of what is computed once for several prompts."""
    return kept()[rows]


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


def _parts(prompts: int) -> list[slice]:
    return [slice(start, start + AT_ONCE) for start in range(0, prompts, AT_ONCE)]


def _joined(parts: Sequence[Views]) -> Views:
    """Returns views of consecutive prompts as one."""
    return Views({name: _stacked([part.rows[name] for part in parts]) for name in parts[0].rows}, parts[0].left_out)


def _stacked(parts: Sequence[Rows]) -> Rows:
    sparse = [part for part in parts if isinstance(part, csr_array)]
    return (
        vstack(sparse, format="csr") if sparse else np.concatenate([p for p in parts if not isinstance(p, csr_array)])
    )


def _sparse(bags: Floats) -> csr_array:
    """Returns the bags' KEPT_WORDS largest entries, as one sparse array of shape (bags, words)."""
    words, values = best_words(bags, min(KEPT_WORDS, bags.shape[1]))
    ends = np.arange(len(bags) + 1) * words.shape[1]
    kept = csr_array((values.ravel(), words.ravel(), ends), shape=bags.shape)
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept
