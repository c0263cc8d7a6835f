"""DP-Prompt (Utpala, Hooker and Chen, arXiv 2310.16111): a language model paraphrases the document, clipped."""

from collections.abc import Sequence
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
    from mechanisms.models import LanguageModel
    from mechanisms.stepping import CachedReader

TEMPLATE = "Document: {document}\nParaphrase of the document:"
"""What the language model reads, as in the paper."""


@dataclass(frozen=True, slots=True)
class DpPromptSpec(RewritingSpec):
    """DP-Prompt, completely: a language model writes a paraphrase, a draw from its clipped logits at a time.

    A document of n tokens becomes n words, neither fewer nor more: words that end a text are never written. Fields and
    errors as of RewritingSpec; model also covers the template.
    """

    kind: ClassVar[str] = "dp prompt"


class Writing(Protocol):
    """A paraphrase that has been begun."""

    def logits(self) -> NDArray[np.floating]:
        """Returns the logits of the next word, shape (words,)."""

    def write(self, word: int) -> None:
        """Adds the next word."""


class Writer(RewritingModel, Protocol):
    """A language model that writes paraphrases."""

    def begin(self, document: NDArray[np.int64]) -> Writing:
        """Returns the paraphrase of a document before its first word."""


class DpPrompt(Rewriting[Writer]):
    """The mechanism: what is sent is the paraphrase's words. Parameters and errors as of Rewriting."""

    def __init__(
        self,
        spec: DpPromptSpec,
        model: Writer | None = None,
        table: NDArray[np.float32] | None = None,
        name: str = "DP-Prompt",
    ) -> None:
        super().__init__(spec, model, table, name)
        self.spec: DpPromptSpec = spec

    def rewritten(self, model: Writer, document: NDArray[np.int64], source: RandomSource) -> NDArray[np.int64]:
        """Returns as many words as the document has tokens, int64, each drawn after those before it."""
        writing, words = model.begin(document), np.empty(len(document), dtype=np.int64)
        for place in range(len(document)):
            words[place] = self.draw(writing.logits(), source)
            if place + 1 < len(document):
                writing.write(int(words[place]))
        return words


@dataclass(frozen=True)
class LanguageWriter:
    """A causal language model that shares the server's tokenizer, as a Writer.

    before, after: tokens that are read around the document. words: rows of the server's embedding table.
    """

    language: "LanguageModel"
    before: Sequence[int]
    after: Sequence[int]
    words: int

    @classmethod
    def of(
        cls,
        language: "LanguageModel",
        server: PreTrainedTokenizerBase,
        words: int,
        template: str = TEMPLATE,
    ) -> Self:
        """Returns the writer that reads {document} in the template; server: the tokenizer of the server's model.

        Raises UserError for a model with another tokenizer than the server's, and for a template that does not name the
        document once.
        """
        from mechanisms.model_facts import opening_tokens

        require_same_numbers(language.tokenizer, server)
        parts = template.split("{document}")
        if len(parts) != 2:
            raise UserError(f"Expected a template that has {{document}} in it once, got template={template!r}.")
        before, after = (list(language.tokenizer(text, add_special_tokens=False).input_ids) for text in parts)
        return cls(language, [*opening_tokens(language.model), *before], after, words)

    @cached_property
    def possible(self) -> NDArray[np.bool_]:
        """Which words may be written: none that opens, ends or pads a text."""
        from mechanisms.model_facts import end_tokens

        return possible_words(self.language.tokenizer, self.words, end_tokens(self.language.model))

    @property
    def longest(self) -> int:
        """Half of the context, less the template."""
        return (self.language.context_tokens - len(self.before) - len(self.after)) // 2

    @cached_property
    def sha256(self) -> str:
        """The hash of the model's files, the tokens of the template and the words that may be written."""
        written = np.flatnonzero(self.possible).tolist()
        return json_sha256(["writer", self.language.record.sha256, list(self.before), list(self.after), written])

    def begin(self, document: NDArray[np.int64]) -> "_CachedWriting":
        """Returns the paraphrase of a document before its first word."""
        from mechanisms.stepping import CachedReader

        writing = _CachedWriting(self.language, self.words, CachedReader(self.language.model))
        writing.read([*self.before, *document.tolist(), *self.after])
        return writing


class _CachedWriting:
    """A paraphrase as far as a language model has read it."""

    def __init__(self, language: "LanguageModel", words: int, reader: "CachedReader") -> None:
        self._language, self._reader = language, reader
        self._logits = np.full(words, -np.inf, dtype=np.float32)

    def read(self, tokens: Sequence[int]) -> None:
        """Reads on."""
        from mechanisms.own_forward import embed

        said = self._reader.read(embed(self._language.model, tokens)[None])[0].cpu().numpy()
        known = min(len(said), len(self._logits))
        self._logits[:known] = said[:known]

    def logits(self) -> NDArray[np.floating]:
        """Returns the logits of the next word, float32, shape (words,)."""
        return self._logits

    def write(self, word: int) -> None:
        """Adds the next word."""
        self.read([word])
