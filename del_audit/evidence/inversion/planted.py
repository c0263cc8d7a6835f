"""How many of the identifiers that were planted in real documents an attack reads, exactly or within one edit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import Slice, SliceFigure
from del_audit.service.identifiers import KINDS
from del_audit.service.planting import PlantedTokens
from del_audit.statistics.intervals import clustered_rate
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.text_pieces import text_of

FEWEST_IDENTIFIERS = 10
"""A kind of which there are fewer has no figure."""


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


def within_one_edit(
    outcome: Outcome, prompts: Sequence[PlantedTokens], tokenizer: PreTrainedTokenizerBase
) -> NDArray[np.bool_]:
    """Returns whether each identifier was read but for one character at most, in the order of `recovered`.

    The first guesses at its tokens are decoded, and the part of that text that is nearest to the identifier counts
    (`edits`): so what a token across its edge says beyond it does not, and what is read exactly is within one edit too.
    Raises UserError as planted_slice does.
    """
    read = [
        edits(span.text, text_of(tokenizer, outcome.guess[start + span.start : start + span.stop].tolist())) <= 1
        for start, prompt in zip(_starts(outcome, prompts), prompts, strict=True)
        for span in prompt.spans
    ]
    return np.array(read, dtype=bool)


def edits(text: str, within: str) -> int:
    """Returns the fewest characters to insert, delete or replace that make a text of some part of another.

    That is Sellers' distance (1980): what stands before and after that part costs nothing.

    >>> edits("555-0162", "at 555-0162."), edits("555-0162", "at 555-162."), edits("555-0162", "at 565-0192.")
    (0, 1, 2)
    """
    row = [0] * (len(within) + 1)
    for count, letter in enumerate(text, 1):
        before, row = row, [count]
        for place, other in enumerate(within):
            row.append(min(before[place] + (letter != other), before[place + 1] + 1, row[place] + 1))
    return min(row)


def identifier_figures(
    outcome: Outcome,
    baseline: Outcome,
    prompts: Sequence[PlantedTokens],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    confidence: float = 0.95,
    fewest: int = FEWEST_IDENTIFIERS,
    *,
    longest: int,
) -> list[SliceFigure]:
    """Returns the shares of identifiers and of documents read, exactly and then within one edit, beside the baseline.

    First all kinds of identifiers together, then each, then the documents with an identifier of which one or more is
    read. `tokens` of a figure counts its identifiers, or documents.
    longest: the most identifiers that one document can have, as it was planted. What there are fewer than `fewest` of,
    or what is of one document, has no figure and says so.
    Raises UserError as planted_slice does.
    """
    both = (outcome, baseline)
    _, kinds, documents = recovered(outcome, prompts)
    parts = [("identifiers", np.ones(len(kinds), dtype=bool)), *((kind, kinds == kind) for kind in KINDS)]
    units, numbers = np.unique(documents, return_inverse=True)
    exact = [recovered(each, prompts)[0] for each in both]
    near = [within_one_edit(each, prompts, tokenizer) for each in both]
    figures = []
    for how, ending, rule, read in (
        ("exactly", "", "all tokens of the identifier right", exact),
        ("within one edit", ", within one edit", "all of its characters right but for one at most", near),
    ):
        for name, chosen in parts:
            unit = f"share of planted {name if name == 'identifiers' else name + 's'} read {how}"
            about = (f"planted: {name}{ending}", f"read {how}: {rule}", unit, "identifiers")
            hits = [each[chosen] for each in read]
            figures.append(_figure(about, hits, documents[chosen], longest, fewest, seed, confidence))
        unit = f"share of documents with an identifier read {how}"
        about = (f"planted: documents{ending}", f"an identifier of the document read {how}", unit, "documents")
        hits = [np.bincount(numbers, each, len(units)) > 0 for each in read]
        figures.append(_figure(about, hits, units, 1, fewest, seed, confidence))
    return figures


def _figure(
    about: tuple[str, str, str, str],
    hits: Sequence[NDArray[np.bool_]],
    documents: NDArray[np.str_],
    longest: int,
    fewest: int,
    seed: int,
    confidence: float,
) -> SliceFigure:
    """Returns the shares of hits of an attack and of the baseline; about: name, rule, unit, and what is counted."""
    (name, rule, unit, counted), count, of = about, len(documents), len(np.unique(documents))
    if count < fewest or of < 2:
        why = f"too few: {count} of {of} documents, where {fewest} of two documents are needed"
        return SliceFigure(name, rule, count, of, None, None, why)
    ours, theirs = (clustered_rate(each, documents, longest, unit, counted, seed, confidence) for each in hits)
    return SliceFigure(name, rule, count, of, ours, theirs)


def _starts(outcome: Outcome, prompts: Sequence[PlantedTokens]) -> NDArray[np.int64]:
    """Returns the row of the outcome at which each prompt starts."""
    lengths = [len(prompt.ids) for prompt in prompts]
    ids = [token for prompt in prompts for token in prompt.ids]
    numbers = np.repeat(np.arange(len(prompts)), lengths)
    if not np.array_equal(outcome.truth, ids) or not np.array_equal(outcome.prompt, numbers):
        raise UserError("Expected an outcome of the planted prompts, all of their tokens, in order, got other tokens.")
    return np.cumsum([0, *lengths[:-1]])
