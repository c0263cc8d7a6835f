"""Words through a public map to fewer symbols, which another mechanism releases: words of one symbol stay together."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Self, get_args

import numpy as np
from numpy.typing import NDArray

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.mechanism import Observed
from mechanisms.randomness import RandomSource
from mechanisms.rivals._decoding import Decoding
from mechanisms.rivals._description import whole
from mechanisms.rivals._message import MessageFormat, SetFormat, renamed
from mechanisms.rivals._rows import public_hash
from mechanisms.rivals._supports import PosteriorRead, SupportSpec
from mechanisms.rivals.projective_geometry import ProjectiveGeometry, ProjectiveGeometrySpec
from mechanisms.rivals.randomized_response import MAX_WORDS, RandomizedResponse, RandomizedResponseSpec
from mechanisms.rivals.subset_selection import SubsetSelection, SubsetSelectionSpec
from mechanisms.tokens import checked_tokens

if TYPE_CHECKING:  # the client imports no torch
    from mechanisms.device_channel import Law

InnerSpec = RandomizedResponseSpec | SubsetSelectionSpec | ProjectiveGeometrySpec
Inner = RandomizedResponse | SubsetSelection | ProjectiveGeometry


@dataclass(frozen=True, slots=True)
class CoarseWordsSpec(SupportSpec):
    """A mechanism over symbols behind a public map of words to symbols, completely.

    inner: what releases the symbols; its words are the symbols. words: 2 to 2^24. symbols: the hash of each word's
    symbol, 64 hex digits. Its guarantee is the inner one's for words of different symbols; two words of one symbol
    have equal releases. Raises UserError for values out of range.
    """

    kind: ClassVar[str] = "coarse words"
    inner: InnerSpec
    words: int
    symbols: str

    def __post_init__(self) -> None:
        if not isinstance(self.inner, InnerSpec):
            raise UserError(
                "Expected inner to be the spec of randomized response, subset selection or projective geometry, got "
                f"inner of type {type(self.inner).__name__}."
            )
        whole("words", self.words, 2, MAX_WORDS)
        if not (isinstance(self.symbols, str) and re.fullmatch("[0-9a-f]{64}", self.symbols)):
            raise UserError(f"Expected symbols to be 64 hex digits, a hash, got symbols={str(self.symbols)[:100]!r}.")

    @classmethod
    def over(cls, inner: InnerSpec, symbols: NDArray[np.int64]) -> Self:
        """Returns the spec for a public map: each word's symbol, shape (words,)."""
        return cls(inner, len(symbols), public_hash(symbols))

    @property
    def chance(self) -> Fraction:
        """As of the inner mechanism."""
        return self.inner.chance

    @property
    def share(self) -> Fraction:
        """As of the inner mechanism."""
        return self.inner.share

    @property
    def common(self) -> Fraction:
        """As of the inner mechanism."""
        return self.inner.common

    def to_dict(self) -> dict[str, Json]:
        """Returns the kind, then the fields under their names; those of the inner spec, and its kind, as inner_..."""
        inner = {f"inner_{name}": value for name, value in self.inner.to_dict().items()}
        return {"kind": self.kind, "words": self.words, "symbols": self.symbols, **inner}

    @classmethod
    def of_fields(cls, fields: Mapping[str, Json]) -> Self:
        """Returns the spec of the fields of `to_dict` but its kind; raises UserError and TypeError as its parts do."""
        inner, own = dict[str, Json](), dict[str, Json]()
        for name, value in fields.items():
            (inner if name.startswith("inner_") else own)[name.removeprefix("inner_")] = value
        kind = inner.pop("kind", None)
        found = next((spec for spec in get_args(InnerSpec) if spec.kind == kind), None)
        if found is None:
            raise UserError(f"Expected inner_kind to name {', '.join(spec.kind for spec in get_args(InnerSpec))}.")
        return cls(found.of_fields(inner), **own)  # type: ignore[arg-type]  # the spec checks what JSON gives


class CoarseWords(PosteriorRead):
    """The mechanism. symbols: each word's, whole numbers, shape (words,). The rest, and errors, as of PosteriorRead.

    Raises UserError for another map than the spec's, and for one with symbols that the inner mechanism does not have.
    """

    def __init__(
        self,
        spec: CoarseWordsSpec,
        symbols: NDArray[np.int64],
        table: NDArray[np.float32] | None = None,
        prior: NDArray[np.float64] | None = None,
        decoding: Decoding = "posterior-mean",
        name: str = "coarse words",
    ) -> None:
        super().__init__(spec.words, table, prior, decoding, name)
        if symbols.shape != (spec.words,) or public_hash(symbols) != spec.symbols:
            raise UserError(
                f"Expected the symbols of {spec.words} words of hash {spec.symbols[:16]}, got others, of shape "
                f"{symbols.shape}: load the map that the spec was made over."
            )
        if symbols.min() < 0 or symbols.max() >= spec.inner.words:
            raise UserError(
                f"Expected symbols in 0..{spec.inner.words - 1}, got {int(symbols.min())}..{int(symbols.max())}."
            )
        self.spec, self.symbols, self.inner = spec, symbols.astype(np.int64), mechanism_over(spec.inner)
        self._own, self._inner = spec.fingerprint, spec.inner.fingerprint

    @property
    def format(self) -> MessageFormat | SetFormat:
        """The inner message's layout, under this description's name."""
        return dataclasses.replace(self.inner.format, fingerprint=self._own)

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt; raises UserError as checked_tokens does, and draws nothing."""
        symbols = self.symbols[checked_tokens(tokens, self.words)]
        message = self.inner.release(symbols, source)  # type: ignore[arg-type]  # an array is checked faster than a list
        return renamed(message, self._inner, self._own)

    def observed(self, message: bytes) -> NDArray[np.int64]:
        """Returns what the inner mechanism released, shape (tokens, 1) where that is one symbol: no word's number.

        Raises UserError for a message of another mechanism.
        """
        released = self.inner.observed(renamed(message, self._own, self._inner))
        return released[:, None] if released.ndim == 1 else released

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, log P(observed | word) + log_prior[word]), float32, shape (rows, words)."""
        added = np.float32(0) if log_prior is None else log_prior.astype(np.float32)
        released = observed[:, 0] if isinstance(self.inner, RandomizedResponse) else observed
        for rows, block in self.inner.scores(released):
            yield rows, block[:, self.symbols] + added

    def law_on(self, device: str) -> "Law":
        """Returns the law in torch (mechanisms.device_channel): the inner one's, at each word's symbol."""
        import torch

        inner, symbols = self.inner.law_on(device), torch.from_numpy(self.symbols).to(device)
        single = isinstance(self.inner, RandomizedResponse)
        return lambda observed: inner(observed[:, 0] if single else observed).index_select(1, symbols)


def mechanism_over(spec: InnerSpec) -> Inner:
    """Returns the mechanism of a spec, without a server's parts."""
    if isinstance(spec, RandomizedResponseSpec):
        return RandomizedResponse(spec)
    return SubsetSelection(spec) if isinstance(spec, SubsetSelectionSpec) else ProjectiveGeometry(spec)
