"""The one interface of DEL and its rivals: a client that releases a message, a server that reads embeddings from it."""

from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mechanisms.canonical_json import Json
from mechanisms.randomness import RandomSource

Observed = NDArray[np.integer | np.floating]
"""What was released of each token: counts, cells or words, shape (tokens,) or (tokens, dim)."""


@runtime_checkable
class Description(Protocol):
    """A frozen, complete description of a mechanism: no tensors, so that it can be accounted for, hashed and sent."""

    @property
    def fingerprint(self) -> bytes:
        """32 bytes that name the description: sha256 of its fields in canonical JSON."""
        ...

    def to_dict(self) -> dict[str, Json]:
        """Returns the fields under their names."""
        ...


class Releaser(Protocol):
    """The client's half. Each release draws fresh noise from the source; there is no switch that turns it off."""

    @property
    def spec(self) -> Description:
        """What the accountant bounds."""
        ...

    def release(self, tokens: Sequence[int], source: RandomSource) -> bytes:
        """Returns the message for a tokenized prompt.

        Raises UserError for an empty prompt and for tokens outside the vocabulary; then nothing is drawn or sent.
        """
        ...


class Receiver(Protocol):
    """The server's half: it is given messages and nothing else of a prompt."""

    def embeddings(self, message: bytes) -> NDArray[np.float32]:
        """Returns what the language model reads for each token, float32, shape (tokens, width).

        Raises UserError for a message that this mechanism did not make.
        """
        ...


@runtime_checkable
class BatchReceiver(Receiver, Protocol):
    """A receiver that reads several messages at once in less time than one by one."""

    def embeddings_of(self, messages: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """Returns `embeddings` of each message, in order; no message's embeddings depend on the others."""
        ...


def embeddings_of(receiver: Receiver, messages: Sequence[bytes]) -> list[NDArray[np.float32]]:
    """Returns the embeddings of each message, at once where the receiver can, else one by one.

    Raises UserError for a message that the receiver's mechanism did not make.
    """
    if isinstance(receiver, BatchReceiver):
        return receiver.embeddings_of(messages)
    return [receiver.embeddings(message) for message in messages]


class Mechanism(Releaser, Receiver, Protocol):
    """Both halves under one name."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...


@runtime_checkable
class ObservableMechanism(Mechanism, Protocol):
    """A mechanism whose messages anyone can read: what a server, and an attacker, sees of a prompt."""

    def observed(self, message: bytes) -> Observed:
        """Returns what was released of each token, shape (tokens,) or (tokens, dim).

        Raises UserError for a message that this mechanism did not make.
        """
        ...


@runtime_checkable
class KnownChannel(Protocol):
    """A mechanism whose law over the whole vocabulary is written down: exact decoding, and exact attacks, need it."""

    def scores(
        self, observed: Observed, log_prior: NDArray[np.float64] | None = None
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Yields (rows, scores): blocks of log P(observed | word) + log_prior[word], float32, shape (rows, words).

        A constant of the observed may be left out. A block is the caller's to overwrite, and overwritten by the next.
        """
        ...
