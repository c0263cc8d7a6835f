"""Paths that somebody typed: one that the system cannot even look at is an error at once, in one line."""

from contextlib import suppress
from pathlib import Path

from mechanisms.errors import UserError

LONGEST_SHOWN = 200
"""Characters of a path in an error."""
_BESIDE = ".{}.0000000.partial"
"""At least as long as every name that is written beside a result before it is renamed."""


def user_path(given: str, what: str, home: bool = False) -> Path:
    """Returns the path, of something that need not exist; what: its name in errors, such as `--out`.

    home: whether ~ and ~NAME are home folders, where there is no file of exactly the name; a shell has replaced them in
    an argument.
    Raises UserError for an empty path, a home folder that nobody has, a null character, a name that is too long, links
    in a circle, and a folder that may not be entered.
    """
    if not given:
        raise UserError(f"Expected {what} to be a path, got an empty one. Name a file or a folder.")
    try:
        path = Path(given).expanduser() if home and not Path(given).exists() else Path(given)
        _look(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise _unusable(given, what, error) from None
    return path


def new_path(given: str, what: str) -> Path:
    """Returns the path of something that is to be written, with room for the name that it has until it is whole.

    Raises UserError as user_path does, and for a path that ends in no name: `.`, `..`, `/`.
    """
    path = user_path(given, what)
    if path.name in ("", ".."):
        raise UserError(
            f"Expected {what} to end in the name of a new file or folder, got {given[:LONGEST_SHOWN]!r}. Add a name."
        )
    try:
        _look(path.with_name(_BESIDE.format(path.name)))
    except (OSError, ValueError) as error:
        raise _unusable(given, what, error) from None
    return path


def _look(path: Path) -> None:
    """Raises OSError or ValueError for a path that no file could have here; one without a file is fine."""
    with suppress(FileNotFoundError, NotADirectoryError):
        path.stat()


def _unusable(given: str, what: str, error: Exception) -> UserError:
    said = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
    return UserError(
        f"Expected {what} to be a path that can be used, got {given[:LONGEST_SHOWN]!r}: {said}. Name another file or "
        "folder."
    )
