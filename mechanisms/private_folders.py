"""Folders that hold private or reconstructed text: the owner's alone, on one list, and removed by one command.

Each has a marker file with a token that the list has as well: nothing is removed that this package did not make.
"""

import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from sqlite3 import Connection

from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file
from mechanisms.small_file import read_small
from mechanisms.state_database import transaction

MARKER = ".del-audit-private"
RECORD = "private-folders.sqlite"
SAID = "This folder holds private or reconstructed text. `del-audit private` lists and removes such folders."
_SCHEMA = "CREATE TABLE folders (path TEXT PRIMARY KEY NOT NULL, token TEXT NOT NULL, made TEXT NOT NULL)"
_LONGEST_MARKER = 1 << 12


@dataclass(frozen=True, slots=True)
class PrivateFolder:
    """A folder on the list. made: ISO date and time, UTC. size: bytes of its files, 0 where it is not there.

    refusal: why it is not removed; empty where it is, or is not there any more.
    """

    path: Path
    made: str
    there: bool
    size: int
    refusal: str


def private_folder(path: Path, adopt: bool = False, what: str = "a place for private text") -> Path:
    """Returns the folder, made with mode 0700, with a marker in it, and on the list; one that is there is tightened.

    adopt: take over a folder without a marker that holds something: only for a place that nobody else writes to.
    what: its name in errors, such as --out. Raises UserError for a link or a file, a folder of another owner, one that
    holds something else, and where it cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        _require_own(path, what)
        token = _token(path)
        if token is None and not adopt and any(path.iterdir()):
            raise UserError(
                f"Expected {what} to be a folder that is not there yet, or one that del-audit made for private text, "
                f"got {path}: it holds something else. Name another one."
            )
        path.chmod(0o700)
        token = token or uuid.uuid4().hex
        with _record() as record:
            record.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (_absolute(path), token, _now()))
        if _token(path) is None:
            write_file(path / MARKER, f"{SAID}\n{token}\n".encode(), mode=PRIVATE, new=True)
    except OSError as error:
        raise UserError(f"Expected {what} to be a folder that can be made, got {path}: {error.strerror}.") from None
    return path


def rename_private(path: Path, new: Path) -> None:
    """Renames a folder and its entry on the list; a process that dies here leaves both names on it.

    Raises OSError where it cannot be renamed, and UserError as private_folder does.
    """
    token = _token(path)
    if token is not None:
        with _record() as record:
            record.execute("INSERT OR REPLACE INTO folders VALUES (?, ?, ?)", (_absolute(new), token, _now()))
    old, gone = _absolute(path), _absolute(new)
    try:
        os.rename(path, new)
        gone = old
    finally:
        with _record() as record:
            record.execute("DELETE FROM folders WHERE path = ?", (gone,))


def private_folders() -> list[PrivateFolder]:
    """Returns the list, in the order of making. Raises UserError where the list cannot be read."""
    return [_described(Path(path), token, made) for path, token, made in _rows()]


def remove_private(path: Path) -> None:
    """Removes a folder of the list with all that is in it, and its entry; of one that is not there, the entry alone.

    What its links point at stays. Raises UserError for a folder that is not on the list, is a link, is behind a link,
    or does not hold the marker that was put into it, and where something in it cannot be removed.
    """
    known = {entry[0]: entry for entry in _rows()}
    entry = known.get(str(path)) or known.get(_absolute(path))
    if entry is None:
        raise UserError(
            f"Expected a folder that `del-audit private` lists, got {str(path)!r}. Only those are removed: type "
            "`del-audit private` to see them."
        )
    found = _described(Path(entry[0]), entry[1], entry[2])
    if found.refusal:
        raise UserError(
            f"Expected {found.path} to be as it was made, got one that {found.refusal}. It was not removed: look at "
            "it, and remove it by hand."
        )
    if found.there:
        try:
            _empty(found.path)
        except OSError as error:
            raise UserError(f"Expected to remove {found.path}, got {error.strerror}: {error.filename}.") from None
    with _record() as record:
        record.execute("DELETE FROM folders WHERE path = ?", (entry[0],))


def _empty(folder: Path) -> None:
    """Removes a folder; its marker goes last, so that an interrupted removal can be taken up again."""
    for inner in folder.iterdir():
        if inner.name == MARKER:
            continue
        if inner.is_dir() and not inner.is_symlink():
            shutil.rmtree(inner)
        else:
            inner.unlink()
    (folder / MARKER).unlink()
    folder.rmdir()


def _described(path: Path, token: str, made: str) -> PrivateFolder:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return PrivateFolder(path, made, False, 0, "")
    refusal = ""
    if stat.S_ISLNK(mode) or os.path.realpath(path) != str(path):
        refusal = "is, or is behind, a link"
    elif not stat.S_ISDIR(mode) or path.stat().st_uid != os.getuid():
        refusal = "is no folder of your own"
    elif not _marked(path, token):
        refusal = f"does not hold the marker {MARKER} that was put into it"
    return PrivateFolder(path, made, True, 0 if refusal else sum(_sizes(path)), refusal)


def _sizes(folder: Path) -> Iterator[int]:
    for root, _, files in os.walk(folder):
        for name in files:
            try:
                yield os.lstat(os.path.join(root, name)).st_size
            except OSError:  # a run at work has just removed it
                continue


def _require_own(path: Path, what: str) -> None:
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise UserError(f"Expected {what} to be a folder, got {path}: it is a link or a file. Name another one.")
    if found.st_uid != os.getuid():
        raise UserError(f"Expected {what} to be a folder of your own, got {path} of another user. Name another one.")


def _token(folder: Path) -> str | None:
    """Returns the token in a folder's marker; None where there is no marker of ours."""
    path = folder / MARKER
    if path.is_symlink() or not path.exists():
        return None
    lines = read_small(path, _LONGEST_MARKER, "marker").decode("utf8", "replace").splitlines()
    return lines[1] if len(lines) == 2 and lines[0] == SAID else None


def _marked(folder: Path, token: str) -> bool:
    try:
        return _token(folder) == token
    except UserError:  # a marker that cannot be read
        return False


def _rows() -> list[tuple[str, str, str]]:
    with _record() as record:
        return list(record.execute("SELECT path, token, made FROM folders ORDER BY rowid"))


@contextmanager
def _record() -> Iterator[Connection]:
    opened: AbstractContextManager[Connection] = transaction(RECORD, "the list of private folders", _SCHEMA)
    with opened as connection:
        yield connection


def _absolute(path: Path) -> str:
    """Returns where a folder is: links above it followed, the folder itself not."""
    whole = Path(os.path.abspath(path))
    return str(whole.parent.resolve() / whole.name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
