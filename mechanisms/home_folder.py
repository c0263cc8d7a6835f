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
