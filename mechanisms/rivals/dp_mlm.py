"""DP-MLM (Meisenbacher et al., arXiv 2407.00637): each token is replaced by a draw from a masked model, clipped."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.hashes import json_sha256
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.randomness import RandomSource
from mechanisms.rivals._rewriting import (
    Rewriting,
    RewritingModel,
    RewritingSpec,
    possible_words,
    require_same_numbers,
)

if TYPE_CHECKING:
    from mechanisms.masked_models import MaskedLanguageModel
    from mechanisms.models import LanguageModel


@dataclass(frozen=True, slots=True)
class DpMlmSpec(RewritingSpec):
    """DP-MLM, completely: each token is replaced by a draw from a masked model's clipped logits at its place.

    The model reads the document, then the document with a mask at that place. Fields and errors as of RewritingSpec.
    """

    kind: ClassVar[str] = "dp mlm"


class Reader(RewritingModel, Protocol):
    """A language model that says which words fit each place of a document."""

    def logits(self, document: NDArray[np.int64]) -> Iterator[NDArray[np.floating]]:
        """Yields the logits of the places, in order, in blocks of shape (places, words)."""


class DpMlm(Rewriting[Reader]):
    """The mechanism: what is sent is a word for each token. Parameters and errors as of Rewriting."""

    def __init__(
        self,
        spec: DpMlmSpec,
        model: Reader | None = None,
        table: NDArray[np.float32] | None = None,
        name: str = "DP-MLM",
    ) -> None:
        super().__init__(spec, model, table, name)
        self.spec: DpMlmSpec = spec

    def rewritten(self, model: Reader, document: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns a word for each token, int64; given the document, they are drawn independently."""
        words = [self.draw(row, source) for block in model.logits(document) for row in block]
        return np.array(words, dtype=np.int64)


@dataclass(frozen=True)
class MaskedReader:
    """A masked language model that shares the server's tokenizer, as a Reader.

    words: rows of the server's embedding table. batch: places that are read at once.
    """

    masked: "MaskedLanguageModel"
    words: int
    batch: int = 8

    @classmethod
    def of(cls, masked: "MaskedLanguageModel", server: PreTrainedTokenizerBase, words: int, batch: int = 8) -> Self:
        """Returns the reader; server: the tokenizer of the server's model.

        Raises UserError for a model with another tokenizer than the server's. Its own may have more words, such as the
        mask.
        """
        require_same_numbers(masked.tokenizer, server)
        return cls(masked, words, batch)

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """Which words may be written: none that opens, ends, pads or masks."""
        return possible_words(self.masked.tokenizer, self.words, ())

    @cached_property
    def _frame(self) -> "_Frame":
        """How the tokenizer puts two texts together."""
        mask = self.masked.tokenizer.mask_token
        pair = self.masked.tokenizer(mask, mask)
        row = list(pair.input_ids)
        first, second = (place for place, token in enumerate(row) if token == self.masked.mask)
        kinds = pair.get("token_type_ids")
        return _Frame(row, None if kinds is None else list(kinds), first, second)

    @property
    def longest(self) -> int:
        """Half of the context, less what stands around a pair of texts."""
        return (self.masked.context_tokens - len(self._frame.row) + 2) // 2

    @cached_property
    def sha256(self) -> str:
        """The hash of the model's files, of what stands around a pair of texts and of the words that may be written."""
        frame = (self._frame.row, self._frame.kinds, self._frame.first, self._frame.second)
        return json_sha256(["masked", self.masked.record.sha256, *frame, np.flatnonzero(self.possible).tolist()])

    def logits(self, document: NDArray[np.int64]) -> Iterator[NDArray[np.floating]]:
        """Yields the logits at the mask of each place, in order, float32, in blocks of shape (places, words)."""
        import torch

        frame, tokens = self._frame, document.tolist()
        masked = [[*tokens[:place], self.masked.mask, *tokens[place + 1 :]] for place in range(len(tokens))]
        for start in range(0, len(tokens), self.batch):
            rows = [frame.around(frame.row, tokens, text) for text in masked[start : start + self.batch]]
            inputs = {"input_ids": torch.tensor(rows)}
            if frame.kinds is not None:
                kinds = ([frame.kinds[mark]] * len(tokens) for mark in (frame.first, frame.second))
                inputs["token_type_ids"] = torch.tensor([frame.around(frame.kinds, *kinds)] * len(rows))
            with torch.no_grad():
                said = self.masked.model(**inputs).logits.float().numpy()
            opens = frame.second - 1 + len(tokens)  # where the second text begins
            yield _over(said[np.arange(len(rows)), np.arange(start, start + len(rows)) + opens], self.words)


