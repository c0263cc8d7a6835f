"""Where this user's own records are: the ledger of what was sent, the log of attempts, the list of private folders.

The folder is $DEL_AUDIT_STATE, else $XDG_STATE_HOME/del-audit, else ~/.local/state/del-audit; its mode is 0700.
"""

import os
from pathlib import Path

from mechanisms.errors import UserError
from mechanisms.home_folder import home_folder


def state_folder() -> Path:
    """Returns the folder, made with mode 0700 where it is not there yet.

    Raises UserError where there is no home folder, and for a folder that cannot be made or that others may enter.
    """
    folder = _named()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = folder.stat().st_mode & 0o777
    except OSError as error:
        raise UserError(
            f"Expected a folder for your records, got {str(folder)!r}: {error.strerror}. "
            "Make it, or mend its permissions."
        ) from None
    if mode & 0o077:
        raise UserError(
            f"Expected a state folder that its owner alone may enter (mode 700), got {mode:o}: {folder}. "
            f"Mend it with chmod 700 {folder}."
        )
    return folder


def _named() -> Path:
    if own := os.environ.get("DEL_AUDIT_STATE"):
        return Path(own).absolute()
    if base := os.environ.get("XDG_STATE_HOME"):
        return Path(base).absolute() / "del-audit"
    return home_folder("your records", "DEL_AUDIT_STATE") / ".local" / "state" / "del-audit"
