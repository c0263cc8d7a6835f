"""Keys of certificates: the user's own, and those of others that the user decided to trust. Trust is never implied.

The folder is $DEL_AUDIT_CONFIG, else $XDG_CONFIG_HOME/del-audit, else ~/.config/del-audit. In it: key.pem, the user's
own private key; trusted/*.pub, public keys of others; revoked/*.json, lists of keys that are trusted no longer.
"""

import base64
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from mechanisms.curve_point import KEY_BYTES, require_sound
from mechanisms.errors import UserError
from mechanisms.files import PRIVATE, write_file
from mechanisms.home_folder import home_folder
from mechanisms.revocation import Revocation, read_revocations
from mechanisms.signed_document import decode_base64, fingerprint, raw_public_key
from mechanisms.small_file import read_small
from mechanisms.user_path import new_path

LARGEST_KEY = 1 << 14
"""Bytes of a key's file."""
PASSPHRASE = "DEL_AUDIT_KEY_PASSPHRASE"
"""The environment's variable that opens an encrypted private key."""


@dataclass(frozen=True, slots=True)
class OwnKey:
    """The user's private key. path: of its file. made: whether it was made just now."""

    private: Ed25519PrivateKey
    path: Path
    made: bool


def config_folder() -> Path:
    """Returns the folder of the user's keys, which need not exist; raises UserError where there is no home folder."""
    if own := os.environ.get("DEL_AUDIT_CONFIG"):
        return Path(own)
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else home_folder("your keys", "DEL_AUDIT_CONFIG") / ".config") / "del-audit"


def new_key(path: Path) -> Ed25519PrivateKey:
    """Returns a new private key, written to path (PKCS8 PEM, mode 0600) with its public key in path.pub beside it.

    The file is encrypted where the variable DEL_AUDIT_KEY_PASSPHRASE is set.
    Raises UserError for a file that exists, since no key is ever overwritten, and as new_path does.
    """
    new_path(str(path), "a key file")
    key, public = Ed25519PrivateKey.generate(), path.with_name(path.name + ".pub")
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption())
    if public.exists():
        raise UserError(f"Expected a key file that does not exist yet, got {str(public)!r}.")
    write_file(path, private, mode=PRIVATE, new=True, what="a key file")
    try:
        write_file(public, public_pem(key), new=True, what="a key file")
    except BaseException:
        path.unlink()
        raise
    return key


def own_key() -> OwnKey:
    """Returns the user's own key; the first use makes it. Raises UserError as new_key and load_private_key do."""
    path = config_folder() / "key.pem"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Expected a folder for keys, got {str(path.parent)!r}: {error.strerror}.") from None
    if not path.exists():
        try:
            return OwnKey(new_key(path), path, True)
        except UserError:
            if not path.exists():  # otherwise another process made it in between
                raise
    return OwnKey(load_private_key(path), path, False)


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Returns the Ed25519 key in a PEM file; DEL_AUDIT_KEY_PASSPHRASE opens an encrypted one.

    Raises UserError for a file that is none or that others may read, and where the passphrase is missing or wrong.
    """
    data = read_small(path, LARGEST_KEY, "private key")
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UserError(f"Expected a private key that its owner alone may read (mode 600), got {mode:o}: {path}.")
    passphrase = os.environ.get(PASSPHRASE)
    encrypted = b"ENCRYPTED" in data
    if encrypted and not passphrase:
        raise UserError(f"Expected the passphrase of {str(path)!r} in the variable {PASSPHRASE}, got none.")
    try:
        key = load_pem_private_key(data, passphrase.encode() if encrypted and passphrase else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        why = ", or another passphrase" if encrypted else ""
        raise UserError(f"Expected an Ed25519 private key in PEM, got {str(path)!r}{why}.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise UserError(f"Expected an Ed25519 private key, got another kind of key in {str(path)!r}.")
    return key


def public_key(given: str) -> bytes:
    """Returns the 32 bytes of a public key: a PEM file's, or text in base64 or hex.

    Raises UserError for what is none of these, and for a key that curve_point.require_sound refuses.
    """
    text = given.strip()
    if len(text) == 2 * KEY_BYTES and all(c in "0123456789abcdefABCDEF" for c in text):
        key = bytes.fromhex(text)
    elif len(text) == len(base64.b64encode(bytes(KEY_BYTES))) and text.endswith("="):
        key = decode_base64(text, KEY_BYTES, "a public key")
    else:
        return load_public_key(Path(given))
    require_sound(key)
    return key


def load_public_key(path: Path) -> bytes:
    """Returns the 32 bytes of the Ed25519 public key in a PEM file.

    Raises UserError for a file that is none, and for a key that curve_point.require_sound refuses.
    """
    data = read_small(path, LARGEST_KEY, "public key")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(f"Expected an Ed25519 public key in PEM, got {str(path)!r}.") from None
    if not isinstance(key, Ed25519PublicKey):
        raise UserError(f"Expected an Ed25519 public key, got another kind of key in {str(path)!r}.")
    raw = key.public_bytes_raw()
    require_sound(raw, f"an Ed25519 public key in {str(path)!r}")
    return raw


def public_pem(key: Ed25519PrivateKey) -> bytes:
    """Returns the public key of a private one, in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def trusted_keys(given: Iterable[str] = ()) -> frozenset[bytes]:
    """Returns the public keys that are trusted: those given, or else the user's own and those in its trusted folder.

    given: as public_key takes them; where there is one, the folder does not count. A revoked key is never among them,
    given or not. Raises UserError for a given key that cannot be read, and as known_keys and revocations do.
    """
    chosen = frozenset(public_key(each) for each in given)
    return (chosen or known_keys()) - revocations().keys()


def known_keys() -> frozenset[bytes]:
    """Returns the user's own public key and those in its trusted folder, revoked ones as well.

    A file of the trusted folder that holds no key is not trusted, and named on stderr. Raises UserError for an own key
    that cannot be read.
    """
    folder = config_folder()
    found: set[bytes] = set()
    for path in sorted((folder / "trusted").glob("*.pub")):
        try:
            found.add(load_public_key(path))
        except UserError as error:
            _say_once(
                f"del-audit: {' '.join(str(error).split())} It is not trusted: delete {str(path)!r} or replace it."
            )
    if (own := folder / "key.pem.pub").exists():
        found.add(load_public_key(own))
    elif (folder / "key.pem").exists():
        found.add(raw_public_key(load_private_key(folder / "key.pem")))
    return frozenset(found)


def revoked_folder() -> Path:
    """Returns the folder of the lists of revoked keys, which need not exist."""
    return config_folder() / "revoked"


def revocations() -> dict[bytes, Revocation]:
    """Returns the revoked keys that the user's folder revoked/ lists; raises UserError as read_revocations does."""
    return read_revocations(revoked_folder(), known_keys)


def require_not_revoked(key: bytes) -> None:
    """Raises UserError, which says when, by whom and why, where a public key of 32 bytes was revoked.

    Raises it also where the lists of revoked keys cannot be read or believed.
    """
    if (found := revocations().get(key)) is not None:
        raise UserError(
            f"Expected a key that was not revoked, got {fingerprint(key)}, {found}. Certify again with another key "
            "(`del-audit certify CONFIG --key KEY`), and trust that one."
        )


@cache
def _say_once(line: str) -> None:
    """Prints a line on stderr, the first time: one command asks for the keys more than once."""
    print(line, file=sys.stderr)


def _encryption() -> KeySerializationEncryption:
    passphrase = os.environ.get(PASSPHRASE)
    return BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
