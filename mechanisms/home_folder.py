"""The user's home folder, for which a process need not have a name: a container's user has none."""

from pathlib import Path

from mechanisms.errors import UserError


def home_folder(what: str, variable: str) -> Path:
    """Returns the home folder. what: is looked for there. variable: of the environment, names another place for it.

    Raises UserError where there is no home folder.
    """
    try:
        return Path.home()
    except RuntimeError:
        raise UserError(
            f"Expected a home folder for {what}, got none: name a folder in the variable {variable}."
        ) from None


def expanded(path: str | Path) -> Path:
    """Returns a path with ~ and ~USER replaced; a file of exactly that name comes first.

    Raises UserError where such a user has no home folder, and for what can be no path: a NUL in it, too long a name.
    """
    try:
        return Path(path) if Path(path).exists() else Path(path).expanduser()
    except (OSError, ValueError, RuntimeError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error).rstrip(".")
        raise UserError(f"Expected a path, got {str(path)[:200]!r}: {said}. Write out the whole path.") from None
