"""A kind of work that takes no model: its parts write what they are asked, or fail as they are asked."""

import os
import signal
import time
from pathlib import Path

from del_audit.runs import Run
from mechanisms.errors import UserError


class ToyBench:
    """Makes small parts. about: a folder where it leaves a line each time that it is made."""

    def __init__(self, folder, about):
        self.run = Run(folder / "run", {"command": "toy"})
        with (Path(about) / "made").open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        self.about = Path(about)

    def make(self, asked):
        """Writes the part, after it has failed as often as asked."""
        name, fails, kind = asked
        tried = self.about / f"tried-{name}"
        before = len(tried.read_text()) if tried.exists() else 0
        tried.write_text("x" * (before + 1))
        if before < fails:
            if kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if kind == "slow":
                time.sleep(600)
            raise UserError(f"part {name} cannot be made") if kind == "user" else RuntimeError(f"part {name} broke")
        self.run.part(name, lambda: {"name": name})
        folder = self.run.folder / "trained" / name
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"\x00\xff")
