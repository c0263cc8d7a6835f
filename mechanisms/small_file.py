"""Reading a file that somebody else may have made: a regular one, within a limit, or an error at once."""

import os
import stat
from pathlib import Path

from mechanisms.errors import UserError


def read_small_text(path: Path, limit: int, what: str) -> str:
    """Returns the text of a file that read_small takes, in UTF-8.

    Raises UserError as it does, and for bytes that are no UTF-8.
    """
    try:
        return read_small(path, limit, what, "UTF-8 ").decode("utf8")
    except UnicodeDecodeError as error:
        raise UserError(f"Expected a readable UTF-8 {what} file, got {str(path)!r}: {error}.") from None


def read_small(path: Path, limit: int, what: str, form: str = "") -> bytes:
    """Returns the bytes of a regular file of at most limit bytes.

    what: its name in errors, such as certificate. form: what it is to be, there as well, such as `UTF-8 `.
    Nothing is read of a larger one, of a device, a pipe or a folder, and no pipe is waited for.
    Raises UserError for those, and for a file that cannot be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise UserError(f"Expected a readable {form}{what} file, got {str(path)!r}: it is no regular file.")
            if found.st_size > limit:
                raise UserError(f"Expected a {what} of at most {limit} bytes, got {found.st_size} in {str(path)!r}.")
            with os.fdopen(handle, "rb", closefd=False) as stream:
                data = stream.read(limit + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        if isinstance(error, UserError):
            raise
        raise UserError(f"Expected a readable {form}{what} file, got {str(path)!r}: {error}.") from None
    if len(data) > limit:
        raise UserError(f"Expected a {what} of at most {limit} bytes, got more in {str(path)!r}.")
    return data
