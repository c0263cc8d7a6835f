"""No key of small order, no second encoding of a point and no bytes off the curve are a public key anywhere.

The points come from arithmetic on the curve that is written out here, not from the module's table.
"""

import base64

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mechanisms.canonical_json import canonical
from mechanisms.client_certificate import require_trusted
from mechanisms.curve_point import require_sound
from mechanisms.errors import UserError
from mechanisms.keyring import load_public_key, public_key, trusted_keys
from mechanisms.signed_document import SignedDocument, WrongSignatureError, open_signed, raw_public_key

P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
NEUTRAL = (0, 1)


def add(one, other):
    (x1, y1), (x2, y2) = one, other
    product = D * x1 * x2 * y1 * y2 % P
    return (
        (x1 * y2 + x2 * y1) * pow(1 + product, -1, P) % P,
        (y1 * y2 + x1 * x2) * pow(1 - product, -1, P) % P,
    )


def times(factor, point):
    total = NEUTRAL
    for bit in bin(factor)[2:]:
        total = add(total, total)
        if bit == "1":
            total = add(total, point)
    return total


def point_of(y):
    """Returns a point with this y, or None."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if x * x % P != square:
        x = x * pow(2, (P - 1) // 4, P) % P
    return (x, y) if x * x % P == square else None


def torsion():
    """Returns the eight points whose order divides 8: the multiples of ORDER times a point of the full order."""
    for y in range(2, 100):
        point = point_of(y)
        if point is None:
            continue
        small = times(ORDER, point)
        found = {times(factor, small) for factor in range(8)}
        if len(found) == 8:
            return found
    raise AssertionError("no generator of the eight points")


def encodings(point):
    """Returns every text of 32 bytes that decoders without a check take for a point."""
    x, y = point
    signs = {x & 1} | ({0, 1} if x == 0 else set())
    return {
        (value | sign << 255).to_bytes(32, "little") for value in (y, y + P) if value < 2**255 for sign in sorted(signs)
    }


SMALL = sorted({text for point in torsion() for text in encodings(point)})
NOT_CANONICAL = [
    (P + y | sign << 255).to_bytes(32, "little") for y in range(2, 19) if point_of(y) is not None for sign in (0, 1)
]
OFF_CURVE = [y.to_bytes(32, "little") for y in range(2, 40) if point_of(y) is None]
UNSOUND = [*SMALL, *NOT_CANONICAL, *OFF_CURVE]


def test_there_are_as_many_as_the_literature_counts():
    """Eight points; fourteen encodings with the second ones (Chalkias et al., 2020, table 1)."""
    assert len(torsion()) == 8
    assert len(SMALL) == 14
    assert {times(8, point) for point in torsion()} == {NEUTRAL}


@pytest.mark.parametrize("key", UNSOUND, ids=bytes.hex)
def test_such_a_key_is_refused_wherever_a_key_is_read(key, tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path))
    with pytest.raises(UserError, match="Expected an Ed25519 public key"):
        require_sound(key)
    for text in (key.hex(), base64.b64encode(key).decode()):
        with pytest.raises(UserError, match="Expected an Ed25519 public key"):
            public_key(text)
        with pytest.raises(UserError, match="Expected an Ed25519 public key"):
            trusted_keys([text])
    (tmp_path / "trusted").mkdir()
    pem = Ed25519PublicKey.from_public_bytes(key).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "trusted" / "a.pub").write_bytes(pem)
    with pytest.raises(UserError, match="Expected an Ed25519 public key"):
        load_public_key(tmp_path / "trusted" / "a.pub")
    assert trusted_keys() == frozenset()
    (tmp_path / "trusted" / "a.pub").rename(tmp_path / "key.pem.pub")
    with pytest.raises(UserError, match="Expected an Ed25519 public key"):
        trusted_keys()


def test_one_constant_signature_verifies_no_document():
    """The forgery: R the neutral element and s zero, for each key; the library takes many of them."""
    taken = 0
    for key in SMALL:
        for first in SMALL:
            value = first + bytes(32)
            body = {"verdict": "certified"}
            try:
                Ed25519PublicKey.from_public_bytes(key).verify(value, canonical(body))
                taken += 1
            except InvalidSignature:
                continue
            signature = {
                "algorithm": "Ed25519",
                "key": base64.b64encode(key).decode(),
                "value": base64.b64encode(value).decode(),
            }
            with pytest.raises(WrongSignatureError, match=r"small order|canonical encoding"):
                open_signed(canonical({**body, "signature": signature}), "certificate")
    assert taken  # otherwise this test says nothing


@pytest.mark.parametrize("key", SMALL, ids=bytes.hex)
def test_a_caller_who_trusts_such_a_key_is_not_followed(key):
    """SignedDocument is a plain class: whoever makes one by hand is asked again."""
    with pytest.raises(UserError, match=r"small order|canonical encoding"):
        require_trusted(SignedDocument({}, {}, key), {key})


def test_every_key_that_is_made_is_sound():
    for number in range(50):
        require_sound(raw_public_key(Ed25519PrivateKey.from_private_bytes(bytes([number] * 32))))
    with pytest.raises(UserError, match="31 bytes in place of 32"):
        require_sound(bytes(31))
