"""Made-up personal identifiers planted in real documents."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from del_audit.service.identifiers import KINDS, TEMPLATES
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.randomness import Generator, simulation_generator
from mechanisms.text_pieces import text_of


@dataclass(frozen=True, slots=True)
class Identifier:
    """One planted identifier: its kind, its text, and where it stands, characters [start, stop)."""

    kind: str
    text: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class PlantedText:
    """A document with what was planted in it, in the order of the text."""

    text: str
    identifiers: tuple[Identifier, ...]


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The tokens [start, stop) that hold a character of an identifier of that kind, and the identifier's text.

    text: what these tokens decode to instead, where the tokenizer does not keep the text as it was written.
    """

    kind: str
    start: int
    stop: int
    text: str


@dataclass(frozen=True, slots=True)
class PlantedTokens:
    """A tokenized document and where its identifiers are."""

    ids: tuple[int, ...]
    spans: tuple[TokenSpan, ...]


def plant(
    texts: Sequence[str], seed: int, each: int = 1, kinds: Sequence[str] = KINDS, within: int | None = None
) -> list[PlantedText]:
    """Returns each text with `each` identifiers planted as sentences of their own, at random sentence boundaries.

    kinds: taken in turn, document after document, so that all are as frequent. within: boundaries in the first so
    many characters only, where a prompt will be cut; the start is always one. A text's identifiers depend on the seed
    and its place in texts alone. Raises UserError for no texts, an unknown kind, and each or within below 1.
    """
    unknown = [kind for kind in kinds if kind not in TEMPLATES]
    if unknown or not kinds:
        raise UserError(f"Expected kinds among {', '.join(KINDS)}, got kinds={list(kinds)}.")
    if not texts or each < 1 or (within is not None and within < 1):
        raise UserError(f"Expected a text, each >= 1 and within >= 1, got {len(texts)}, each={each}, within={within}.")
    return [
        _planted(
            text,
            [kinds[(index * each + turn) % len(kinds)] for turn in range(each)],
            simulation_generator(seed, "planted identifiers", str(index)),
            within,
        )
        for index, text in enumerate(texts)
    ]


def _planted(text: str, kinds: Sequence[str], generator: Generator, within: int | None) -> PlantedText:
    places = [0, *(match.end() for match in re.finditer(r"[.!?]\s+", text))]
    if within is not None:
        places = [place for place in places if place <= within]
    at = np.sort(generator.choice(places, len(kinds), replace=len(kinds) > len(places)))
    parts: list[str] = []
    planted: list[Identifier] = []
    done = length = 0
    for kind, place in zip(kinds, map(int, at), strict=True):
        make, template = TEMPLATES[kind]
        value, before = make(generator), text[done:place]
        sentence = template.format(value) + " "
        start = length + len(before) + template.index("{}")
        planted.append(Identifier(kind, value, start, start + len(value)))
        parts += [before, sentence]
        length, done = length + len(before) + len(sentence), place
    return PlantedText("".join([*parts, text[done:]]), tuple(planted))


def tokenized(planted: PlantedText, tokenizer: PreTrainedTokenizerBase, length: int | None = None) -> PlantedTokens:
    """Returns the tokens of a text, the first `length` of them, and the spans of identifiers that are whole there.

    tokenizer: a fast one, which knows the characters of each token. A token across an identifier's edge counts as of
    it: to read the identifier is to read that token. Raises UserError for a tokenizer that is not fast.
    """
    if not getattr(tokenizer, "is_fast", False):
        raise UserError(
            f"Expected a fast tokenizer, which knows each token's characters, got {type(tokenizer).__name__}."
        )
    encoded = tokenizer(planted.text, add_special_tokens=False, return_offsets_mapping=True)
    starts, stops = np.array(encoded["offset_mapping"], dtype=np.int64).reshape(-1, 2).T
    kept = len(starts) if length is None else min(length, len(starts))
    ids = [int(token) for token in encoded["input_ids"][:kept]]
    spans = []
    for found in planted.identifiers:
        inside = np.flatnonzero((starts < found.stop) & (stops > found.start) & (stops > starts))
        if inside.size and inside[-1] < kept:
            start, stop = int(inside[0]), int(inside[-1]) + 1
            decoded = text_of(tokenizer, ids[start:stop])
            spans.append(TokenSpan(found.kind, start, stop, found.text if found.text in decoded else decoded))
    return PlantedTokens(tuple(ids), tuple(spans))
