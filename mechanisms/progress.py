"""What is told how far long work is: a tqdm bar, or whatever else counts."""

from typing import Protocol


class Progress(Protocol):
    """Counts what is done."""

    def update(self, n: int = 1, /) -> object:
        """Adds n to what is done."""
        ...
