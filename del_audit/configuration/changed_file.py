"""A configuration's file with keys that the command line gives in place of the file's. Light: the parser imports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A YAML file. changes: values as the file would have them, which stand in for its own.

    They are named by their keys, with a point between a key and the one below it: policy.assurance.
    """

    path: Path
    changes: Mapping[str, object]


ConfigurationFile: TypeAlias = Path | ChangedFile
"""What load_configuration takes."""
