"""The options of `del-audit private`."""

import argparse
from typing import Any

from del_audit.options import path


def add_private(commands: Any) -> None:
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
    from del_audit.private_command import private

    return private(arguments.remove, arguments.yes)
