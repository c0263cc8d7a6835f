"""The one interface of DEL and its rivals: a client that releases a message, a server that reads embeddings from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mechanisms.description import Description
from mechanisms.randomness import RandomSource

Observed = NDArray[np.integer | np.floating]
"""What was released of each token: the number of a word, shape (tokens,), or anything else, shape (tokens, dim)."""


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


@dataclass(frozen=True, slots=True)
class ModelName:
    """Which language model something public is for: its name as asked for, and the sha256 of its content."""

    name: str
    sha256: str


NO_FILE = "none"
"""In the place of a public file's hash, where a client's half needs none."""


@runtime_checkable
class ClientHalf(Releaser, Protocol):
    """A client's half that a folder can hold: all it needs is its description and small public files.

    LARGEST_FILES: the names of these files, each with its largest size in bytes.
    """

    LARGEST_FILES: ClassVar[Mapping[str, int]]

    @classmethod
    def read(cls, spec: Description, files: Mapping[str, bytes], folder: Path, model: ModelName) -> Self:
        """Returns the half of a description and its files by name; folder: where they lie, which errors name.

        Raises UserError for files that are damaged, or do not belong to the description or the model.
        """
        ...

    @property
    def words(self) -> int:
        """Size of the vocabulary: tokens are in 0..words - 1."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of what the public file holds, 64 hex digits; NO_FILE where there is none."""
        ...

    def files(self, model: ModelName) -> dict[str, bytes]:
        """Returns the public files by name, made for a model: what `read` takes."""
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
