"""Where a run keeps what is finished: a killed run goes on, and a result is whole or not there."""

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from attacks.outcome import Outcome
from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, remove_parts, write_file, write_json
from mechanisms.hashes import json_sha256
from mechanisms.private_folders import MARKER, private_folder, remove_private, rename_private

SETTINGS = "settings.json"
RESULT = "result.json"
NAME_DIGITS = 20
"""Hexadecimal digits of a name that is a hash."""
T = TypeVar("T")


class Parts:
    """OUT.partial with finished parts, and the settings that all of them are of: a private folder.

    settings: everything that decides a result, as JSON. renew: a folder of other settings is emptied, and stderr says
    so. Raises UserError for a folder of other settings without renew, one of no run, and where it cannot be made.
    """

    def __init__(self, out: Path, settings: Mapping[str, Json], renew: bool = False) -> None:
        self.folder = out.with_name(f"{out.name}.partial")
        self.settings: dict[str, Json] = json.loads(json.dumps(settings, allow_nan=False))
        try:
            fresh = not self.folder.exists() or {path.name for path in self.folder.iterdir()} <= {MARKER}
            if not fresh and (other := self._other()):
                self._renew(other) if renew else self._refuse(other)
                fresh = True
            private_folder(self.folder, adopt=not fresh, what="--out")
            if fresh:
                write_json(self.folder / SETTINGS, self.settings)
            (self.folder / "parts").mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f"Expected --out to be a folder that can be made, got {out}: {error.strerror}.") from None

    def _other(self) -> str:
        """Returns in what the folder's settings differ from these, in words; empty where they are the same."""
        path = self.folder / SETTINGS
        if not path.exists():
            raise UserError(
                f"Expected {self.folder} to be of this version, got a folder without {SETTINGS}. {self._hint}"
            )
        try:
            kept = dict(json.loads(path.read_text(encoding="utf8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"Expected {path} to say what run was cut off: {error}. {self._hint}") from None
        names = sorted({*kept, *self.settings})
        return " and ".join(name for name in names if kept.get(name) != self.settings.get(name))

    @property
    def _hint(self) -> str:
        return f"Delete {self.folder} to start again, or give another --out."

    def _refuse(self, other: str) -> None:
        raise UserError(f"Expected {self.folder} to be of this run, got another {other}. {self._hint}")

    def _renew(self, other: str) -> None:
        print(f"del-audit: {self.folder} was of another {other}, and is begun again.", file=sys.stderr)
        remove_private(self.folder)

    def part(self, name: str, compute: Callable[[], Mapping[str, Json]]) -> dict[str, Any]:
        """Returns a finished part, computed only where it is missing; raises UserError for a damaged file."""
        path = self.folder / "parts" / f"{name}.json"
        if not path.exists():
            write_json(path, compute())
        try:
            return dict(json.loads(path.read_text(encoding="utf8")))
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"Expected {path} to hold a finished part: {error}. Delete it.") from None

    def has_part(self, name: str) -> bool:
        """Returns whether a part is finished."""
        return (self.folder / "parts" / f"{name}.json").exists()

    def value(self, name: str, kind: object, compute: Callable[[], T]) -> T:
        """Returns a finished value, computed only where it is missing; raises UserError for a damaged file.

        kind: its type, which pydantic writes and reads again: a dataclass of figures, or what collects some.
        """
        path, adapter = self.folder / "parts" / f"{name}.json", TypeAdapter[T](kind)  # type: ignore[arg-type]
        if not path.exists():
            written = json.dumps(adapter.dump_python(compute(), mode="json"))  # an interval may be without an end
            write_file(path, written.encode(), mode=PRIVATE)
        try:
            return adapter.validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise UserError(f"Expected {path} to hold a finished part: {error}. Delete it.") from None

    def cell(self, settings: Mapping[str, Json], compute: Callable[[], Mapping[str, Json]]) -> dict[str, Any]:
        """Returns the part of these settings, which the folder's other parts need not share; as `part` does."""
        name = json_sha256(settings)[:NAME_DIGITS]
        kept = self.part(name, lambda: {"settings": settings, "result": compute()})
        if kept.get("settings") != json.loads(json.dumps(settings)) or not isinstance(kept.get("result"), dict):
            path = self.folder / "parts" / f"{name}.json"
            raise UserError(f"Expected {path} to hold a finished part: it is of other settings. Delete it.")
        return dict(kept["result"])

    def has_cell(self, settings: Mapping[str, Json]) -> bool:
        """Returns whether the part of these settings is finished."""
        return self.has_part(json_sha256(settings)[:NAME_DIGITS])

    def trained(self, settings: Mapping[str, Json]) -> Path:
        """Returns the folder of what is trained with these settings: it exists once it is. The result keeps it."""
        return self.folder / "trained" / json_sha256(settings)[:NAME_DIGITS]

    def outcome(self, name: str, compute: Callable[[], Outcome]) -> Outcome:
        """Returns a finished outcome, computed only where it is missing; raises UserError for a damaged file."""
        path = self.folder / "parts" / f"{name}.parquet"
        if not path.exists():
            compute().write(path)
        return Outcome.read(path)

    def has_outcome(self, name: str) -> bool:
        """Returns whether an outcome is finished."""
        return (self.folder / "parts" / f"{name}.parquet").exists()

    def remove(self) -> None:
        """Removes the folder, once nobody needs the parts; raises UserError where something in it cannot be removed."""
        remove_private(self.folder)


class Run(Parts):
    """A run whose folder becomes its result: OUT once all parts are there, a private folder as well.

    Raises UserError for an OUT that exists, and as Parts does.
    """

    def __init__(self, out: Path, settings: Mapping[str, Json]) -> None:
        if out.exists():
            raise UserError(f"Expected --out to be a folder that does not exist yet, got {out}.")
        super().__init__(out, settings)
        self.out, self._outcomes = out, self.folder / "outcomes"
        self._outcomes.mkdir(exist_ok=True)

    def keep(self, name: str, outcome: Outcome) -> None:
        """Writes an outcome of the result."""
        outcome.write(self._outcomes / f"{name}.parquet")

    def finish(self, document: Mapping[str, Json], result: str = RESULT) -> Path:
        """Writes the result, gives the folder its name and returns the result's path; raises UserError if it cannot."""
        write_json(self.folder / result, document)
        remove_parts(self.folder)
        try:
            rename_private(self.folder, self.out)
        except OSError as error:
            raise UserError(
                f"Expected to rename {self.folder} to {self.out}: {error.strerror}. The result is in it."
            ) from None
        shutil.rmtree(self.out / "parts", ignore_errors=True)
        (self.out / SETTINGS).unlink(missing_ok=True)
        if not any((self.out / "outcomes").iterdir()):
            (self.out / "outcomes").rmdir()
        return self.out / result
