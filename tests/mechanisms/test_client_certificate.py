"""A client's certificate: nothing is drawn unless it is trusted, in date, certified, and of this very client."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mechanisms.canonical_json import canonical
from mechanisms.client_bundle import load_client, save_client_bundle
from mechanisms.client_certificate import FORMAT, UNCERTIFIED, date
from mechanisms.encoder import Encoder
from mechanisms.encoder_file import EncoderCard
from mechanisms.errors import UserError
from mechanisms.keyring import own_key
from mechanisms.signed_document import open_signed, raw_public_key, sign, signed_bytes
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenizer_sha256

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
CARD = EncoderCard("tiny", "ab" * 32, SPEC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {raw_public_key(KEY)}
NOW = datetime(2026, 11, 24, tzinfo=UTC)


class CountedWords:
    """A source that counts what is drawn."""

    def __init__(self):
        self.drawn = 0

    def words(self, count):
        self.drawn += count
        return np.zeros(count, dtype=np.uint32)


@pytest.fixture(scope="module")
def encoder():
    return Encoder(np.random.default_rng(0).integers(0, 255, (384, 6), dtype=np.uint8), SPEC.clip)


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_lm_folder)


@pytest.fixture
def body(encoder, tokenizer):
    return {
        "format": FORMAT,
        "verdict": "certified",
        "made": "2026-11-01T00:00:00+00:00",
        "expires": "2027-11-01T00:00:00+00:00",
        "spec": SPEC.to_dict(),
        "hashes": {
            "spec": SPEC.fingerprint.hex(),
            "encoder": encoder.sha256,
            "tokenizer": tokenizer_sha256(tokenizer),
            "model": "ab" * 32,
        },
        "configuration": {"policy": {"epsilon": [{"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60}]}},
    }


@pytest.fixture
def folder(tmp_path, encoder, tokenizer):
    save_client_bundle(tmp_path / "client", encoder, CARD, tokenizer, 60)
    return tmp_path / "client"


@pytest.fixture
def given(tmp_path):
    def write(body, key=KEY):
        path = tmp_path / "certificate.json"
        path.write_bytes(signed_bytes(sign(body, key)))
        return path

    return write


def test_a_certificate_of_this_client_lets_it_send(folder, given, body):
    client = load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)
    assert len(client.release("The pain was gone.")) > 16
    opened = open_signed(given(body).read_bytes(), "certificate")
    assert load_client(folder, certificate=opened, trusted=TRUSTED, at=NOW).spec == SPEC


def test_the_bundles_own_certificate_is_used(tmp_path, encoder, tokenizer, body):
    data = signed_bytes(sign(body, KEY))
    save_client_bundle(tmp_path / "vouched", encoder, CARD, tokenizer, 60, data, TRUSTED)
    assert (tmp_path / "vouched" / "certificate.json").read_bytes() == data
    assert load_client(tmp_path / "vouched", trusted=TRUSTED, at=NOW).spec == SPEC
    (tmp_path / "vouched" / "certificate.json").write_bytes(data.replace(b"certified", b"Certified"))
    with pytest.raises(UserError, match="changed since"):
        load_client(tmp_path / "vouched", trusted=TRUSTED, at=NOW)


def test_a_certificate_of_another_client_is_not_put_into_the_folder(tmp_path, encoder, tokenizer, body):
    body["hashes"]["encoder"] = "0" * 64
    with pytest.raises(UserError, match="not this client's"):
        save_client_bundle(tmp_path / "x", encoder, CARD, tokenizer, 60, signed_bytes(sign(body, KEY)), TRUSTED)
    assert not list(tmp_path.iterdir())


def test_no_certificate_no_client(folder):
    with pytest.raises(UserError, match=r"Expected a certificate: certificate\.json in"):
        load_client(folder)
    assert load_client(folder, certificate=UNCERTIFIED).release("a")


def test_the_users_own_key_is_trusted_and_no_stranger(folder, given, body, tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    with pytest.raises(UserError, match=r"trusted key \(none\), got one signed by SHA256:"):
        load_client(folder, certificate=given(body), at=NOW)
    assert load_client(folder, certificate=given(body, own_key().private), at=NOW)
    with pytest.raises(UserError, match="trusted key"):
        load_client(folder, certificate=given(body), at=NOW)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("format", "del-audit certificate 1", "format"),
        ("verdict", "refused", "verdict certified, got 'refused'"),
        ("verdict", "inconclusive", "verdict certified, got 'inconclusive'"),
        ("verdict", None, "verdict certified"),
        ("expires", "2026-11-23T23:59:59+00:00", "not expired, got one that expired on 2026-11-23"),
        ("expires", "2026-11-24T00:00:00+00:00", "not expired"),
        ("expires", "2027-11-24T00:00:00", "expires to be an ISO date and time with a zone"),
        ("expires", None, "expires to be an ISO date"),
        ("made", "2026-11-25T00:00:00+00:00", "made before now"),
        ("spec.scale", 0.2, "it is not this client's"),
        ("spec.dim", 7, "it is not this client's"),
        ("spec.scale", 0.04, "scale > clip"),
        ("spec.more", 1, "lacks or misuses"),
        ("spec", None, "lacks or misuses"),
        ("hashes.spec", "0" * 64, "it is not this client's"),
        ("hashes.encoder", "0" * 64, "of the encoder"),
        ("hashes.tokenizer", "0" * 64, "of the tokenizer"),
        ("hashes.model", "0" * 64, "of the model"),
        ("hashes.model", None, "of the model"),
        ("hashes", [], "lacks or misuses"),
        ("configuration", {}, "lacks or misuses"),
        ("configuration.policy.epsilon", [{"unit": "prompt"}], "lacks or misuses"),
    ],
)
def test_whatever_does_not_fit_sends_nothing(folder, given, body, path, value, said):
    *steps, last = path.split(".")
    place = body
    for step in steps:
        place = place[step]
    place[last] = value
    source = CountedWords()
    with pytest.raises(UserError, match=said):
        load_client(folder, source, certificate=given(body), trusted=TRUSTED, at=NOW)
    assert source.drawn == 0


def test_a_session_limit_is_an_allowance(folder, given, body):
    body["configuration"]["policy"]["epsilon"] += [
        {"unit": "session", "tokens": 9, "delta": 1e-5, "at_most": 600},
        {"unit": "session", "tokens": 7, "delta": 1e-6, "at_most": 600},
    ]
    source = CountedWords()
    client = load_client(folder, source, certificate=given(body), trusted=TRUSTED, at=NOW)
    client.release_tokens([1, 2, 3])
    client.release_tokens([1, 2, 3])
    assert client.charged == 6  # the same prompt again is charged again
    drawn = source.drawn
    with pytest.raises(UserError, match="at most 1 tokens, the rest of the session's 7, got 2"):
        client.release_tokens([1, 2])
    assert (client.charged, source.drawn) == (6, drawn)
    client.release_tokens([1])
    with pytest.raises(UserError, match="at most 0 tokens"):
        client.release_tokens([1])
    assert client.charged == 7


def test_a_prompt_limit_is_the_longest_prompt(folder, given, body):
    body["configuration"]["policy"]["epsilon"].append({"unit": "prompt", "tokens": 5, "delta": 1e-5, "at_most": 600})
    source = CountedWords()
    client = load_client(folder, source, certificate=given(body), trusted=TRUSTED, at=NOW)
    with pytest.raises(UserError, match="at most 5 tokens, the certificate's limit, got 6"):
        client.release_tokens([1] * 6)
    assert (client.charged, source.drawn) == (0, 0)
    client.release_tokens([1] * 5)


def test_a_client_stops_when_its_certificate_expires(folder, given, body):
    """It was loaded in time; the limit holds at each release."""
    now = datetime.now(UTC)
    body.update(made=(now - timedelta(days=2)).isoformat(), expires=(now - timedelta(days=1)).isoformat())
    source = CountedWords()
    client = load_client(folder, source, certificate=given(body), trusted=TRUSTED, at=now - timedelta(days=1.5))
    with pytest.raises(UserError, match="not expired"):
        client.release("a")
    assert (client.charged, source.drawn) == (0, 0)


def test_what_was_not_sent_is_not_charged(folder):
    client = load_client(folder, certificate=UNCERTIFIED)
    for tokens in ([], [384], [1] * 61):
        with pytest.raises(UserError):
            client.release_tokens(tokens)
    assert client.charged == 0


def test_threads_cannot_spend_the_same_allowance(folder, given, body):
    from concurrent.futures import ThreadPoolExecutor

    body["configuration"]["policy"]["epsilon"] = [{"unit": "session", "tokens": 100, "delta": 1e-5, "at_most": 600}]
    client = load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)

    def send(_):
        try:
            return len(client.release_tokens([1, 2, 3])) > 0
        except UserError:
            return False

    with ThreadPoolExecutor(8) as pool:
        sent = sum(pool.map(send, range(200)))
    assert (sent, client.charged) == (33, 99)


@pytest.mark.parametrize("text", ["", "today", "2026-11-24", 5, None, [], "9" * 10_000, "0001-01-01T00:00:00+23:59"])
def test_a_date_states_its_zone(text):
    with pytest.raises(UserError, match="ISO date and time with a zone"):
        date(text, "made")
    assert date("2026-11-24T01:00:00+01:00", "made") == NOW


def test_a_certificate_that_is_not_canonical_is_refused(folder, given, body):
    path = given(body)
    path.write_bytes(canonical(body))
    with pytest.raises(UserError, match="not signed"):
        load_client(folder, certificate=path, trusted=TRUSTED, at=NOW)
