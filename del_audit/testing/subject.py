"""The mechanism under test with what is known of its vocabulary, and how tests call it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from del_audit.testing.report import ContractError
from mechanisms.errors import UserError
from mechanisms.mechanism import ObservableMechanism, Observed
from mechanisms.public_words import PublicWords
from mechanisms.randomness import Generator, SimulatedRandomness, simulation_generator
from mechanisms.validation import whole_at_least


@dataclass(frozen=True)
class Subject:
    """words, width: of the table that the mechanism was made from. alpha: the chance of a false alarm, all tests."""

    mechanism: ObservableMechanism
    words: int
    width: int
    seed: int
    alpha: float

    @classmethod
    def of(cls, mechanism: ObservableMechanism, public: PublicWords | None, seed: int, alpha: float) -> "Subject":
        """Returns it; the table is the mechanism's own where there are no public words.

        Raises UserError where there is no table, for a seed below 0, and for an alpha outside (0, 0.1].
        """
        whole_at_least("seed", seed, 0)
        if not 0 < alpha <= 0.1:
            raise UserError(f"Expected 0 < alpha <= 0.1, got alpha={alpha}.")
        table: object = getattr(mechanism, "table", None) if public is None else public.table
        if not isinstance(table, np.ndarray) or table.ndim != 2:
            raise UserError(
                "Expected the public words that the mechanism was made from, or a mechanism with an attribute `table`, "
                "an array of shape (words, width), got neither: pass public=PublicWords(...)."
            )
        words, width = table.shape
        return cls(mechanism, words, width, seed, alpha)

    def source(self, *labels: str) -> SimulatedRandomness:
        """Returns a source of random words that the labels repeat."""
        return SimulatedRandomness(self.seed, "conformance", *labels)

    def generator(self, *labels: str) -> Generator:
        """Returns the generator of a test's own choices."""
        return simulation_generator(self.seed, "conformance choices", *labels)

    def prompt(self, tokens: int, *labels: str) -> list[int]:
        """Returns random tokens of the vocabulary; the labels repeat them."""
        return [int(word) for word in self.generator(*labels).integers(0, self.words, tokens)]

    def message(self, tokens: int, *labels: str) -> bytes:
        """Returns the message of a random prompt."""
        return self.released(self.prompt(tokens, *labels), *labels)

    def released(self, prompt: list[int], *labels: str) -> bytes:
        """Returns the message of a prompt; raises ContractError for what is no bytes."""
        message: object = self.mechanism.release(prompt, self.source(*labels))
        if not isinstance(message, bytes):
            raise ContractError(f"release returned {type(message).__name__}, expected bytes")
        return message

    def observed(self, message: bytes, tokens: int) -> Observed:
        """Returns what was released; raises ContractError for what is not one row of numbers per token."""
        found: object = self.mechanism.observed(message)
        if not isinstance(found, np.ndarray) or found.dtype.kind not in "iuf":
            kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
            raise ContractError(f"observed returned {kind}, expected an array of whole numbers or floats")
        if found.ndim not in (1, 2) or len(found) != tokens:
            raise ContractError(
                f"observed has shape {found.shape} for {tokens} tokens, expected ({tokens},) or ({tokens}, dim)"
            )
        return found

    def embeddings(self, message: bytes, tokens: int) -> NDArray[np.float32]:
        """Returns what the model reads; raises ContractError unless it is finite float32, a row of width per token."""
        found: object = self.mechanism.embeddings(message)
        return self.checked_embeddings(found, tokens)

    def checked_embeddings(self, found: object, tokens: int) -> NDArray[np.float32]:
        """Returns embeddings as they are; raises ContractError as `embeddings` does."""
        if not isinstance(found, np.ndarray) or found.dtype != np.float32:
            kind = found.dtype if isinstance(found, np.ndarray) else type(found).__name__
            raise ContractError(f"embeddings are {kind}, expected an array of float32")
        if found.shape != (tokens, self.width):
            raise ContractError(f"embeddings have shape {found.shape}, expected {(tokens, self.width)}")
        if not np.isfinite(found).all():
            raise ContractError("embeddings have NaN or infinite values")
        return found
