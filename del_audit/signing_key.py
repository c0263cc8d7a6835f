"""Keys that sign certificates: when one is made, the log of its certification attempts begins."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from del_audit.attempts import begin_key
from mechanisms.keyring import OwnKey, new_key, own_key
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
