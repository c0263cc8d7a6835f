"""The one way to write a file or a folder: beside its place, onto the disk, then renamed. It is old or new, never half.

That holds whether the process, the disk or the power ends; a part beside stays only where the process was killed.
"""

import errno
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from mechanisms import shield
from mechanisms.errors import UserError, first_line

Content = bytes | Callable[[Path], object]
"""Of a file: its bytes, or a function that writes them to the path it is given. One that cannot raises OSError."""
PUBLIC, PRIVATE = 0o644, 0o600
"""Modes of a file: readable for all, and for its owner alone."""
_PART = re.compile(r"\..+-[0-9a-f]{12}", re.DOTALL)
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EINVAL}


def write_file(
    path: Path, content: Content, *, mode: int = PUBLIC, new: bool = False, what: str = "a file", hint: str = ""
) -> None:
    """Writes a file, whole or not at all.

    mode: of the file, whatever the umask; nobody but the owner can read a part of it before. new: never over another
    file. what: its name in errors. hint: what stands behind them, such as what to do next.
    Raises UserError where it cannot be written, and for a new one that exists; path is then as it was.
    """
    with reserved(path, mode=mode, new=new, what=what) as place:
        place(content, hint)


def write_json(path: Path, content: object, *, mode: int = PUBLIC) -> None:
    """Writes content as indented JSON, whole or not at all; raises UserError as write_file does, ValueError for NaN."""
    write_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode(), mode=mode)


def write_files(contents: Mapping[Path, Content], *, mode: int = PUBLIC) -> None:
    """Writes files that belong together: all beside their places, where a full disk shows, then renamed in order.

    Raises UserError where one cannot be written; then each is as it was, or new.
    """
    named = ", ".join(str(path) for path in contents)
    with ExitStack() as parts, _explained(f"Expected files that can be written, got {named}"):
        beside = {path: parts.enter_context(_part(path)) for path in contents}
        for path, content in contents.items():
            _fill(beside[path], content, mode)
        with shield.shielded():
            for path, part in beside.items():
                os.replace(part, path)


@contextmanager
def reserved(
    path: Path, *, mode: int = PUBLIC, new: bool = False, what: str = "a file"
) -> Iterator[Callable[[Content, str], None]]:
    """Yields the function (content, hint) that writes a file as write_file does; its folder takes a file already.

    For whoever must know that before it does what cannot be undone. Raises UserError for a folder that takes none.
    """
    refused = f"Expected {what} that can be written, got {str(path)!r}"
    with ExitStack() as parts:
        with _explained(refused):
            part = parts.enter_context(_part(path))

        def place(content: Content, hint: str = "") -> None:
            with _explained(refused, hint):
                _fill(part, content, mode)
                try:
                    _put_new(part, path) if new else os.replace(part, path)
                except FileExistsError:
                    raise UserError(
                        " ".join([f"Expected {what} that does not exist yet, got {str(path)!r}.", hint]).rstrip()
                    ) from None

        yield place


@contextmanager
def new_folder(folder: Path, *, mode: int = PUBLIC, inside: Path | None = None) -> Iterator[Path]:
    """Yields a folder to fill, which gets its name when the block ends: it appears whole or not at all.

    mode: of its files; whoever may read them may enter it and its folders. inside: where it is made, on the same file
    system; None for beside its place. Raises UserError for a folder that exists, and where it or what the block puts
    into it cannot be written.
    """
    if os.path.lexists(folder):
        raise UserError(f"Expected a folder that does not exist yet, got {str(folder)!r}.")
    part = _beside(folder, inside)
    try:
        with _explained(f"Expected a folder that can be written, got {str(folder)!r}"):
            part.mkdir(mode=0o700)
            yield part
            for path in part.rglob("*"):
                if path.is_file():
                    _settle(path, mode)
                else:
                    path.chmod(_folder_mode(mode))
            part.chmod(_folder_mode(mode))
            os.replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def remove_parts(folder: Path) -> None:
    """Removes what killed processes left half-written in a folder that no other process writes to now."""
    for left in [path for path in folder.rglob(".*") if is_part(path.name)]:
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def is_part(name: str) -> bool:
    """Returns whether a name is of something half-written."""
    return _PART.fullmatch(name) is not None


def _beside(path: Path, inside: Path | None = None) -> Path:
    """Returns the name of a part: short enough for any file system, also in letters of four bytes."""
    return (inside or path.parent) / f".{path.name[:40]}-{uuid4().hex[:12]}"


@contextmanager
def _part(path: Path) -> Iterator[Path]:
    """Yields an empty file beside path that its owner alone can read, and removes it in the end, if it is there."""
    part = _beside(path)  # named before it is made: an interruption in between leaves nothing
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        yield part
    finally:
        with suppress(OSError):
            part.unlink()


def _fill(part: Path, content: Content, mode: int) -> None:
    if isinstance(content, bytes):
        part.write_bytes(content)
    else:
        content(part)
    _settle(part, mode)


def _settle(path: Path, mode: int) -> None:
    """Gives a file its mode once it is on the disk: before the rename, which must not reach the disk first."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fsync(handle)
        os.fchmod(handle, mode)
    finally:
        os.close(handle)


def _put_new(part: Path, path: Path) -> None:
    """Gives a part its name, unless another file has it; raises FileExistsError then."""
    try:
        os.link(part, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # ours from here
        try:
            os.replace(part, path)
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _folder_mode(mode: int) -> int:
    return 0o700 | mode | (mode & 0o444) >> 2


@contextmanager
def _explained(refused: str, hint: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or first_line(error)
        raise UserError(" ".join([f"{refused}: {why}.", hint]).rstrip()) from None
