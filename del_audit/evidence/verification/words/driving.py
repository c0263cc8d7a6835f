"""Drives a client of a word mechanism, and asks it for what it must refuse."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from del_audit.evidence.verification.binomial import Counts
from del_audit.evidence.verification.driving import Caller, Given, usable
from del_audit.evidence.verification.words.design import Call
from del_audit.evidence.verification.words.law import WordLaw
from mechanisms.randomness import Generator

BAD_BATCH = 8


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A prompt, its outputs (int64, shape (n, numbers)), and how long that took."""

    call: Call
    outputs: Counts
    seconds: float


class WordDriver(Caller[WordLaw]):
    """Calls a release of tokens with what a design says."""

    def read(self, answer: object, given: Given) -> Counts | str:
        """Returns outputs, int64, shape (n, numbers), or what is wrong with them in words."""
        law = self.spec
        shape = given.shape if law.flat else (len(given), law.numbers)
        outputs = usable(answer, shape, law.limit - 1, "numbers")
        if isinstance(outputs, str):
            return outputs
        outputs = outputs.reshape(len(given), law.numbers)
        return "sets whose numbers do not rise" if (np.diff(outputs, axis=1) <= 0).any() else outputs

    def drive(self, calls: Iterable[Call]) -> list[Answer]:
        """Returns the answers that can be used, in order; what else came back is noted as a problem."""
        found = []
        for call in calls:
            if self.hopeless:
                break
            outputs = self.ask(call.tokens)
            if outputs is not None:
                found.append(Answer(call, outputs, self.seconds))
        return found

    def released_bad_tokens(self, rng: Generator) -> list[str]:
        """Returns which prompts were released that must be refused, in words: empty, and with no word of the claim."""
        words = self.spec.words
        found = [] if self.refuses(np.zeros(0, dtype=np.int64)) else ["an empty prompt was released"]
        for bad in (-1, words, 1 << 32, (1 << 63) - 1):
            for rows in (1, BAD_BATCH):
                tokens = rng.integers(0, words, rows)
                tokens[rng.integers(rows)] = bad
                if not self.refuses(tokens):
                    found.append(f"the word {bad} in one of {rows} tokens was released")
        return found
