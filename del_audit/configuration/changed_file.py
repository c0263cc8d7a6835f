"""A configuration's file with keys that the command line gives in place of the file's. Light: the parser imports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ChangedFile:
    """A YAML file. changes: keys at its top, with values as the file would have them, which stand in for its own."""

    path: Path
    changes: Mapping[str, str]


ConfigurationFile: TypeAlias = Path | ChangedFile
"""What load_configuration takes."""
