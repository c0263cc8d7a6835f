"""Which prompts a battery releases of a word mechanism: most of random words, where each row serves many tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.design import batch_rows
from mechanisms.randomness import Generator

Kind = Literal["random", "pair", "again", "same word", "alone"]
SHARES: dict[Kind, float] = {"random": 0.45, "pair": 0.2, "again": 0.25, "same word": 0.06, "alone": 0.04}
"""Shares of the rows of the main design. Each row serves the tests of the law, whatever its kind."""
SAME_ROWS = 8
"""Tokens of a prompt of one word: few, so that there are enough calls to compare how long they take."""


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """One prompt. tokens: int64, shape (n,). others: of the game, the word that each might have been, or None."""

    kind: Kind
    tokens: Counts
    others: Counts | None = None


def main_design(symbols: Counts, trials: int, rng: Generator) -> list[Call]:
    """Returns prompts of `trials` tokens together, in random order; the same prompt comes in pairs, one on another.

    symbols: of each word, shape (words,).
    """
    batch, left = batch_rows(trials), trials
    standing, pair = rng.integers(0, len(symbols), batch), two_words(symbols, rng)
    groups: list[list[Call]] = []
    for kind, share in SHARES.items():
        rows = min(left, round(share * trials)) if kind != "alone" else left
        calls = list(_calls(kind, rows, len(symbols), standing, pair, rng))
        step = 2 if kind == "again" else 1
        groups += [calls[at : at + step] for at in range(0, len(calls), step)]
        left -= rows
    return [call for at in rng.permutation(len(groups)) for call in groups[at]]


def two_words(symbols: Counts, rng: Generator) -> Counts:
    """Returns two words of different symbols, shape (2,), or one word twice where all have one symbol."""
    first = int(rng.integers(len(symbols)))
    others = np.flatnonzero(symbols != symbols[first])
    return np.array([first, rng.choice(others) if len(others) else first])


def _calls(kind: Kind, rows: int, words: int, standing: Counts, pair: Counts, rng: Generator) -> Iterator[Call]:
    batch = {"same word": SAME_ROWS, "alone": 1}.get(kind, len(standing))
    for start in range(0, rows, batch):
        size = min(batch, rows - start)
        match kind:
            case "again":
                yield Call(kind, standing[:size])
            case "pair":
                side = rng.integers(0, 2, size)
                yield Call(kind, pair[side], pair[1 - side])
            case "same word":
                yield Call(kind, np.full(size, pair[rng.integers(2)]))
            case _:
                yield Call(kind, rng.integers(0, words, size))
