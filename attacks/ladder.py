"""The inversion attacks that a list of names stands for, weakest kind first."""

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from attacks.base import AttackOptions, InversionAttack
from attacks.ranking import DEPTH
from attacks.registry import AttackName, checked_names, rows_of
from mechanisms.assets import cache_folder
from mechanisms.private_folders import private_folder


class AttackKind(Protocol):
    """The class that a row of the registry names."""

    def of(self, options: AttackOptions) -> InversionAttack:
        """Returns the attack with the options that it has a use for; a classmethod."""
        ...


def ladder(
    names: Sequence[AttackName], masked_lm: str | None = None, folder: Path | None = None, depth: int = DEPTH
) -> dict[AttackName, InversionAttack]:
    """Returns the attacks of these names under their keys, weakest kind first.

    masked_lm, folder, depth: as AttackOptions. Raises UserError as checked_names does.
    """
    options = AttackOptions(depth, masked_lm, folder)
    return {row.key: _kind(row.made_by).of(options) for row in rows_of(checked_names(names))}


def trained_attackers(names: Iterable[AttackName]) -> Path | None:
    """Returns the folder for the fits of these attacks, which its owner alone may enter; None where none trains.

    It lies in the cache, and is made where it is needed. Raises UserError as private_folder does.
    """
    if not any(row.trains for row in rows_of(names)):
        return None
    return private_folder(cache_folder() / "attacks", adopt=True)


def _kind(made_by: str) -> AttackKind:
    module, _, name = made_by.partition(":")
    kind: AttackKind = getattr(importlib.import_module(module), name)
    return kind
