"""Labelled texts and pairs of texts, as the token sequences that a client releases."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mechanisms.corpora import Corpus
from mechanisms.errors import UserError
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.randomness import simulation_generator
from mechanisms.tokens import tokenized

SEPARATOR = "\n"
"""Stands between the two texts of a pair. It is released like any other token: the server is not told where it is."""


@dataclass(frozen=True, slots=True)
class LabelledTokens:
    """tokens: one sequence an example. labels: int64, indices into classes, shape (examples,)."""

    tokens: tuple[tuple[int, ...], ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.tokens)

    def take(self, indices: Iterable[int]) -> "LabelledTokens":
        """Returns the examples at the indices, in that order, of the same classes."""
        chosen = [int(index) for index in indices]
        return LabelledTokens(tuple(self.tokens[index] for index in chosen), self.labels[chosen], self.classes)

    def parted(self, share: float, seed: int) -> tuple["LabelledTokens", "LabelledTokens"]:
        """Returns what is left and a share of each class, at least one example, drawn by the seed.

        Raises UserError for a share outside (0, 1) and for a class with fewer than two examples.
        """
        if not 0 < share < 1:
            raise UserError(f"Expected share in (0, 1), got share={share}.")
        generator = simulation_generator(seed, "nlu parts")
        aside = np.zeros(len(self), dtype=bool)
        for index, name in enumerate(self.classes):
            members = generator.permutation(np.flatnonzero(self.labels == index))
            if len(members) < 2:
                raise UserError(f"Expected two examples or more of class {name!r}, got {len(members)}.")
            aside[members[: min(max(1, round(share * len(members))), len(members) - 1)]] = True
        return self.take(np.flatnonzero(~aside)), self.take(np.flatnonzero(aside))


def label_tokens(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[object],
    labels: Sequence[object],
    *,
    context_tokens: int,
    virtual_tokens: int,
    pairs: Sequence[object] | None = None,
    classes: Sequence[str] | None = None,
    separator: str = SEPARATOR,
) -> LabelledTokens:
    """Returns each text's tokens; for pairs the text's, the separator's and its partner's, one after another.

    pairs: the second text of each example. classes: those of the training part, which the labels must be among;
    the sorted labels where it is left out. context_tokens: the model's; virtual_tokens: the soft tokens in front.

    Raises UserError for parts of unequal length, an empty text or separator, an example without a label or with an
    unknown one, fewer than two classes, and an example over the context with the virtual tokens counted.
    """
    columns = [texts] if pairs is None else [texts, pairs]
    if any(len(column) != len(labels) for column in columns):
        raise UserError(f"Expected one label a text, got {len(labels)} for {[len(column) for column in columns]}.")
    for column in columns:
        for row, text in enumerate(column):
            if not isinstance(text, str) or not text.strip():
                raise UserError(f"Expected every text to have words, got {text!r} in row {row} (counted from 0).")
    indices, names = _classes(labels, classes)
    between = tokenizer(separator, add_special_tokens=False).input_ids if pairs is not None else []
    if pairs is not None and not between:
        raise UserError(f"Expected separator to be at least one token, got separator={separator!r}.")
    rows = [tokenized(tokenizer, [str(text) for text in column]) for column in columns]
    sequences = tuple(
        tuple(parts[0] if len(parts) == 1 else [*parts[0], *between, *parts[1]]) for parts in zip(*rows, strict=True)
    )
    for row, sequence in enumerate(sequences):
        if len(sequence) + virtual_tokens > context_tokens:
            raise UserError(
                f"Expected examples of at most {context_tokens - virtual_tokens} tokens, the model's context of "
                f"{context_tokens} less {virtual_tokens} virtual tokens, got {len(sequence)} in row {row} "
                f"(counted from 0)."
            )
    return LabelledTokens(sequences, indices, names)


def label_corpus(
    tokenizer: PreTrainedTokenizerBase,
    corpus: Corpus,
    label_column: str,
    *,
    context_tokens: int,
    virtual_tokens: int,
    text_column: str | None = None,
    pair_column: str | None = None,
    classes: Sequence[str] | None = None,
) -> LabelledTokens:
    """Returns label_tokens of a corpus's columns; its text where text_column is left out.

    Raises UserError as label_tokens does, and for a column that the corpus lacks.
    """
    return label_tokens(
        tokenizer,
        corpus.texts if text_column is None else corpus.column(text_column),
        corpus.names(label_column),
        context_tokens=context_tokens,
        virtual_tokens=virtual_tokens,
        pairs=None if pair_column is None else corpus.column(pair_column),
        classes=classes,
    )


def _classes(labels: Sequence[object], known: Sequence[str] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Returns the labels as indices, and the names of the classes."""
    missing = [row for row, label in enumerate(labels) if label is None]
    if missing:
        raise UserError(f"Expected a label for every example, got none in row {missing[0]} (counted from 0).")
    words = [str(label) for label in labels]
    names = tuple(sorted(set(words)) if known is None else known)
    if len(names) < 2:
        raise UserError(f"Expected two classes or more, got {', '.join(names) or 'none'}.")
    position = {name: index for index, name in enumerate(names)}
    unknown = sorted(set(words) - set(names))
    if unknown:
        raise UserError(f"Expected labels among {', '.join(names)}, got {unknown[0]!r}.")
    return np.array([position[word] for word in words], dtype=np.int64), names
