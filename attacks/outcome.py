"""What an attack read, token by token, kept so that every metric can be computed again without running again."""

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attacker, Named
from attacks.ranking import Guesses
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file

FORMAT = "del-audit outcome 1"
_COLUMNS = {
    "prompt": np.int32,
    "position": np.int32,
    "truth": np.int32,
    "guess": np.int32,
    "rank": np.int32,
    "score": np.float32,
    "truth_score": np.float32,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """One row a token, shape (tokens,) each, prompts in order.

    prompt: number of the prompt. position: of the token in it. truth, guess: words. rank: of the truth among the
    guesses, 1 for the first, 0 where it is not among the `depth` kept. score: of the first guess. truth_score: of the
    truth, NaN where rank is 0. documents: the document of each prompt, as text, shape (prompts,).
    """

    attack: str
    version: int
    depth: int
    documents: tuple[str, ...]
    prompt: NDArray[np.int32]
    position: NDArray[np.int32]
    truth: NDArray[np.int32]
    guess: NDArray[np.int32]
    rank: NDArray[np.int32]
    score: NDArray[np.float32]
    truth_score: NDArray[np.float32]

    @classmethod
    def of(
        cls,
        attack: Named,
        guesses: Sequence[Guesses],
        truths: Sequence[Sequence[int]],
        documents: Sequence[Hashable] | None = None,
    ) -> Self:
        """Returns the outcome of guesses against the true tokens of each prompt.

        attack: has name and version. documents: of each prompt; each prompt is its own if left out. Raises UserError
        for numbers of prompts, documents or tokens that do not agree.
        """
        names = list(range(len(truths))) if documents is None else list(documents)
        if not len(guesses) == len(truths) == len(names) or not names:
            raise UserError(
                f"Expected guesses, true tokens and documents of the same prompts, at least one, got {len(guesses)}, "
                f"{len(truths)} and {len(names)}."
            )
        for index, (guess, truth) in enumerate(zip(guesses, truths, strict=True)):
            if len(guess) != len(truth):
                raise UserError(f"Expected {len(guess)} true tokens of prompt {index}, as observed, got {len(truth)}.")
        words, scores = np.concatenate([g.words for g in guesses]), np.concatenate([g.scores for g in guesses])
        true = np.concatenate([np.asarray(row, dtype=np.int32) for row in truths])
        found = words == true[:, None]
        inside = found.any(axis=1)
        place = found.argmax(axis=1)
        lengths = [len(row) for row in truths]
        return cls(
            attack.name,
            attack.version,
            words.shape[1],
            tuple(map(str, names)),
            np.repeat(np.arange(len(truths), dtype=np.int32), lengths),
            np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
            true,
            words[:, 0],
            np.where(inside, place + 1, 0).astype(np.int32),
            scores[:, 0],
            np.where(inside, scores[np.arange(len(true)), place], np.nan).astype(np.float32),
        )

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Returns the outcome of the parts' prompts, numbered on; raises UserError for parts of different attacks."""
        if len({(part.attack, part.version, part.depth) for part in parts}) != 1:
            raise UserError(f"Expected outcomes of one attack, got {[part.attack for part in parts]}.")
        starts = np.cumsum([0, *(len(part.documents) for part in parts[:-1])])
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        columns["prompt"] = np.concatenate(
            [part.prompt + np.int32(start) for part, start in zip(parts, starts, strict=True)]
        )
        documents = tuple(name for part in parts for name in part.documents)
        return cls(parts[0].attack, parts[0].version, parts[0].depth, documents, **columns)

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def hits(self) -> NDArray[np.bool_]:
        """Whether the first guess is right, shape (tokens,)."""
        return np.asarray(self.guess == self.truth)

    @property
    def clusters(self) -> NDArray[np.str_]:
        """The document of each token, shape (tokens,)."""
        return np.array(self.documents)[self.prompt]

    def within(self, k: int) -> NDArray[np.bool_]:
        """Returns whether the truth is among the first k guesses; raises UserError for k outside 1..depth."""
        if not 1 <= k <= self.depth:
            raise UserError(f"Expected k in 1..{self.depth}, the guesses kept, got k={k}.")
        return np.asarray((self.rank >= 1) & (self.rank <= k))

    def where(self, chosen: NDArray[np.bool_]) -> Self:
        """Returns the outcome of the chosen tokens; prompts keep their numbers."""
        columns = {name: getattr(self, name)[chosen] for name in _COLUMNS}
        return type(self)(self.attack, self.version, self.depth, self.documents, **columns)

    def of_one_guess(self, attack: Named, word: int) -> Self:
        """Returns the outcome of an attack that names one word for every token of the same prompts."""
        right = self.truth == word
        return type(self)(
            attack.name,
            attack.version,
            1,
            self.documents,
            self.prompt,
            self.position,
            self.truth,
            np.full_like(self.truth, word),
            right.astype(np.int32),
            np.zeros(len(self), np.float32),
            np.where(right, 0, np.nan).astype(np.float32),
        )

    def write(self, path: Path) -> None:
        """Writes a parquet file, whole or not at all; raises UserError where it cannot be written."""
        import pyarrow
        from pyarrow import parquet

        about = {"format": FORMAT, "attack": self.attack, "version": self.version, "depth": self.depth}
        columns = {name: getattr(self, name) for name in _COLUMNS} | {"document": self.clusters}
        table = pyarrow.table(columns).replace_schema_metadata(
            {"del_audit": json.dumps({**about, "documents": self.documents})}
        )
        # for the owner alone: it holds the true tokens of private prompts
        write_file(path, lambda part: parquet.write_table(table, part, compression="zstd"), mode=PRIVATE)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Returns the outcome that `write` wrote; raises UserError for any other file."""
        from pyarrow import ArrowException, parquet

        try:
            table = parquet.read_table(path)
            about = json.loads((table.schema.metadata or {})[b"del_audit"])
            if about["format"] != FORMAT:
                raise ValueError(f"its format is {about['format']!r}")
            columns = {name: table[name].to_numpy().astype(kind) for name, kind in _COLUMNS.items()}
            documents = tuple(map(str, about["documents"]))
            return cls(str(about["attack"]), int(about["version"]), int(about["depth"]), documents, **columns)
        except (OSError, ArrowException, KeyError, ValueError, TypeError) as error:
            raise UserError(f"Expected {str(path)!r} to hold an outcome in the format {FORMAT!r}: {error}.") from None


def invert(
    attack: Named,
    attacker: Attacker,
    messages: Sequence[bytes],
    truths: Sequence[Sequence[int]],
    documents: Sequence[Hashable] | None = None,
) -> Outcome:
    """Returns the outcome of one attack; truths score the guesses and reach the attacker nowhere.

    attack: the description that the attacker was fitted from. Raises UserError as Attacker.guess and Outcome.of do.
    """
    if len(truths) != len(messages):
        raise UserError(f"Expected the true tokens of {len(messages)} messages, got {len(truths)}.")
    return Outcome.of(attack, attacker.guess(messages), truths, documents)
