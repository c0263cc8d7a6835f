"""Where a training run is kept: checkpoints in OUT.partial, until OUT appears whole by one rename.

A checkpoint is a file of tensors and a JSON card that names it with its hash. Each is written whole, the card last:
whenever the process dies, the card names a whole file. Nothing is pickled.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mechanisms.canonical_json import Json
from mechanisms.errors import UserError
from mechanisms.files import is_part, new_folder, remove_parts, write_file
from mechanisms.folder_lock import SUFFIX, held
from mechanisms.hashes import file_sha256

STATE = "checkpoint.json"
CARD = "card.json"
OLD_LOCK = "lock"
"""The file by which earlier versions held a run."""


def made_once(folder: Path, make: Callable[[Path], object]) -> None:
    """Has make fill the folder where it is not there; processes that ask at the same time wait for each other.

    For what is kept in a cache, which several runs may need at once. Raises UserError as make does, and for a place
    that cannot be locked.
    """
    if folder.exists():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f".{folder.name}.lock")
        lock.acquire()
    except OSError as error:
        raise UserError(f"Expected a cache that can be written to, got {folder.parent}: {error.strerror}.") from None
    try:
        if not folder.exists():
            make(folder)
        Path(lock.lock_file).unlink(missing_ok=True)  # whoever waits for it finds the folder there
    finally:
        lock.release()


class RunFolder:
    """The two folders of a run, held by one process at a time.

    out: where the result appears; it must not exist. identity: everything that decides the result, as JSON values.
    fresh: discard an earlier run's checkpoint instead of going on from it. Entering raises UserError for an out that
    exists, for a partial folder that another process holds, and for one that no training run made.
    """

    def __init__(self, out: Path, identity: Mapping[str, object], fresh: bool = False) -> None:
        self.out = out
        self.partial = out.with_name(out.name + SUFFIX)
        self._identity = json.loads(json.dumps(identity, allow_nan=False))
        self._fresh = fresh
        self._held = ExitStack()
        self._named = ""  # the file that the card on disk names

    def __enter__(self) -> Self:
        if self.out.exists():
            raise UserError(f"Expected a folder that does not exist yet, got {self.out}.")
        names = {path.name for path in self.partial.iterdir()} if self.partial.is_dir() else set()
        if not all(map(is_part, names)) and not {STATE, OLD_LOCK} & names:
            raise UserError(f"Expected {self.partial} to be free for checkpoints, got a folder of something else.")
        self._held.enter_context(held(self.partial, self.out))
        remove_parts(self.partial)
        if self._fresh:
            for path in self.partial.glob("checkpoint*"):
                path.unlink()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.out.exists() or not (self.partial / STATE).exists():
            shutil.rmtree(self.partial, ignore_errors=True)
        self._held.close()

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Returns the tensors and the state of the last checkpoint, None where there is none.

        Raises UserError for one of another run (other settings, data or model), and for one that is damaged.
        """
        path = self.partial / STATE
        if not path.exists():
            return None
        try:
            state = json.loads(path.read_text(encoding="utf8"))
            file, digest, identity = state["file"], state["sha256"], state["identity"]
        except (ValueError, KeyError, TypeError):
            raise self._unusable("a damaged card") from None
        if difference := _difference(self._identity, identity):
            raise UserError(
                f"Expected the run in {self.partial} to be this one, got another: {difference}. "
                f"Give the same settings to go on with it, or delete {self.partial} to start again."
            )
        self._named = file
        tensors = self.partial / file
        if not tensors.is_file() or file_sha256(tensors) != digest:
            raise self._unusable(f"another content of {file} than its card names")
        try:
            return load_file(tensors), state
        except SafetensorError:
            raise self._unusable(f"a damaged {file}") from None

    def save(self, tensors: Mapping[str, Tensor], state: Mapping[str, object], step: int) -> None:
        """Replaces the checkpoint. A process that dies here leaves the old one or the new one, whole."""
        file = f"checkpoint-{step:08d}.safetensors"
        if file == self._named:  # saved twice at one step: the file that the card names stays whole until it names this
            file = f"checkpoint-{step:08d}-again.safetensors"
        written = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        write_file(self.partial / file, lambda part: save_tensors(written, part))
        card = {**state, "file": file, "sha256": file_sha256(self.partial / file), "identity": self._identity}
        write_file(self.partial / STATE, (json.dumps(card, allow_nan=False) + "\n").encode())
        self._named = file
        for path in self.partial.glob("checkpoint-*"):
            if path.name != file:
                path.unlink()

    def publish(self, write: Callable[[Path], None], card: Mapping[str, object]) -> None:
        """Makes out appear: what write puts into the folder that it is given, and a card with the hash of each file."""
        with new_folder(self.out, inside=self.partial) as beside:
            write(beside)
            files = {path.name: file_sha256(path) for path in sorted(beside.iterdir())}
            text = json.dumps({**card, "files": files}, indent=2, allow_nan=False)
            (beside / CARD).write_text(text + "\n", encoding="utf8")

    def _unusable(self, found: str) -> UserError:
        return UserError(f"Expected a whole checkpoint in {self.partial}, got {found}. Delete it to start again.")


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Writes a file of tensors; raises OSError where it cannot be written."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(str(error)) from None


def _difference(here: Json, there: Json, name: str = "") -> str | None:
    """Returns in words where two JSON values differ first, None where they do not."""
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            at = f"{name}.{key}" if name else key
            if found := _difference(here.get(key), there.get(key), at):
                return found
        return None
    return None if here == there else f"{name} is {there!r} there and {here!r} here"
