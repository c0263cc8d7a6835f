"""The command `del-audit`: its parser, its errors and its exit codes. What a command does is in del_audit/commands."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import NoReturn

from del_audit.commands import COMMANDS
from del_audit.process.exit_codes import INTERRUPTED, USER_ERROR
from mechanisms.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command inside another program and returns its exit code, 130 where it is interrupted.

    Raises what nobody expected; the command `del-audit` makes one line and code 70 of it (del_audit.entry).
    """
    try:
        return run(argv)
    except KeyboardInterrupt:
        print("del-audit: interrupted", file=sys.stderr)
        return INTERRUPTED


def run(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code: 2, after one line, for what the user can mend.

    Raises SystemExit for --help and --version alone, and what nobody expected.
    """
    try:
        return _command(_parser().parse_args(argv))
    except UserError as error:
        print(f"del-audit: error: {error}", file=sys.stderr)
        return USER_ERROR


def _command(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        return code
    except SystemExit as error:  # of a library: an end is no verdict
        raise RuntimeError(f"a library asked Python to end, with {error.code!r}") from error
    except FileNotFoundError:
        _require_working_folder()
        raise


def _require_working_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise UserError(
            "Expected to be run in a folder that exists, got one that was removed: change to another one with cd."
        ) from None


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are the house's, in one line."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError with argparse's message."""
        raise UserError(f"{message.rstrip('.')}. See {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="del-audit", description="Account for, attack and certify DEL releases.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"del-audit {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return version("del-audit")
    except PackageNotFoundError:
        return "0+unknown"
