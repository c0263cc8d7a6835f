"""Keys that sign certificates, and those that are no longer to be believed: what `del-audit key` does.

When a key is made, the log of its certification attempts begins.
"""

import base64
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from del_audit.certificate.attempts import begin_key
from mechanisms.errors import UserError
from mechanisms.keyring import (
    OwnKey,
    known_keys,
    load_private_key,
    new_key,
    own_key,
    public_key,
    revocations,
    revoked_folder,
)
from mechanisms.revocation import revoke
from mechanisms.signed_document import fingerprint, raw_public_key


def own_signing_key() -> OwnKey:
    """Returns the user's own key; the first use makes it. Raises UserError as own_key and begin_key do."""
    own = own_key()
    if own.made:
        begin_key(fingerprint(raw_public_key(own.private)))
    return own


def new_signing_key(path: Path) -> Ed25519PrivateKey:
    """Returns a new key, written to path and path.pub; raises UserError as new_key and begin_key do."""
    key = new_key(path)
    begin_key(fingerprint(raw_public_key(key)))
    return key


def key_new(out: Path) -> int:
    """Writes a new key and its public key beside it, prints the public one, and returns exit code 0."""
    key = new_signing_key(out)
    print(f"Written: {out} (private: keep it), {out}.pub (public: give it to whoever verifies)")
    return _print(raw_public_key(key))


def key_show(path: Path | None) -> int:
    """Prints the public key of a private one, the user's own where path is None, and returns exit code 0.

    Raises UserError as load_private_key and revocations do.
    """
    if path is None:
        own = own_signing_key()
        print(f"{'Made' if own.made else 'File'}: {own.path}")
        return _print(raw_public_key(own.private))
    return _print(raw_public_key(load_private_key(path)))


def key_revoke(given: str, reason: str, signer: Path | None) -> int:
    """Adds a key to a signed list of revoked keys, prints where it is, and returns exit code 0.

    given: the public key, as public_key takes it. signer: file of the private key that signs the list; None is the
    user's own. Raises UserError as public_key, revocation.revoke and revocations do.
    """
    key = public_key(given)
    private = own_signing_key().private if signer is None else load_private_key(signer)
    by = raw_public_key(private)
    if by != key and by not in known_keys():
        raise UserError(
            f"Expected --key to be a key whose lists count here, got {str(signer)!r}, {fingerprint(by)}: put its "
            f"public key into the folder {str(revoked_folder().with_name('trusted'))!r} first."
        )
    path, entry = revoke(revoked_folder(), key, reason, private, datetime.now(UTC))
    print(f"Key: {fingerprint(key)}, {entry}")
    print(f"List: {path} (give it to whoever trusts that key: it goes into their folder revoked/)")
    if signer is None and by == key:
        print(
            "This was your own key. Move key.pem away, and key.pem.pub into the folder trusted/, so that the list "
            "still counts; your next certificate is signed with a new key."
        )
    revocations()  # whatever is wrong with another list is said now, not when a certificate is needed
    return 0


def key_revoked() -> int:
    """Prints every revoked key, one a line, and returns exit code 0; raises UserError as revocations does."""
    found = sorted(revocations().values(), key=lambda one: (one.date, one.key))
    for entry in found:
        print(f"{fingerprint(entry.key)} {base64.b64encode(entry.key).decode()} {entry}")
    if not found:
        print(f"No key is revoked in {revoked_folder()}.")
    return 0


def _print(public: bytes) -> int:
    print(f"Public key: {base64.b64encode(public).decode()}")
    print(f"Fingerprint: {fingerprint(public)}")
    if (entry := revocations().get(public)) is not None:
        print(f"Revoked: {str(entry).removeprefix('revoked ')}")
    return 0
