"""What writes answers behind embeddings: the one small interface of the embedded model and of vLLM."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from mechanisms.generation import Order


@dataclass(frozen=True, slots=True)
class Piece:
    """What was written of one text. text: its number among the orders. said: new text. tokens: new tokens.

    finished: why nothing follows, stop or length; empty where the text goes on.
    """

    text: int
    said: str
    tokens: int
    finished: str = ""


class Engine(Protocol):
    """Writes texts."""

    def write(self, orders: Sequence[Order]) -> AsyncGenerator[Piece]:
        """Yields pieces as they are written, until every text is finished; closing the iterator stops the writing.

        Raises RefusalError where it cannot be done now.
        """
        ...

    async def close(self) -> None:
        """Ends whatever the engine runs."""
        ...
