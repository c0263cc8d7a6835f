"""Who may ask: API keys by name, from a file that its owner alone may read. Nothing but their hashes is held."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from del_audit.serving.refusal import RefusalError
from mechanisms.errors import UserError
from mechanisms.small_file import read_small

LARGEST = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHORTEST_KEY = 16


@dataclass(frozen=True, slots=True)
class Keys:
    """Names by the hash of their key; none: whoever reaches the port may ask, under the name "".

    A lookup by hash tells nothing of a key by its time.
    """

    names: Mapping[bytes, str]

    @classmethod
    def read(cls, path: Path | None) -> "Keys":
        """Returns the keys of a file, a name and a key per line; none where it is None.

        Raises UserError for a file that others may read, and for lines of another form.
        """
        if path is None:
            return cls({})
        data = read_small(path, LARGEST, "keys'")
        if mode := path.stat().st_mode & 0o077:
            raise UserError(
                f"Expected --keys that its owner alone may read (mode 600), got {mode | 0o600:o}: chmod 600 {path}."
            )
        names: dict[bytes, str] = {}
        for number, line in enumerate(data.decode("utf8", "replace").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            name, _, key = line.strip().partition(" ")
            key = key.strip()
            if not _NAME.fullmatch(name) or len(key) < SHORTEST_KEY or " " in key:
                raise UserError(
                    f"Expected lines of a name (letters, digits, . _ -) and a key of {SHORTEST_KEY} characters or more "
                    f"in --keys {path}, got another line {number}."
                )
            if name in names.values() or _hash(key) in names:
                raise UserError(f"Expected each name and key once in --keys {path}, got line {number} again.")
            names[_hash(key)] = name
        if not names:
            raise UserError(f"Expected a name and a key in --keys {path}, got none.")
        return cls(names)

    def user(self, authorization: str | None) -> str:
        """Returns who asks; raises RefusalError for a header that names no key of these."""
        if not self.names:
            return ""
        kind, _, key = (authorization or "").partition(" ")
        name = self.names.get(_hash(key.strip())) if kind.lower() == "bearer" else None
        if name is None:
            raise RefusalError(
                401, "invalid_api_key", "Expected an API key of this service (Authorization: Bearer KEY)."
            )
        return name


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf8", "surrogatepass")).digest()


def require_keys_for(host: str, keys: Keys) -> None:
    """Raises UserError for a service that other machines reach and that asks for no key."""
    if not keys.names and host not in ("127.0.0.1", "localhost", "::1"):
        raise UserError(
            f"Expected --keys with --host {host}, which other machines reach, got none: anybody could ask in your "
            "name. Give a file of keys, or leave --host out."
        )
