"""Mechanisms that rewrite a document: each word of the output is drawn by a language model's clipped logits."""

import functools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.randomness import RandomSource
from mechanisms.rivals._decoding import checked_table, required_table
from mechanisms.rivals._description import RivalSpec, number, positive, whole
from mechanisms.rivals._draws import weighted_choices
from mechanisms.rivals._rows import unit_bits
from mechanisms.rivals._sent import WordSent
from mechanisms.rivals.randomized_response import MAX_WORDS

MAX_TOKENS = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RewritingSpec(RivalSpec):
    """Base of the descriptions: every word of the output is a draw of an exponential mechanism, completely described.

    A document of n tokens becomes n words. One of logit l has the weight 2^k e^((l - high) / temperature), rounded, l
    clipped to [low, high] and the weight held between least_weight and most_weight: these two alone bound the law
    (docs/theory.md, theorem 25). words: of the server's vocabulary, 2 to 2^24. tokens: of the longest document, 1 to
    2^20. low, high: in the unit of the logits, nats at temperature 1. model: the hash of the language model and of what
    it reads beside the document. Raises UserError for values out of range.
    """

    words: int
    tokens: int
    low: float
    high: float
    temperature: float
    model: str

    def __post_init__(self) -> None:
        whole("words", self.words, 2, MAX_WORDS)
        whole("tokens", self.tokens, 1, MAX_TOKENS)
        for name in ("low", "high"):
            object.__setattr__(self, name, number(name, getattr(self, name)))
        if self.low >= self.high:
            raise UserError(f"Expected low < high={self.high}, the ends of the clip, got low={self.low}.")
        object.__setattr__(self, "temperature", positive("temperature", self.temperature))
        if not isinstance(self.model, str) or not _SHA256.fullmatch(self.model):
            raise UserError(f"Expected model to be a sha256 of 64 hexadecimal digits, got model={self.model!r}.")

    @property
    def document_tokens(self) -> int:
        """Tokens of the longest document: each word of the output depends on all of them."""
        return self.tokens

    @property
    def most_weight(self) -> int:
        """The weight of a logit at the upper end of the clip, or above it."""
        return 1 << unit_bits(self.words)

    @property
    def least_weight(self) -> int:
        """The weight of a logit at the lower end of the clip, or below it."""
        return _least_weight(self.low, self.high, self.temperature, self.most_weight)


@functools.lru_cache(maxsize=16)
def _least_weight(low: float, high: float, temperature: float, most: int) -> int:
    """Returns the whole number at most e^((low - high) / temperature), rounded up: the same on every machine."""
    with localcontext() as context:
        context.prec = 60  # decimal's exp is correctly rounded, a library's in floats need not be
        share = ((Decimal(low) - Decimal(high)) / Decimal(temperature)).exp()
        return max(1, math.ceil(most * share))


class RewritingModel(Protocol):
    """What every language model that rewrites says of itself.

    words: of the server's vocabulary. longest: the most tokens of a document that it reads. sha256: names the weights
    and whatever is read beside the document. possible: which words may be written, a public choice, shape (words,).
    """

    @property
    def words(self) -> int:
        """Size of the server's vocabulary."""

    @property
    def longest(self) -> int:
        """Tokens of the longest document."""

    @property
    def sha256(self) -> str:
        """The hash of all that determines the logits of a document."""

    @property
    def possible(self) -> NDArray[np.bool_]:
        """Which words may be written, shape (words,); it depends on the model alone."""


Model = TypeVar("Model", bound=RewritingModel)


