"""The inversion attacks' names, in configurations and on the command line; nothing heavy is imported for them."""

from collections.abc import Sequence
from typing import Literal, get_args

from mechanisms.errors import UserError

AttackName = Literal[
    "baseline", "cosine", "inference", "code", "likelihood", "map", "beam", "two-sided", "contextual", "informed"
]
ALWAYS: tuple[AttackName, ...] = ("baseline", "map")
"""The yardstick, and the best that reads token by token: no result stands without them."""
DEFAULT_ATTACKS: tuple[AttackName, ...] = ("baseline", "cosine", "code", "likelihood", "map", "beam")
"""What a configuration that names none is attacked with."""
Assurance = Literal["full", "quick"]
ASSURANCE: dict[Assurance, tuple[AttackName, ...]] = {"full": DEFAULT_ATTACKS, "quick": ALWAYS}
"""The attacks that each level requires: a verdict without one of them is inconclusive."""
VERSIONS: dict[AttackName, int] = {
    "baseline": 1,
    "cosine": 1,
    "inference": 1,
    "code": 1,
    "likelihood": 1,
    "map": 1,
    "beam": 1,
    "two-sided": 1,
    "contextual": 1,
    "informed": 1,
}
"""One more whenever an attack becomes stronger: certificates that rest on the weaker one then expire."""


def checked_names(names: Sequence[AttackName]) -> Sequence[AttackName]:
    """Returns the names; raises UserError for an unknown one, one given twice, and where one of ALWAYS is missing."""
    known = get_args(AttackName)
    for name in names:
        if name not in known:
            raise UserError(f"Expected attacks among {', '.join(known)}, got {name!r}.")
    if len(set(names)) != len(names) or not set(ALWAYS) <= set(names):
        raise UserError(f"Expected attacks without repetition, {' and '.join(ALWAYS)} among them, got {list(names)}.")
    return names
