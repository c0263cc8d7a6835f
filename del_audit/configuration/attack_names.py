"""The attacks that a user asked for by name, in a configuration or on the command line."""

import functools
import sys
from collections.abc import Sequence

from attacks.registry import AttackName, checked_names, current_name


def asked_attacks(names: Sequence[AttackName]) -> tuple[AttackName, ...]:
    """Returns today's names, as checked_names; warns once on standard error of each former name."""
    found = checked_names(names)
    for name in names:
        if name != current_name(name):
            _warn(name)
    return found


@functools.cache
def _warn(name: AttackName) -> None:
    today = current_name(name)
    print(
        f"del-audit: warning: the attack {name} is now called {today}; the next version will not know {name}. "
        f"Write {today}.",
        file=sys.stderr,
    )
