"""Commands that fill a folder: one process at a time, and the second one is refused before it imports anything."""

import argparse
from collections.abc import Callable

from mechanisms.folder_lock import held_run

Command = Callable[[argparse.Namespace], int]


def alone(command: Command) -> Command:
    """Returns the command, which holds what is to become its --out while it runs; raises UserError as held_run does."""

    def run(arguments: argparse.Namespace) -> int:
        with held_run(arguments.out):
            return command(arguments)

    return run
