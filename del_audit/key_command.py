"""`del-audit key`: the keys that certificates are signed with."""

import base64
from pathlib import Path

from mechanisms.keyring import load_private_key, new_key, own_key
from mechanisms.signed_document import fingerprint, raw_public_key


def key_new(out: Path) -> int:
    """Writes a new key and its public key beside it, prints the public one, and returns exit code 0."""
    key = new_key(out)
    print(f"Written: {out} (private: keep it), {out}.pub (public: give it to whoever verifies)")
    return _print(raw_public_key(key))


def key_show(path: Path | None) -> int:
    """Prints the public key of a private one, the user's own where path is None, and returns exit code 0."""
    if path is None:
        own = own_key()
        print(f"{'Made' if own.made else 'File'}: {own.path}")
        return _print(raw_public_key(own.private))
    return _print(raw_public_key(load_private_key(path)))


def _print(public: bytes) -> int:
    print(f"Public key: {base64.b64encode(public).decode()}")
    print(f"Fingerprint: {fingerprint(public)}")
    return 0
