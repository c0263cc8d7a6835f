"""Every command is a row below and a module here, which holds its options and its one call into the room that works."""

from typing import Protocol

from del_audit.commands import (
    account,
    attack,
    bundle,
    calibrate,
    certify,
    curve,
    export,
    frontier,
    init,
    key,
    ledger,
    plan,
    private,
    proxy,
    reproduce,
    send,
    serve,
    train,
    tune,
    verify,
    verify_mechanism,
)
from del_audit.commands.values import Commands


class Command(Protocol):
    """A module of a command. It is imported for every other command too, so nothing heavy is, but within its call."""

    def add_parser(self, commands: Commands) -> None:
        """Adds the command's parser, whose default `run` takes the arguments and returns the exit code."""


COMMANDS: tuple[Command, ...] = (
    init,
    account,
    calibrate,
    certify,
    verify,
    verify_mechanism,
    export,
    key,
    private,
    attack,
    train,
    plan,
    tune,
    frontier,
    bundle,
    send,
    serve,
    proxy,
    ledger,
    curve,
    reproduce,
)
"""In the order of --help and of docs/command-line.md."""
