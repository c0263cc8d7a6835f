"""The client's half of the mechanisms over words: a description, and for coarse words the public map beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, cast

from mechanisms.description import Description
from mechanisms.mechanism import NO_FILE, ModelName
from mechanisms.randomness import RandomSource
from mechanisms.rivals.clusters import LARGEST, read_symbols, symbols_bytes
from mechanisms.rivals.coarse_words import CoarseWords, CoarseWordsSpec, Inner, InnerSpec, mechanism_over

SYMBOLS = "symbols.safetensors"


@dataclass(frozen=True, slots=True)
class _OverWords:
    """What both halves have. mechanism: without a server's parts."""

    mechanism: Inner | CoarseWords

    @property
    def spec(self) -> InnerSpec | CoarseWordsSpec:
        """What the accountant bounds."""
        return self.mechanism.spec

    @property
    def words(self) -> int:
        """Size of the vocabulary."""
        return self.mechanism.words

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        return self.mechanism.release(tokens, source)


@dataclass(frozen=True, slots=True)
class WordReleaser(_OverWords):
    """The half of randomized response, subset selection or projective geometry: its description is all it needs."""

    LARGEST_FILES: ClassVar[Mapping[str, int]] = {}
    mechanism: Inner

    @classmethod
    def of(cls, spec: InnerSpec) -> Self:
        """Returns the half of a description."""
        return cls(mechanism_over(spec))

    @classmethod
    def read(cls, spec: Description, files: Mapping[str, bytes], folder: Path, model: ModelName) -> Self:
        """Returns the half of a description; no file is looked at."""
        return cls.of(cast(InnerSpec, spec))

    @property
    def sha256(self) -> str:
        """That there is no file."""
        return NO_FILE

    def files(self, model: ModelName) -> dict[str, bytes]:
        """Returns no files."""
        return {}


@dataclass(frozen=True, slots=True)
class SymbolReleaser(_OverWords):
    """The half of coarse words: its public file is the map of words to symbols, whose hash the description states."""

    LARGEST_FILES: ClassVar[Mapping[str, int]] = {SYMBOLS: LARGEST}
    mechanism: CoarseWords

    @classmethod
    def read(cls, spec: Description, files: Mapping[str, bytes], folder: Path, model: ModelName) -> Self:
        """Returns the half of a description and its map; raises UserError as read_symbols and CoarseWords do."""
        symbols = read_symbols(files[SYMBOLS], str(folder / SYMBOLS))
        return cls(CoarseWords(cast(CoarseWordsSpec, spec), symbols))

    @property
    def sha256(self) -> str:
        """Hash of the map."""
        return self.mechanism.spec.symbols

    def files(self, model: ModelName) -> dict[str, bytes]:
        """Returns the map's file, which holds 4 bytes a word whatever model it is for."""
        return {SYMBOLS: symbols_bytes(self.mechanism.symbols)}