class Rewriting(WordSent, Generic[Model]):
    """Base: a subclass draws the output's words in `rewritten`.

    model: the client's; a server needs none. table: the server's embeddings, float32, shape (words, width); a client
    needs none. Raises UserError for a model or table of another vocabulary, and for a model of another hash than the
    spec's, or with a context too short for spec.tokens.
    """

    spec: RewritingSpec

    def __init__(self, spec: RewritingSpec, model: Model | None, table: NDArray[np.float32] | None, name: str) -> None:
        if table is not None:
            checked_table(table, spec.words)
        if model is not None:
            _require_same(spec, model)
        self.model, self.table, self.name = model, table, name

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.spec.words

    def rewritten(self, model: Model, document: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns as many words as the document has tokens, int64, drawn in turn."""
        raise NotImplementedError

    def replace(self, tokens: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns the released words, int64, shape (tokens,); each of them depends on every token.

        Raises UserError, before anything is drawn, for a document that is too long, and where there is no model.
        """
        if self.model is None:
            raise UserError(f"Expected a language model at the client of {self.name}, got none: pass model=.")
        if len(tokens) > self.spec.tokens:
            raise UserError(
                f"Expected a document of at most {self.spec.tokens} tokens, which the guarantee is for, got "
                f"{len(tokens)}: shorten it, or describe the mechanism with more tokens."
            )
        return self.rewritten(self.model, tokens, source)

    def weights(self, logits: NDArray[np.floating]) -> NDArray[np.uint64]:
        """Returns the whole weight of each word, uint64, the shape of logits: (words,) or (places, words).

        What is no number counts as low. A word that may not be written has weight 0 in every document.
        """
        spec, most = self.spec, self.spec.most_weight
        known = np.nan_to_num(np.asarray(logits, dtype=np.float64), nan=spec.low, posinf=spec.high, neginf=spec.low)
        clipped = np.clip(known, spec.low, spec.high)
        scaled = np.rint(np.exp((clipped - spec.high) / spec.temperature) * most).astype(np.uint64)
        held = np.clip(scaled, np.uint64(spec.least_weight), np.uint64(most))
        return held if self.model is None else np.where(self.model.possible, held, np.uint64(0))

    def draw(self, logits: NDArray[np.floating], source: RandomSource) -> int:
        """Returns a word drawn by the whole weights of its logits, shape (words,)."""
        return int(weighted_choices(self.weights(logits), 1, source)[0])

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns the row of each word of the output, float32, shape (tokens, width).

        Raises UserError for a message of another mechanism, and where there is no table.
        """
        observed, table = self.observed(message), required_table(self.table)
        return table[observed]


def _require_same(spec: RewritingSpec, model: RewritingModel) -> None:
    """Raises UserError for a model that is not the one described, or cannot read the longest document."""
    if model.words != spec.words or model.possible.shape != (spec.words,):
        raise UserError(f"Expected a language model over {spec.words} words, got one over {model.words}.")
    if model.sha256 != spec.model:
        raise UserError(f"Expected the language model of hash {spec.model[:16]}, got one of {model.sha256[:16]}.")
    if model.longest < spec.tokens:
        raise UserError(
            f"Expected tokens <= {model.longest}, the longest document that the language model's context holds beside "
            f"what it writes, got tokens={spec.tokens}."
        )
    if not model.possible.any():
        raise UserError("Expected a language model with words that may be written, got none.")


def possible_words(tokenizer: PreTrainedTokenizerBase, words: int, never: Iterable[int]) -> NDArray[np.bool_]:
    """Returns which words may be written, shape (words,): those of the tokenizer but its special ones and `never`.

    Special words open, end or pad a text. An end that is never written tells no length.
    """
    possible = np.zeros(words, dtype=np.bool_)
    possible[[number for number in tokenizer.get_vocab().values() if number < words]] = True
    possible[[number for number in (*tokenizer.all_special_ids, *never) if number < words]] = False
    return possible


def require_same_numbers(own: PreTrainedTokenizerBase, server: PreTrainedTokenizerBase) -> None:
    """Raises UserError unless a language model's tokenizer gives every word of the server's the same number.

    Otherwise what is written had to be tokenized anew, and the length of that would depend on the document.
    """
    numbers = own.get_vocab()
    for text, number_there in server.get_vocab().items():
        if numbers.get(text) != number_there:
            raise UserError(
                f"Expected a language model whose tokenizer numbers words as the server's does, got "
                f"{numbers.get(text, 'no number')} for {text!r} in place of {number_there}: choose a model that shares "
                "the server's tokenizer, or for DP-MLM the causal stand-in, CausalReader."
            )
