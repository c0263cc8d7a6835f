"""Tokens recovered up to meaning: a mechanism must not look private because attacks guess synonyms and word forms."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.outcome import Outcome
from del_audit.evidence.inversion.slices import whole_prompts
from mechanisms.library_types import PreTrainedTokenizerBase
from mechanisms.text_pieces import text_of, token_texts
from mechanisms.validation import at_least

NEIGHBOURS = 10
"""Nearest words of the true one that count as it."""
MEMORY = 1 << 27
"""Bytes that the search for neighbours takes at a time, beside the table and one row of cosines."""
SHARE_MEANT = "share of tokens recovered up to meaning"
_LANGUAGE = "en"
_WORD = re.compile(r"\b[^\W\d_]+\b")


@dataclass(frozen=True, slots=True)
class Meaning:
    """Which guesses count as recovered up to meaning; a guess does where any of three rules says so.

    1. It is the true token.
    2. Its lemma is that of the true token. A token has one where it is a whole word: the true one by the text around
       it, a guess by its own text, spaces and case aside. Pieces of words, digits and punctuation have none. Lemmas are
       English: in another language this rule adds next to nothing, and the share is lower than it should be.
    3. It is among the NEIGHBOURS nearest words of the true token in the table (`neighbours`).

    table: the model's embeddings, float32, shape (words, width). tokenizer: of the same words.
    The rules count some words of other meaning too: compare with what the baseline, which reads no release, reaches.
    """

    table: NDArray[np.float32]
    tokenizer: PreTrainedTokenizerBase

    def recovered(self, outcomes: Sequence[Outcome]) -> list[NDArray[np.bool_]]:
        """Returns whether each token was recovered up to meaning, for each outcome, bool, shape (tokens,).

        Raises UserError for an outcome that lacks tokens of its prompts, as the text around a token is needed.
        """
        lemmas: dict[int, str | None] = {}
        found = []
        for outcome in outcomes:
            hits, wholes = outcome.hits, self._whole_words(outcome)
            for row in np.flatnonzero(~hits & wholes):
                true, guess = (self._lemma(int(word), lemmas) for word in (outcome.truth[row], outcome.guess[row]))
                hits[row] = true is not None and true == guess
            found.append(hits)
        missed = [outcome.truth[~hits] for outcome, hits in zip(outcomes, found, strict=True)]
        words = np.unique(np.concatenate(missed)) if missed else np.empty(0, np.int32)
        near = neighbours(self.table, words)
        for outcome, hits in zip(outcomes, found, strict=True):
            rows = np.flatnonzero(~hits)
            hits[rows] = (near[np.searchsorted(words, outcome.truth[rows])] == outcome.guess[rows, None]).any(axis=1)
        return found

    def _whole_words(self, outcome: Outcome) -> NDArray[np.bool_]:
        """Returns which true tokens are whole words of their prompt's text."""
        whole = np.zeros(len(outcome), dtype=bool)
        for start, tokens in whole_prompts(outcome, outcome.truth):
            pieces = token_texts(self.tokenizer, tokens.tolist())
            spans = {match.span() for match in _WORD.finditer("".join(pieces))}
            begin = 0
            for row, piece in enumerate(pieces, start):
                end = begin + len(piece)
                whole[row] = (end - len(piece.lstrip()), end - len(piece) + len(piece.rstrip())) in spans
                begin = end
        return whole

    def _lemma(self, word: int, known: dict[int, str | None]) -> str | None:
        if word not in known:
            known[word] = lemma(text_of(self.tokenizer, [word]))
        return known[word]


def lemma(text: str) -> str | None:
    """Returns the English lemma of a token's text, spaces and case aside; None where it is not one word.

    >>> [lemma(text) for text in (" Running", "runs", " 42", "n't")]
    ['run', 'run', None, None]
    """
    from simplemma import lemmatize  # its dictionary takes a moment to load

    word = text.strip()
    return lemmatize(word.lower(), _LANGUAGE).lower() if _WORD.fullmatch(word) else None


def neighbours(
    table: NDArray[np.float32], words: NDArray[np.int32], count: int = NEIGHBOURS, memory: int = MEMORY
) -> NDArray[np.int64]:
    """Returns the nearest words of each word, in no order, shape (words, count): without itself, fewer in a tiny table.

    Near is the cosine of the table's rows less the mean of all its rows: embeddings of a model share a large part, of
    which a plain cosine mostly tells. A row that is the mean has cosine 0 with every other.
    table: float32, shape (vocabulary, width). memory: bytes at a time; one row of cosines is computed at least.
    Raises UserError for count < 1.
    """
    at_least("count", count, 1)
    count, mean = min(count, len(table) - 1), table.mean(axis=0, dtype=np.float64).astype(np.float32)
    step = max(1, memory // table[0].nbytes)
    parts = [table[start : start + step] for start in range(0, len(table), step)]
    lengths = np.concatenate([np.linalg.norm(part - mean, axis=1) for part in parts])
    lengths[lengths == 0] = np.inf
    found = np.empty((len(words), count), dtype=np.int64)
    step = max(1, memory // (12 * len(table)))  # a cosine of 4 bytes and its place of 8
    for start in range(0, len(words), step):
        some = words[start : start + step]
        centred = table[some] - mean
        cosines = centred @ table.T - (centred @ mean)[:, None]
        cosines /= lengths  # the length of the word itself does not change which are nearest
        cosines[np.arange(len(some)), some] = -np.inf
        found[start : start + step] = np.argpartition(cosines, len(table) - count, axis=1)[:, len(table) - count :]
    return found
