"""Steps that no interruption may part, such as two renames. Whoever handles the signals asks `up` before it raises."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

afterwards: list[Callable[[], None]] = []
"""What is called whenever a shield comes down: an interruption that was held back is raised then."""
_shields: list[bool] = []


@contextmanager
def shielded() -> Iterator[None]:
    """Holds interruptions back until the block ends, where whoever handles the signals asks `up`."""
    _shields.append(True)
    try:
        yield
    finally:
        _shields.pop()
        for act in afterwards:
            act()


def up() -> bool:
    """Returns whether interruptions are held back."""
    return bool(_shields)
