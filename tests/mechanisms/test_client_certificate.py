"""A client's certificate: nothing is drawn unless it is trusted, in date, certified, and of this very client."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mechanisms.canonical_json import canonical
from mechanisms.client import CodeReleaser
from mechanisms.client_bundle import load_client, save_client_bundle
from mechanisms.client_certificate import FORMAT, UNCERTIFIED, date
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.keyring import own_key, revoked_folder
from mechanisms.ledger import Ledger
from mechanisms.mechanism import ModelName
from mechanisms.randomness import SimulatedRandomness, SystemRandomness
from mechanisms.revocation import revoke
from mechanisms.signed_document import open_signed, raw_public_key, sign, signed_bytes
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenizer_sha256

SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
MODEL = ModelName("tiny", "ab" * 32)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {raw_public_key(KEY)}
WORDS = SystemRandomness.words
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    """Each test has a ledger of its own."""
    folder = tmp_path_factory.mktemp("records")
    folder.chmod(0o700)
    monkeypatch.setenv("DEL_AUDIT_STATE", str(folder))


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
        "configuration": {
            "policy": {
                "assurance": "full",
                "sends": 1,
                "prompt_tokens": 48,
                "session_days": 30,
                "epsilon": [{"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60}],
            }
        },
    }


@pytest.fixture
def folder(tmp_path, encoder, tokenizer):
    save_client_bundle(tmp_path / "client", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60)
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


@pytest.mark.parametrize("number", [3, 4, 5])
def test_a_certificate_of_a_format_before_still_lets_it_send(folder, given, body, number):
    body["format"] = f"del-audit certificate {number}"
    assert load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW).spec == SPEC


def test_the_bundles_own_certificate_is_used(tmp_path, encoder, tokenizer, body):
    data = signed_bytes(sign(body, KEY))
    save_client_bundle(tmp_path / "vouched", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60, data, TRUSTED)
    assert (tmp_path / "vouched" / "certificate.json").read_bytes() == data
    assert load_client(tmp_path / "vouched", trusted=TRUSTED, at=NOW).spec == SPEC
    (tmp_path / "vouched" / "certificate.json").write_bytes(data.replace(b"certified", b"Certified"))
    with pytest.raises(UserError, match="changed since"):
        load_client(tmp_path / "vouched", trusted=TRUSTED, at=NOW)


def test_a_certificate_of_another_client_is_not_put_into_the_folder(tmp_path, encoder, tokenizer, body):
    body["hashes"]["encoder"] = "0" * 64
    data = signed_bytes(sign(body, KEY))
    with pytest.raises(UserError, match="not this client's"):
        save_client_bundle(tmp_path / "x", CodeReleaser(encoder, SPEC), MODEL, tokenizer, 60, data, TRUSTED)
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
        ("configuration.policy.epsilon", [{"unit": "letter", "tokens": 1}], "a unit of token, phrase, prompt, session"),
        ("configuration.policy.epsilon", None, "lacks or misuses"),
        ("format", "del-audit certificate 2", r"older rules.*Certify again"),
        ("format", "del-audit certificate 7", "format"),
        ("configuration.policy.assurance", "quick", "assurance full, got a quick one"),
        ("configuration.policy.assurance", "none", "assurance full or quick"),
        ("configuration.policy.assurance", None, "assurance full or quick"),
        ("assurance", "quick", "assurance full, got a quick one"),
        *(
            (f"configuration.policy.{name}", value, f"Expected {name} of the certificate's policy")
            for name in ("sends", "prompt_tokens", "session_days")
            for value in (None, 0, -1, 1.5, True, "1")
        ),
        ("configuration.policy.session_days", 36_501, r"session_days of the certificate's policy in 1\.\.36500"),
    ],
)
def test_whatever_does_not_fit_sends_nothing(folder, given, body, path, value, said):
    *steps, last = path.split(".")
    place = body
    for step in steps:
        place = place[step]
    place[last] = value
    with pytest.raises(UserError, match=said):
        load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)


@pytest.mark.parametrize("name", ["assurance", "sends", "prompt_tokens", "session_days", "epsilon"])
def test_a_limit_that_is_not_stated_is_not_without_end(folder, given, body, name):
    del body["configuration"]["policy"][name]
    with pytest.raises(UserError, match=f"lacks or misuses '{name}'"):
        load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)


def test_two_clocks_may_be_five_minutes_apart(folder, given, body):
    for later, said in ((timedelta(minutes=5), None), (timedelta(minutes=5, seconds=1), "made before now")):
        body["made"] = (NOW + later).isoformat()
        if said is None:
            assert load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)
        else:
            with pytest.raises(UserError, match=said):
                load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)


def test_a_quick_certificate_is_for_whoever_says_so(folder, given, body):
    body["configuration"]["policy"]["assurance"] = "quick"
    assert load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW, accept_quick=True)


class Asked:
    """A requirement that notes what it was asked."""

    def __init__(self, accepts_quick=False, said=None):
        self.accepts_quick, self.said, self.bodies = accepts_quick, said, []

    def require_met(self, body):
        self.bodies.append(body)
        if self.said is not None:
            raise UserError(self.said)


def test_a_requirement_is_asked_last_and_decides_about_quick(folder, given, body):
    options = {"trusted": TRUSTED, "at": NOW}
    asked = Asked()
    load_client(folder, certificate=given(body), require=asked, **options)
    assert asked.bodies == [body]
    with pytest.raises(UserError, match="not enough"):
        load_client(folder, certificate=given(body), require=Asked(said="not enough"), **options)
    body["configuration"]["policy"]["assurance"] = "quick"
    assert load_client(folder, certificate=given(body), require=Asked(accepts_quick=True), **options)
    refusing = Asked()
    with pytest.raises(UserError, match="got a quick one"):
        load_client(folder, certificate=given(body), require=refusing, accept_quick=True, **options)
    body["configuration"]["policy"]["assurance"] = "full"
    body["hashes"]["model"] = "0" * 64
    with pytest.raises(UserError, match="not this client's"):
        load_client(folder, certificate=given(body), require=refusing, **options)
    assert refusing.bodies == []


@pytest.mark.parametrize("option", [{"accept_quick": True}, {"require": Asked()}])
def test_what_is_asked_of_a_certificate_goes_with_one(folder, option):
    with pytest.raises(UserError, match="beside a certificate only"):
        load_client(folder, certificate=UNCERTIFIED, **option)


def test_a_certified_client_takes_no_source(folder, given, body):
    """A seed would repeat the noise, which no certificate covers."""
    for source in (SimulatedRandomness(3), SystemRandomness()):
        with pytest.raises(UserError, match="Expected no source beside a certificate"):
            load_client(folder, source, certificate=given(body), trusted=TRUSTED, at=NOW)


def test_a_resend_is_refused_whatever_client_or_folder_sends_it(folder, given, body, tmp_path):
    """The audit's finding: a client with the certificate's terms sent the same words 1,000 times."""
    import shutil

    text = "The pain was gone within a week, but my sister could not sleep while she was on it."
    options = {"certificate": given(body), "trusted": TRUSTED, "at": NOW}
    load_client(folder, **options).release(text)
    shutil.copytree(folder, tmp_path / "copy")
    for again in (folder, tmp_path / "copy"):
        with pytest.raises(UserError, match="no 8 tokens in a row were sent 1 times before"):
            load_client(again, **options).release(text.replace(".", "!"))
    body["configuration"]["policy"]["sends"] = 2
    options["certificate"] = given(body)
    load_client(folder, **options).release(text)
    with pytest.raises(UserError, match="were sent 2 times before"):
        load_client(folder, **options).release(text)


def test_what_is_sent_without_a_certificate_is_entered_and_a_simulation_is_not(folder, given, body):
    text = "The pain was gone within a week."
    load_client(folder, SimulatedRandomness(0), certificate=UNCERTIFIED).release(text)
    assert Ledger.of_user().summary(timedelta(days=1)).spent == ()
    for source in (None, SystemRandomness()):
        load_client(folder, source, certificate=UNCERTIFIED).release(text)
    assert Ledger.of_user().summary(timedelta(days=1)).spent[0].releases == 2
    with pytest.raises(UserError, match="sent 2 times"):
        load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW).release(text)


def test_a_certificate_by_a_key_that_was_revoked_is_refused(folder, given, body, tmp_path, monkeypatch):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    options = {"certificate": given(body), "trusted": TRUSTED, "at": NOW}
    assert load_client(folder, **options)
    revoke(revoked_folder(), raw_public_key(KEY), "it leaked", own_key().private, NOW)
    with pytest.raises(UserError, match=r"not revoked, got SHA256:.*revoked on 2026-11-24 by SHA256:.*: it leaked"):
        load_client(folder, **options)
    for file in (tmp_path / "config" / "revoked").iterdir():
        file.write_bytes(b"{}")
    with pytest.raises(UserError, match="signed list of revoked keys"):
        load_client(folder, **options)


def test_a_session_limit_is_an_allowance(folder, given, body, monkeypatch):
    body["configuration"]["policy"]["epsilon"] += [
        {"unit": "session", "tokens": 9, "delta": 1e-5, "at_most": 600},
        {"unit": "session", "tokens": 7, "delta": 1e-6, "at_most": 600},
    ]
    client = load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)
    client.release_tokens([1, 2, 3])
    client.release_tokens([1, 2, 3])
    assert client.charged == 6  # the same prompt again is charged again
    monkeypatch.setattr(SystemRandomness, "words", lambda *_: pytest.fail("something was drawn"))
    with pytest.raises(UserError, match="at most 1 tokens, the rest of the session's 7 in 30 days, got 2"):
        client.release_tokens([1, 2])
    assert client.charged == 6
    monkeypatch.setattr(SystemRandomness, "words", WORDS)
    client.release_tokens([1])
    with pytest.raises(UserError, match="at most 0 tokens"):
        client.release_tokens([1])
    assert client.charged == 7


def test_a_session_of_a_hundred_years_is_the_longest(folder, given, body):
    body["configuration"]["policy"]["session_days"] = 36_500
    assert load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW).release("a")


def test_a_prompt_limit_is_the_longest_prompt(folder, given, body):
    body["configuration"]["policy"]["epsilon"].append({"unit": "prompt", "tokens": 5, "delta": 1e-5, "at_most": 600})
    assert load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)._terms.prompt_tokens == 5
    body["configuration"]["policy"].update(prompt_tokens=5, epsilon=[])
    client = load_client(folder, certificate=given(body), trusted=TRUSTED, at=NOW)
    with pytest.raises(UserError, match="at most 5 tokens, the certificate's limit, got 6"):
        client.release_tokens([1] * 6)
    assert client.charged == 0
    client.release_tokens([1] * 5)


def test_a_client_stops_when_its_certificate_expires(folder, given, body):
    """It was loaded in time; the limit holds at each release."""
    now = datetime.now(UTC)
    body.update(made=(now - timedelta(days=2)).isoformat(), expires=(now - timedelta(days=1)).isoformat())
    client = load_client(folder, certificate=given(body), trusted=TRUSTED, at=now - timedelta(days=1.5))
    with pytest.raises(UserError, match="not expired"):
        client.release("a")
    assert client.charged == 0


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
