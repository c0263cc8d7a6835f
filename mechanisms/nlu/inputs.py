"""What the server reads of each example: the embeddings of a fresh release, or clean ones for the ceiling."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mechanisms.continuation import embed
from mechanisms.library_types import PreTrainedModel
from mechanisms.mechanism import Mechanism
from mechanisms.randomness import SimulatedRandomness


class Inputs(Protocol):
    """Turns tokens into what the server reads."""

    @property
    def private(self) -> bool:
        """Whether a mechanism stands between the tokens and the server."""
        ...

    @property
    def fingerprint(self) -> str:
        """Names the mechanism, in hexadecimal; what is not private says so."""
        ...

    def rows(self, tokens: Sequence[Sequence[int]], *purpose: str) -> list[Tensor]:
        """Returns one tensor an example, float32, shape (tokens, width).

        purpose: the same one repeats the same noise, another one draws fresh noise.
        """
        ...


@dataclass(frozen=True, slots=True)
class Released:
    """Simulated releases of public text through a mechanism; the seed and the purpose repeat them."""

    mechanism: Mechanism
    seed: int = 0

    @property
    def private(self) -> bool:
        """Returns True."""
        return True

    @property
    def fingerprint(self) -> str:
        """Returns the fingerprint of the mechanism's description."""
        return self.mechanism.spec.fingerprint.hex()

    def rows(self, tokens: Sequence[Sequence[int]], *purpose: str) -> list[Tensor]:
        """Returns what the server reads of one release of each example.

        Raises UserError as the mechanism does for an empty example or tokens outside its vocabulary.
        """
        source = SimulatedRandomness(self.seed, "nlu release", *purpose)
        return [
            torch.from_numpy(self.mechanism.embeddings(self.mechanism.release(example, source))) for example in tokens
        ]


@dataclass(frozen=True, slots=True)
class Clean:
    """The model's own embeddings: the ceiling that released figures are held against. There is no privacy in it."""

    model: PreTrainedModel

    @property
    def private(self) -> bool:
        """Returns False."""
        return False

    @property
    def fingerprint(self) -> str:
        """Returns a name that no mechanism has."""
        return "clean embeddings"

    def rows(self, tokens: Sequence[Sequence[int]], *purpose: str) -> list[Tensor]:
        """Returns the clean embeddings of each example, whatever the purpose."""
        return [embed(self.model, example).detach() for example in tokens]
