"""Ed25519 against RFC 8032's own test vector; one text for a signature, and no change survives it."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from mechanisms.canonical_json import canonical
from mechanisms.errors import UserError
from mechanisms.signed_document import (
    WrongSignatureError,
    decode_base64,
    fingerprint,
    open_signed,
    raw_public_key,
    sign,
    signed_bytes,
)

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
BODY = {"b": [1, 2.5, "x"], "a": {"c": None}}
ORDER = 2**252 + 27742317777372353535851937790883648493


def test_the_key_is_the_standards():
    """RFC 8032, section 7.1, test 1."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert raw_public_key(Ed25519PrivateKey.from_private_bytes(secret)).hex() == public


def test_what_is_signed_is_the_canonical_body_and_nothing_else():
    document = sign(BODY, KEY)
    assert list(document) == ["b", "a", "signature"]
    value = base64.b64decode(document["signature"]["value"])
    Ed25519PublicKey.from_public_bytes(raw_public_key(KEY)).verify(value, b'{"a":{"c":null},"b":[1,2.5,"x"]}')
    assert signed_bytes(document) == canonical(document)
    opened = open_signed(signed_bytes(document), "card")
    assert (opened.body, opened.whole, opened.key) == (BODY, document, raw_public_key(KEY))
    assert opened.fingerprint == fingerprint(raw_public_key(KEY))


def test_a_document_is_signed_once():
    with pytest.raises(UserError, match="signed already"):
        sign(sign(BODY, KEY), KEY)


def test_the_content_cannot_change_under_its_signature():
    document = sign(BODY, KEY)
    for changed in (
        {**document, "b": [1, 2.5, "y"]},
        {**document, "d": 1},
        {k: document[k] for k in ("a", "signature")},
    ):
        with pytest.raises(WrongSignatureError, match="changed since"):
            open_signed(canonical(changed), "card")


def test_another_keys_name_cannot_be_put_in():
    document = sign(BODY, KEY)
    other = raw_public_key(Ed25519PrivateKey.from_private_bytes(bytes(32)))
    document["signature"]["key"] = base64.b64encode(other).decode()
    with pytest.raises(WrongSignatureError):
        open_signed(canonical(document), "card")


def _changed(**parts):
    document = sign(BODY, KEY)
    document["signature"] = {**document["signature"], **parts}
    return canonical(document)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (canonical(BODY), "it is not signed"),
        (canonical({**BODY, "signature": None}), "it is not signed"),
        (canonical({**BODY, "signature": {"algorithm": "Ed25519"}}), "it is not signed"),
        (_changed(more=1), "it is not signed"),
        (_changed(algorithm="none"), "to be Ed25519, got 'none'"),
        (_changed(algorithm=None), "to be Ed25519"),
        (_changed(key="AAAA"), "signature's key in base64, 32 bytes"),
        (_changed(key=5), "signature's key in base64"),
        (_changed(value=""), "signature's value in base64, 64 bytes"),
        (_changed(value="é" * 88), "signature's value in base64"),
        (json.dumps(sign(BODY, KEY)).encode(), "canonical"),
    ],
)
def test_what_is_no_signature_is_refused(data, said):
    with pytest.raises(UserError, match=said):
        open_signed(data, "card")


def test_a_signature_has_one_text_and_one_value():
    """Unused bits of base64, and s + order in place of s, would be other files with the same signature."""
    document = sign(BODY, KEY)
    value = document["signature"]["value"]
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = letters.index(value[-3])
    spare = value[:-3] + letters[last | 1 if not last & 1 else last ^ 1] + "=="
    assert base64.b64decode(spare) == base64.b64decode(value)
    with pytest.raises(UserError, match="base64"):
        open_signed(_changed(value=spare), "card")
    raw = base64.b64decode(value)
    larger = raw[:32] + (int.from_bytes(raw[32:], "little") + ORDER).to_bytes(32, "little")
    with pytest.raises(WrongSignatureError):
        open_signed(_changed(value=base64.b64encode(larger).decode()), "card")


@given(st.binary(max_size=80), st.integers(0, 80))
def test_base64_is_decoded_from_its_one_text(data, length):
    text = base64.b64encode(data).decode()
    if len(data) == length:
        assert decode_base64(text, length, "x") == data
    else:
        with pytest.raises(UserError, match=f"{length} bytes"):
            decode_base64(text, length, "x")
    with pytest.raises(UserError):
        decode_base64(text + "\n", len(data), "x")


def test_a_document_that_no_reader_would_take_is_not_written():
    with pytest.raises(UserError, match="at most 4194304 bytes"):
        signed_bytes(sign({"a": "x" * (4 << 20)}, KEY))
