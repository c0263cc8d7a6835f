"""`del-audit private`: which folders hold private or reconstructed text, and their removal."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from del_audit.commands.values import Commands, path
from del_audit.process.exit_codes import REFUSED
from mechanisms.errors import UserError

if TYPE_CHECKING:
    from mechanisms.private_folders import PrivateFolder

NOT_REMOVED = REFUSED


def add_parser(commands: Commands) -> None:
    """Adds `private` to the commands."""
    private = commands.add_parser(
        "private",
        help="list or remove the folders that hold private or reconstructed text",
        description="Lists every folder that del-audit wrote private or reconstructed text to for you: path, size and "
        "date. Exit code 1 where one could not be removed.",
        allow_abbrev=False,
    )
    private.add_argument(
        "--remove",
        nargs="*",
        type=path("--remove"),
        metavar="PATH",
        help="remove these folders after listing them; all of them where no PATH is given, which needs --yes",
    )
    private.add_argument("--yes", action="store_true", help="with --remove: remove all folders of the list")
    private.set_defaults(run=_private)


def _private(arguments: argparse.Namespace) -> int:
    """Prints the list; removes the folders named, all where --remove names none and --yes is set.

    Returns 0, or 1 where a folder of the list could not be removed. Raises UserError, before anything is removed, for a
    path that is not on the list, and for --remove without paths or --yes.
    """
    from mechanisms.private_folders import private_folders

    remove, yes = arguments.remove, arguments.yes
    if remove is None and yes:
        raise UserError(
            "Expected --yes with --remove only, got it alone. Type del-audit private --remove --yes to remove all."
        )
    listed = private_folders()
    _print(listed)
    if remove is None:
        return 0
    if not remove and not yes:
        raise UserError(
            "Expected --yes to remove all folders of the list, got --remove alone. Name folders, or add --yes."
        )
    remove = list(dict.fromkeys(_absolute(given) for given in remove))
    by_path = {entry.path: entry for entry in listed}
    chosen = [by_path.get(given) for given in remove] if remove else listed
    for given, entry in zip(remove, chosen, strict=False):
        if entry is None:
            raise UserError(f"Expected a folder of the list, got {str(given)!r}. Nothing was removed.")
    failed = 0
    for entry in chosen:
        if entry is not None:
            failed += not _removed(entry)
    return NOT_REMOVED if failed else 0


def _removed(entry: "PrivateFolder") -> bool:
    from mechanisms.private_folders import remove_private

    try:
        remove_private(entry.path)
    except UserError as error:
        print(f"del-audit: {error}", file=sys.stderr)
        return False
    print(f"{'Removed' if entry.there else 'Taken off the list'}: {entry.path}")
    return True


def _print(listed: "Sequence[PrivateFolder]") -> None:
    if not listed:
        from mechanisms.state_folder import state_folder

        print(f"No folder is on the list in {state_folder()}.")
    for entry in listed:
        state = f"CHANGED: it {entry.refusal}" if entry.refusal else "" if entry.there else "not there any more"
        size = f"{entry.size / 1024:,.1f} KiB" if entry.there and not entry.refusal else "-"
        print(f"{entry.made[:16].replace('T', ' ')}  {size:>14}  {entry.path}{f'  ({state})' if state else ''}")


def _absolute(path: Path) -> Path:
    whole = Path(path).absolute()
    return whole.parent.resolve() / whole.name
