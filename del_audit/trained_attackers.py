"""Where attackers that take long to train are kept: a folder of the cache that its owner alone may enter."""

from collections.abc import Iterable
from pathlib import Path

from attacks.names import AttackName
from mechanisms.assets import cache_folder
from mechanisms.private_folders import private_folder

TRAINED: frozenset[AttackName] = frozenset({"contextual", "informed"})


def trained_attackers(names: Iterable[str]) -> Path | None:
    """Returns the folder for the fits of these attacks, made where it is needed; None where none of them trains.

    Raises UserError as private_folder does.
    """
    if not TRAINED & set(names):
        return None
    return private_folder(cache_folder() / "attacks", adopt=True)
