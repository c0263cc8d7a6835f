"""A file that is read once: its hash is of the bytes that were read, whatever happens to the file meanwhile."""

import gzip
import hashlib
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Self

from mechanisms.errors import UserError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER = 1 << 20
_MARKS = {
    b"\xff\xfe": "a UTF-16 file",
    b"\xfe\xff": "a UTF-16 file",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file, which spreadsheets are",
    b"PAR1\x15": "a Parquet file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
}
"""How files begin that are no text in UTF-8."""
_BZIP2 = re.compile(rb"BZh[1-9]1AY&")


class SourceFile(io.RawIOBase):
    """The bytes of a regular file in their order, hashed as they are read. Use it in a with statement.

    Raises UserError for a file that is not there, is no regular one, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._digest = hashlib.sha256()
        self._ended = False
        self._file: io.FileIO | None = None
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # no pipe is waited for
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            said = error.strerror if isinstance(error, OSError) else error
            raise UserError(f"Expected a corpus file that can be read, got {str(path)!r}: {said}.") from None
        self._file = io.FileIO(handle, "rb") if stat.S_ISREG(os.fstat(handle).st_mode) else None
        if self._file is None:
            os.close(handle)
            raise UserError(f"Expected the corpus {str(path)!r} to be a regular file, got a folder, pipe or device.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Reads the next bytes, hashes them, and returns how many there were; 0 ever after the file's end."""
        if self._ended or self._file is None:
            return 0
        count = self._file.readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        # what is appended from now on is in no table and no hash
        self._ended = not count and memoryview(buffer).nbytes > 0
        return count

    def sha256(self) -> str:
        """Returns the sha256 of the file's bytes, 64 hexadecimal digits, after reading what is left of them."""
        while self.read(BUFFER):
            pass
        return self._digest.hexdigest()

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
        super().close()


@contextmanager
def text_bytes(source: SourceFile, path: Path, packed: bool) -> Iterator[IO[bytes]]:
    """Yields a file's bytes behind a UTF-8 byte order mark; packed: unpacked with gzip.

    Raises UserError for a file that is empty, that begins as no text in UTF-8 does, or that gzip cannot read.
    """
    inner: gzip.GzipFile | SourceFile = gzip.GzipFile(fileobj=source) if packed else source
    stream = io.BufferedReader(inner, BUFFER)
    try:
        begin = stream.peek(8)[:8]
        if not begin:
            raise UserError(f"Expected documents in {str(path)!r}, got an empty file.")
        if what := _other_kind(begin):
            raise UserError(f"Expected text in UTF-8 in {str(path)!r}, got {what}. {_advice(what, path)}")
        if begin.startswith(b"\xef\xbb\xbf"):
            stream.read(3)
        yield stream
    except (EOFError, OSError, zlib.error) as error:  # gzip raises all of them for a damaged file
        raise UserError(f"Cannot read the corpus {str(path)!r}: {' '.join(str(error).split())}.") from None
    finally:
        stream.detach()


def _other_kind(begin: bytes) -> str:
    """Returns what a file is by its first bytes, in words; empty where it may be text in UTF-8."""
    for mark, what in _MARKS.items():
        if begin.startswith(mark):
            return what
    if b"\0" in begin[:2]:
        return f"a UTF-16{'BE' if begin[:1] == bytes(1) else 'LE'} file"
    return "a bzip2 file" if _BZIP2.match(begin) else ""


def _advice(what: str, path: Path) -> str:
    if "UTF-16" in what:
        return f"Convert it: iconv -f {what.split()[1]} -t UTF-8 {path.name!r}."
    if "gzip" in what:
        return "Name it with .gz at the end, or unpack it."
    return "Save it as text in UTF-8, or name it by what it is."
