"""All outputs of a word mechanism in one table, each parted into what tells of its word and what is noise."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.words.design import Call, Kind
from del_audit.evidence.verification.words.driving import Answer
from del_audit.evidence.verification.words.law import Mask, WordLaw


@dataclass(frozen=True, eq=False)
class WordSample:
    """One row an output, in the order of release.

    word: the symbol of the true one. inside, drawn: as of WordLaw.noise. beside: whether it lies in the support of the
    word before, of the word after, and of the game's other word, shape (rows, 3); -1 where there is none of another
    symbol. call: which answer, from 0. place: in its call. size: of its call. kind: of its call.
    """

    law: WordLaw
    word: Counts
    inside: Mask
    drawn: NDArray[np.integer]
    beside: NDArray[np.int8]
    call: Counts
    place: Counts
    size: Counts
    kind: NDArray[np.str_]

    @classmethod
    def of(cls, answers: Sequence[Answer], law: WordLaw) -> "WordSample":
        """Returns the table."""
        nothing = Answer(Call("random", np.zeros(0, dtype=np.int64)), np.zeros((0, law.numbers), dtype=np.int64), 0.0)
        tables = [_columns(number, answer, law) for number, answer in enumerate([nothing, *answers], start=-1)]
        return cls(law, **{name: np.concatenate([table[name] for table in tables]) for name in tables[0]})

    def where(self, rows: Mask | Counts | slice) -> "WordSample":
        """Returns the rows of a mask, or of row numbers in their order."""
        columns = {column.name: getattr(self, column.name)[rows] for column in fields(self) if column.name != "law"}
        return WordSample(self.law, **columns)

    def of_kind(self, *kinds: Kind) -> "WordSample":
        """Returns the rows of calls of these kinds."""
        return self.where(np.isin(self.kind, kinds))

    @property
    def calls(self) -> list["WordSample"]:
        """The rows of each call, in order of release."""
        starts = np.append(np.flatnonzero(np.diff(self.call, prepend=-1)), len(self))
        return [self.where(slice(start, stop)) for start, stop in pairwise(starts)]

    @property
    def limits(self) -> Counts:
        """Below which number each row's noise is, shape (rows,)."""
        return np.where(self.inside, self.law.limits[1], self.law.limits[0])

    @property
    def from_word(self) -> NDArray[np.integer]:
        """The noise as distances from the true word, around the limit, rising; -1 where there is none."""
        shifted = (self.drawn.astype(np.int64) - self.word[:, None]) % self.limits[:, None]
        return np.sort(np.where(self.drawn < 0, -1, shifted), axis=1)

    def __len__(self) -> int:
        return len(self.word)


def _columns(number: int, answer: Answer, law: WordLaw) -> dict[str, NDArray[np.generic]]:
    tokens, rows = answer.call.tokens, len(answer.outputs)
    inside, drawn = law.noise(tokens, answer.outputs)
    others = tokens if answer.call.others is None else answer.call.others
    beside = np.full((rows, 3), -1, dtype=np.int8)
    for column, other in enumerate((np.append(tokens[:1], tokens[:-1]), np.append(tokens[1:], tokens[-1:]), others)):
        known = law.symbols[other] != law.symbols[tokens]
        beside[known, column] = law.noise(other[known], answer.outputs[known])[0]
    return {
        "word": law.symbols[tokens],
        "inside": inside,
        "drawn": drawn,
        "beside": beside,
        "call": np.full(rows, number),
        "place": np.arange(rows),
        "size": np.full(rows, rows),
        "kind": np.full(rows, answer.call.kind),
    }


def joined(samples: Sequence[WordSample]) -> WordSample:
    """Returns the rows of all, one after the other; of one sample at least."""
    names = [column.name for column in fields(WordSample) if column.name != "law"]
    return WordSample(samples[0].law, **{name: np.concatenate([getattr(s, name) for s in samples]) for name in names})
