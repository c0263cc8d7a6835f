"""Made-up personal identifiers planted in real documents, and how many of them an attack reads exactly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.identifiers import KINDS, TEMPLATES
from del_audit.evidence.intervals import clustered_rate
from del_audit.evidence.slices import Slice, SliceFigure
from mechanisms.errors import UserError
from mechanisms.randomness import Generator, simulation_generator

FEWEST_IDENTIFIERS = 10
"""A kind of which there are fewer has no figure."""


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
    """The tokens [start, stop) that hold a character of an identifier of that kind."""

    kind: str
    start: int
    stop: int


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


def tokenized(planted: PlantedText, tokenizer: Any, length: int | None = None) -> PlantedTokens:
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
    spans = []
    for found in planted.identifiers:
        inside = np.flatnonzero((starts < found.stop) & (stops > found.start) & (stops > starts))
        if inside.size and inside[-1] < kept:
            spans.append(TokenSpan(found.kind, int(inside[0]), int(inside[-1]) + 1))
    return PlantedTokens(tuple(int(token) for token in encoded["input_ids"][:kept]), tuple(spans))


def planted_slice(outcome: Outcome, prompts: Sequence[PlantedTokens]) -> Slice:
    """Returns the tokens of planted identifiers.

    prompts: those attacked, in order. Raises UserError where the outcome's true tokens are not theirs.
    """
    chosen = np.zeros(len(outcome), dtype=bool)
    for start, prompt in zip(_starts(outcome, prompts), prompts, strict=True):
        for span in prompt.spans:
            chosen[start + span.start : start + span.stop] = True
    return Slice("planted identifiers", "tokens with a character of a made-up identifier", chosen)


def recovered(
    outcome: Outcome, prompts: Sequence[PlantedTokens]
) -> tuple[NDArray[np.bool_], NDArray[np.str_], NDArray[np.str_]]:
    """Returns whether each identifier was read exactly (all of its tokens right), its kind, and its document.

    Shape (identifiers,) each, in the order of the text. Raises UserError as planted_slice does.
    """
    hits = outcome.hits
    rows: list[tuple[bool, str, str]] = []
    for number, (start, prompt) in enumerate(zip(_starts(outcome, prompts), prompts, strict=True)):
        for span in prompt.spans:
            read = bool(hits[start + span.start : start + span.stop].all())
            rows.append((read, span.kind, outcome.documents[number]))
    return (
        np.array([row[0] for row in rows], dtype=bool),
        np.array([row[1] for row in rows], dtype=np.str_),
        np.array([row[2] for row in rows], dtype=np.str_),
    )


def identifier_figures(
    outcome: Outcome,
    baseline: Outcome,
    prompts: Sequence[PlantedTokens],
    seed: int,
    confidence: float = 0.95,
    fewest: int = FEWEST_IDENTIFIERS,
    *,
    longest: int,
) -> list[SliceFigure]:
    """Returns the share of identifiers read exactly, of all kinds together and of each, beside the baseline.

    Its `tokens` count identifiers.
    longest: the most identifiers that one document can have, as it was planted. A kind with fewer than `fewest`, or of
    one document, has no figure and says so.
    Raises UserError as planted_slice does.
    """
    read, kinds, documents = recovered(outcome, prompts)
    guessed, _, _ = recovered(baseline, prompts)
    parts = [("identifiers", np.ones(len(read), dtype=bool)), *((kind, kinds == kind) for kind in KINDS)]
    figures = []
    for name, chosen in parts:
        count, of = int(chosen.sum()), len(np.unique(documents[chosen]))
        about = (f"planted: {name}", "read exactly: all tokens of the identifier right", count, of)
        if count < fewest or of < 2:
            why = f"too few: {count} of {of} documents, where {fewest} of two documents are needed"
            figures.append(SliceFigure(*about, None, None, why))
            continue
        unit = f"share of planted {name if name == 'identifiers' else name + 's'} read exactly"
        ours, theirs = (
            clustered_rate(hits[chosen], documents[chosen], longest, unit, "identifiers", seed, confidence)
            for hits in (read, guessed)
        )
        figures.append(SliceFigure(*about, ours, theirs))
    return figures


def _starts(outcome: Outcome, prompts: Sequence[PlantedTokens]) -> NDArray[np.int64]:
    """Returns the row of the outcome at which each prompt starts."""
    lengths = [len(prompt.ids) for prompt in prompts]
    ids = [token for prompt in prompts for token in prompt.ids]
    numbers = np.repeat(np.arange(len(prompts)), lengths)
    if not np.array_equal(outcome.truth, ids) or not np.array_equal(outcome.prompt, numbers):
        raise UserError("Expected an outcome of the planted prompts, all of their tokens, in order, got other tokens.")
    return np.cumsum([0, *lengths[:-1]])
