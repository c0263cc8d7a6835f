"""A client that is a program: JSON lines in, JSON lines out (docs/verify-mechanism.md)."""

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from del_audit.evidence.verification.processes import SECONDS
from del_audit.evidence.verification.words import WordLaw
from del_audit.verify_mechanism.program import Program
from del_audit.verify_mechanism.target import NoAnswer, Target
from del_audit.verify_mechanism.word_clients import json_client
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec


@contextmanager
def command_client(command: str, claim: QuantizerSpec | WordLaw, seconds: float) -> Iterator[Target]:
    """Yields the client that a command runs, split as a shell would and run without one.

    One process answers all calls; where it ends, the next call starts another. A process that is forked from this one
    gets a program of its own for each call: that is how the battery sees noise that programs have in common.
    seconds: for an answer. Raises UserError for a command that is none, and where no first answer comes.
    """
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise UserError(f"Expected --command to be a command line, got {command!r}: {error}.") from None
    if not arguments:
        raise UserError("Expected --command to name a program, got nothing.")
    programs = _Programs(arguments, seconds)
    client = json_client(claim, programs.exchange)
    try:
        client.greet(programs.once)
        yield Target(
            "command",
            command,
            client.release,
            client.message if client.messages else None,
            untested={} if client.messages else {"message": f"the program answers with {client.released}, no messages"},
            answered=lambda: client.answered,
            faults=lambda: client.faults,
            broken=lambda: client.broken,
            notes=lambda: programs.said,
        )
    finally:
        programs.close()


class _Programs:
    """The program of this process, started when it is needed, and others for one call each."""

    def __init__(self, arguments: Sequence[str], seconds: float) -> None:
        self._arguments, self._seconds = arguments, seconds
        self._owner = os.getpid()
        self._program: Program | None = None
        self._said = ""

    @property
    def said(self) -> list[str]:
        """The last lines that programs wrote to standard error."""
        said = self._program.said if self._program is not None else self._said
        return [f"standard error: {line}" for line in said.strip().splitlines()[-5:]]

    def exchange(self, line: bytes, limit: int) -> bytes:
        """Returns what this process's program answers; raises NoAnswer as Program.ask does, and ends it then."""
        if os.getpid() != self._owner:
            return self._asked_once(line, limit, min(self._seconds, 0.5 * SECONDS))  # before the fork itself is ended
        if self._program is None:
            self._program = Program(self._arguments)
        try:
            return self._program.ask(line, limit, self._seconds)
        except NoAnswer:
            self._drop()
            raise

    def once(self, line: bytes, limit: int) -> bytes:
        """Returns what a program answers that is started for this call alone; raises NoAnswer as Program.ask does."""
        return self._asked_once(line, limit, self._seconds)

    def close(self) -> None:
        """Ends the program, if one runs."""
        if self._program is not None:
            self._program.close()
            self._keep()

    def _asked_once(self, line: bytes, limit: int, seconds: float) -> bytes:
        program = Program(self._arguments)
        try:
            return program.ask(line, limit, seconds)
        finally:
            program.close()

    def _drop(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._keep()

    def _keep(self) -> None:
        if self._program is not None:
            self._said, self._program = self._program.said, None
