"""Finished cells of a table, each a file under the hash of its settings: a rerun computes the others only."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mechanisms.errors import UserError
from mechanisms.files import write_json
from mechanisms.hashes import json_sha256
from mechanisms.private_folders import private_folder

NAME_DIGITS = 20


class Store:
    """folder/cells holds results as JSON, folder/parts what was trained; it is a private folder.

    Raises UserError where the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            private_folder(folder, what="--out")
            for name in ("cells", "parts"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"Expected --out to be a folder that can be made, got {folder}: {error.strerror}."
            ) from None

    def cell(self, settings: Mapping[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Returns the result of these settings: from its file where it is finished, otherwise computed and kept.

        Raises UserError for a file that does not hold a cell, and where it cannot be written.
        """
        path = self.folder / "cells" / f"{json_sha256(settings)[:NAME_DIGITS]}.json"
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf8"))
                if found["settings"] == json.loads(json.dumps(settings)):
                    return dict(found["result"])
                raise ValueError("it is of other settings")
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise UserError(f"Expected {path} to hold a finished cell: {error}. Delete it.") from None
        result = compute()
        write_json(path, {"settings": settings, "result": result})
        return dict(json.loads(json.dumps(result, allow_nan=False)))

    def part(self, settings: Mapping[str, Any]) -> Path:
        """Returns the folder of a trained part; whether it exists says whether it is trained."""
        return self.folder / "parts" / json_sha256(settings)[:NAME_DIGITS]
