"""How many of the identifiers that were planted in real documents an attack reads exactly."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import Slice, SliceFigure
from del_audit.service.identifiers import KINDS
from del_audit.service.planting import PlantedTokens
from del_audit.statistics.intervals import clustered_rate
from mechanisms.errors import UserError

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
