"""A JSON document with an Ed25519 signature (RFC 8032) inside: who vouched for it, and that nothing changed since.

What is signed is the canonical JSON of the document without its `signature`. A signature proves that the holder of a
key made the document; whether that key is to be believed is mechanisms/keyring.py's question.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mechanisms.canonical_json import LARGEST, Json, canonical, parse_canonical
from mechanisms.curve_point import KEY_BYTES, require_sound
from mechanisms.errors import UserError

ALGORITHM = "Ed25519"
SIGNATURE = "signature"
SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class SignedDocument:
    """A document whose signature is right.

    whole: as its file says. body: without the signature. key: the 32 bytes of the public key that made it.
    """

    whole: dict[str, Any]
    body: dict[str, Any]
    key: bytes

    @property
    def fingerprint(self) -> str:
        """The short name of the key."""
        return fingerprint(self.key)


def fingerprint(key: bytes) -> str:
    """Returns the name of a public key of 32 bytes: `SHA256:` and the unpadded base64 of its sha256.

    >>> fingerprint(bytes(32))
    'SHA256:Zmh6rfhivXdsj8GLjp+OIAiXFIVu4jOzkCpZHQ1fKSU'
    """
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def raw_public_key(key: Ed25519PrivateKey) -> bytes:
    """Returns the 32 bytes of a private key's public key."""
    return key.public_key().public_bytes_raw()


def sign(body: Mapping[str, Json], key: Ed25519PrivateKey) -> dict[str, Json]:
    """Returns the document: the body and, added last, its signature.

    Raises UserError for a body that has a signature already, and for one that canonical JSON cannot hold.
    """
    if SIGNATURE in body:
        raise UserError(f"Expected a document without the key {SIGNATURE!r}, got one that is signed already.")
    value = key.sign(canonical(dict(body)))
    return {
        **body,
        SIGNATURE: {
            "algorithm": ALGORITHM,
            "key": base64.b64encode(raw_public_key(key)).decode(),
            "value": base64.b64encode(value).decode(),
        },
    }


def signed_bytes(document: Mapping[str, Json]) -> bytes:
    """Returns the file of a signed document: its canonical JSON and nothing else.

    Raises UserError for more than canonical_json.LARGEST bytes: no reader would take it.
    """
    data = canonical(dict(document))
    if len(data) > LARGEST:
        raise UserError(f"Expected a document of at most {LARGEST} bytes, got {len(data)}.")
    return data


def open_signed(data: bytes, what: str) -> SignedDocument:
    """Returns the document in a file's bytes, its signature verified; `what` names it in errors.

    Raises UserError as parse_canonical does and for a signature that is none, WrongSignatureError for one that is not
    of this content, and for one by a key under which a signature says nothing (mechanisms/curve_point.py).
    """
    whole = parse_canonical(data, what)
    body = {name: value for name, value in whole.items() if name != SIGNATURE}
    key, value = _parts(whole.get(SIGNATURE), what)
    _require_key(key, what)
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(value, canonical(body))
    except (InvalidSignature, ValueError):  # ValueError: bytes that are no point of the curve
        raise WrongSignatureError(
            f"Expected a {what} as the holder of the key {fingerprint(key)} signed it: it was changed since."
        ) from None
    return SignedDocument(whole, body, key)


class WrongSignatureError(UserError):
    """A document whose signature is not of its content."""


def _require_key(key: bytes, what: str) -> None:
    try:
        require_sound(key, "the signature's key to be an Ed25519 public key")
    except UserError as error:
        raise WrongSignatureError(f"Expected a {what} that the holder of a key signed. {error}") from None


def decode_base64(text: object, length: int, what: str) -> bytes:
    """Returns the bytes of their one base64 text; raises UserError for another text and for another length."""
    try:
        found = base64.b64decode(text.encode("ascii") if isinstance(text, str) else b"", validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if len(found) != length or base64.b64encode(found).decode() != text:  # unused bits set would be a second text
        raise UserError(f"Expected {what} in base64, {length} bytes, got {str(text)[:100]!r}.")
    return found


def _parts(signature: object, what: str) -> tuple[bytes, bytes]:
    if not isinstance(signature, dict) or set(signature) != {"algorithm", "key", "value"}:
        raise UserError(f"Expected a {what} with a signature of algorithm, key and value, got none: it is not signed.")
    if signature["algorithm"] != ALGORITHM:
        got = str(signature["algorithm"])[:100]
        raise UserError(f"Expected the signature's algorithm to be {ALGORITHM}, got {got!r}.")
    key = decode_base64(signature["key"], KEY_BYTES, "the signature's key")
    return key, decode_base64(signature["value"], SIGNATURE_BYTES, "the signature's value")