@dataclass(frozen=True, slots=True)
class _Frame:
    """A pair of texts of one token each, at places first and second of a row, and each place's kind if it has one."""

    row: list[int]
    kinds: list[int] | None
    first: int
    second: int

    def around(self, row: Sequence[int], one: Sequence[int], other: Sequence[int]) -> list[int]:
        """Returns the row with two texts in the places of the two tokens."""
        return [*row[: self.first], *one, *row[self.first + 1 : self.second], *other, *row[self.second + 1 :]]


@dataclass(frozen=True)
class CausalReader:
    """A causal language model that shares the server's tokenizer, in a masked one's place, as a Reader.

    It reads the document, a break, and the document's tokens again up to each place: its logits there are what a copy
    goes on with. opening, between: tokens before the document and behind it. words: rows of the server's table.
    """

    language: "LanguageModel"
    opening: Sequence[int]
    between: Sequence[int]
    words: int

    @classmethod
    def of(cls, language: "LanguageModel", server: PreTrainedTokenizerBase, words: int, between: str = "\n") -> Self:
        """Returns the reader; server: the tokenizer of the server's model. between: the break.

        Raises UserError for a model with another tokenizer than the server's, and for a break without tokens.
        """
        from mechanisms.model_facts import opening_tokens

        require_same_numbers(language.tokenizer, server)
        tokens = list(language.tokenizer(between, add_special_tokens=False).input_ids)
        if not tokens:
            raise UserError(f"Expected a break of at least one token, got between={between!r}.")
        return cls(language, opening_tokens(language.model), tokens, words)

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """Which words may be written: none that opens, ends or pads a text."""
        from mechanisms.model_facts import end_tokens

        return possible_words(self.language.tokenizer, self.words, end_tokens(self.language.model))

    @property
    def longest(self) -> int:
        """Half of the context, less the opening and the break."""
        return (self.language.context_tokens - len(self.opening) - len(self.between)) // 2

    @cached_property
    def sha256(self) -> str:
        """The hash of the model's files, of what is read around the document and of the words that may be written."""
        written = np.flatnonzero(self.possible).tolist()
        return json_sha256(["causal", self.language.record.sha256, list(self.opening), list(self.between), written])

    def logits(self, document: NDArray[np.int64]) -> Iterator[NDArray[np.floating]]:
        """Yields the logits of all places in one block, float32, shape (tokens, words)."""
        import torch

        from mechanisms.own_forward import embed, logits_within

        tokens = document.tolist()
        row = embed(self.language.model, [*self.opening, *tokens, *self.between, *tokens[:-1]])
        with torch.no_grad():
            said = logits_within(self.language.model, [row], [(len(row) - len(tokens), len(row))])[0]
        yield _over(said.float().cpu().numpy(), self.words)


def _over(logits: NDArray[np.float32], words: int) -> NDArray[np.float32]:
    """Returns logits over the server's vocabulary; words that the model does not have may not be written anyway."""
    missing = max(0, words - logits.shape[1])
    return np.pad(logits[:, :words], ((0, 0), (0, missing)), constant_values=-np.inf)
