"""Files that belong together, written so that a kill or a full disk leaves each of them old or new, never half."""

import os
from collections.abc import Mapping
from pathlib import Path

from del_audit.process.interruption import shielded
from mechanisms.errors import UserError


def write_together(contents: Mapping[Path, bytes]) -> None:
    """Writes files: all of them beside their places first, where a full disk shows, then renamed, in order.

    Raises UserError where one cannot be written; then each is as it was before, or new.
    """
    besides = {path: path.with_name(f".{path.name}.{os.getpid()}") for path in contents}
    try:
        for path, data in contents.items():
            with besides[path].open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        with shielded():
            for path, beside in besides.items():
                os.replace(beside, path)
    except OSError as error:
        raise UserError(f"Expected to write {', '.join(map(str, contents))}: {error}.") from None
    finally:
        for beside in besides.values():
            beside.unlink(missing_ok=True)
