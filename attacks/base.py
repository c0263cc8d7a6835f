"""What every inversion attack is: it knows all that is public, and sees nothing but messages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mechanisms.errors import UserError
from mechanisms.pipeline import Pipeline
from mechanisms.wire import unpack


class InversionAttack(Protocol):
    """Guesses the word behind each token of released prompts."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    def guess(self, public: Pipeline, counts: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Returns one word a token, shape (tokens,), for counts of shape (tokens, dim)."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Which tokens an attack guessed. hits: bool, shape (tokens,). guesses: int64, shape (tokens,)."""

    attack: str
    hits: NDArray[np.bool_]
    guesses: NDArray[np.int64]


def observe(public: Pipeline, messages: Sequence[bytes]) -> NDArray[np.uint8]:
    """Returns the counts of all tokens of the messages, in order, shape (tokens, dim): an attacker's whole view.

    Raises UserError for no messages, and for a message that unpack refuses (another spec's, say).
    """
    if not messages:
        raise UserError("Expected at least one message to attack, got none.")
    return np.concatenate([unpack(message, public.spec) for message in messages])


def invert(attack: InversionAttack, public: Pipeline, counts: NDArray[np.uint8], truth: NDArray[np.int64]) -> Outcome:
    """Returns the outcome of one attack on observed counts; truth scores the guesses and reaches the attack nowhere.

    Raises UserError where truth and counts differ in length.
    """
    if len(truth) != len(counts):
        raise UserError(f"Expected {len(counts)} true tokens, one an observed token, got {len(truth)}.")
    guesses = attack.guess(public, counts)
    return Outcome(attack.name, guesses == truth, guesses)
