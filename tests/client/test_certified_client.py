"""`del-audit bundle --certificate` and `send --certificate`: a message only from a client that was certified."""

import copy
import runpy
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attacks.registry import ATTACKS
from del_audit.cli import main
from mechanisms.client import CodeReleaser
from mechanisms.client_bundle import save_client_bundle
from mechanisms.encoder import Encoder
from mechanisms.errors import UserError
from mechanisms.mechanism import ModelName
from mechanisms.quantizer import StochasticQuantizer
from mechanisms.signed_document import raw_public_key, sign, signed_bytes
from mechanisms.spec import QuantizerSpec
from mechanisms.tokens import tokenizer_sha256

FIXTURES = Path(__file__).parents[1] / "certificate" / "conftest.py"
pytestmark = pytest.mark.usefixtures("attacks_of_then")
SPEC = QuantizerSpec(bits=4, dim=6, clip=0.05, scale=0.1)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = raw_public_key(KEY).hex()
PROMPT = "The pain was gone within a week, but my sister could not sleep."


@pytest.fixture(autouse=True)
def state(tmp_path_factory, monkeypatch):
    """Each test has a ledger of its own."""
    folder = tmp_path_factory.mktemp("records")
    folder.chmod(0o700)
    monkeypatch.setenv("DEL_AUDIT_STATE", str(folder))
    return folder


@pytest.fixture(scope="module")
def tokenizer(tiny_lm_folder):
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tiny_lm_folder / "tokenizer.json"))


@pytest.fixture(scope="module")
def encoder():
    return Encoder.of(np.random.default_rng(0).uniform(-0.05, 0.05, (384, 6)), 0.05)


@pytest.fixture
def any_schema(monkeypatch):
    """What is asked beside the schema is tested on a certificate that keeps to less of it."""
    for place in ("del_audit.certificate.schema.require_schema", "del_audit.client.bundle.require_schema"):
        monkeypatch.setattr(place, lambda _: None)


@pytest.fixture
def folder(tmp_path, encoder, tokenizer):
    save_client_bundle(tmp_path / "client", CodeReleaser(encoder, SPEC), ModelName("tiny", "ab" * 32), tokenizer, 60)
    return tmp_path / "client"


@pytest.fixture
def body(encoder, tokenizer):
    """Returns the certificate of the certificate's own tests as one of this client, in date whenever this runs."""
    certificate = copy.deepcopy(runpy.run_path(str(FIXTURES))["CERTIFICATE"])
    found = {key: value for key, value in certificate.items() if key != "signature"}
    now = datetime.now(UTC).replace(microsecond=0)
    found.update(made=(now - timedelta(days=1)).isoformat(), expires=(now + timedelta(days=1)).isoformat())
    found["spec"] = SPEC.to_dict()
    found["hashes"].update(
        spec=SPEC.fingerprint.hex(), encoder=encoder.sha256, tokenizer=tokenizer_sha256(tokenizer), model="ab" * 32
    )
    return found


@pytest.fixture
def certificate(tmp_path):
    def write(body):
        (tmp_path / "c.json").write_bytes(signed_bytes(sign(body, KEY)))
        return str(tmp_path / "c.json")

    return write


def send(folder, *options):
    return main(["send", str(folder), "--text", PROMPT, "--out", str(folder.parent / "message"), *options])


@pytest.mark.usefixtures("any_schema")
def test_a_certified_client_sends(folder, body, certificate, capsys):
    assert send(folder, "--certificate", certificate(body), "--trust", PUBLIC) == 0
    assert (folder.parent / "message").stat().st_size > 16
    assert "tokens" in capsys.readouterr().out


@pytest.mark.usefixtures("any_schema")
@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        (lambda body: None, [], "Expected a certificate: certificate.json in"),
        (lambda body: None, ["--certificate"], "trusted key"),
        (lambda body: body.update(verdict="refused"), ["--certificate", "--trust"], "verdict certified"),
        (lambda body: body.update(expires="2020-01-01T00:00:00+00:00"), ["--certificate", "--trust"], "expired"),
        (lambda body: body["hashes"].update(encoder="0" * 64), ["--certificate", "--trust"], "not this client's"),
        (lambda body: body.update(format="del-audit certificate 2"), ["--certificate", "--trust"], "older rules"),
        (lambda body: body["configuration"]["policy"].pop("sends"), ["--certificate", "--trust"], "lacks or misuses"),
        (
            lambda body: body["configuration"]["policy"].update(assurance="quick"),
            ["--certificate", "--trust"],
            "got a quick one",
        ),
        (
            lambda body: body["requires"].remove(body["inversion"]["attacks"].pop(4)["key"]),
            ["--certificate", "--trust"],
            "Expected every attack of today's full assurance",
        ),
    ],
)
def test_any_other_sends_nothing(folder, body, certificate, capsys, monkeypatch, change, options, said):
    def draw(*_):
        raise AssertionError("something was drawn")

    monkeypatch.setattr(StochasticQuantizer, "sample", draw)
    change(body)
    values = {"--certificate": certificate(body), "--trust": PUBLIC}
    assert send(folder, *(part for option in options for part in (option, values[option]))) == 2
    assert said in capsys.readouterr().err
    assert not (folder.parent / "message").exists()


@pytest.mark.usefixtures("any_schema")
def test_an_attack_that_became_stronger_stops_the_client(folder, body, certificate, capsys, monkeypatch):
    monkeypatch.setitem(ATTACKS, "map", replace(ATTACKS["map"], version=ATTACKS["map"].version + 1))
    assert send(folder, "--certificate", certificate(body), "--trust", PUBLIC) == 2
    assert "attack map has become stronger since" in capsys.readouterr().err


def test_uncertified_must_be_said_and_said_alone(folder, body, certificate, capsys):
    assert send(folder, "--uncertified", "--certificate", certificate(body)) == 2
    assert "--uncertified without --certificate" in capsys.readouterr().err
    for more in (["--accept-quick"], ["--require", "policy.yaml"], ["--trust", PUBLIC]):
        assert send(folder, "--uncertified", *more) == 2
    assert send(folder, "--uncertified") == 0


@pytest.mark.usefixtures("any_schema")
def test_the_same_words_are_sent_once(folder, body, certificate, tmp_path, capsys):
    """The audit's finding: each call of `send` was a session of its own."""
    options = ["--certificate", certificate(body), "--trust", PUBLIC]
    assert send(folder, *options) == 0
    (tmp_path / "message").unlink()
    shutil.copytree(folder, tmp_path / "other" / "client")
    for again in (folder, tmp_path / "other" / "client"):
        assert send(again, *options) == 2
        assert "were sent 1 times before" in capsys.readouterr().err
        assert not (again.parent / "message").exists()


def test_a_revoked_key_stops_the_client_also_where_it_is_given(
    folder, body, certificate, capsys, tmp_path, monkeypatch
):
    monkeypatch.setenv("DEL_AUDIT_CONFIG", str(tmp_path / "config"))
    assert main(["key", "revoke", PUBLIC, "--reason", "it leaked"]) == 0
    assert send(folder, "--certificate", certificate(body), "--trust", PUBLIC) == 2
    assert "it leaked" in capsys.readouterr().err


def test_no_message_advises_to_send_without_a_certificate(folder, tmp_path, capsys):
    """The audit's finding: a folder that is not there was answered with --uncertified."""
    for place in (tmp_path / "none", tmp_path, folder):
        assert main(["send", str(place), "--text", PROMPT, "--out", str(tmp_path / "message")]) == 2
        said = capsys.readouterr().err
        assert "uncertified" not in said.lower()
        assert "del-audit bundle CONFIG --out FOLDER --certificate CERTIFICATE" in said
    assert "del-audit certify CONFIG" in said


@pytest.mark.usefixtures("any_schema")
def test_the_policy_of_whoever_sends_is_asked(folder, body, certificate, tmp_path, capsys, monkeypatch):
    from del_audit.certificate.requirement import Requirement

    def unmet(requirement, body):
        raise UserError(f"Expected an epsilon of at most {requirement.policy.epsilon[0].at_most}.")

    (tmp_path / "policy.yaml").write_text("epsilon: {at_most: 0.5}\n")
    options = ["--certificate", certificate(body), "--trust", PUBLIC, "--require", str(tmp_path / "policy.yaml")]
    with monkeypatch.context() as patch:
        patch.setattr(Requirement, "require_met", unmet)
        assert send(folder, *options) == 2
    assert "at most 0.5" in capsys.readouterr().err
    assert not (tmp_path / "message").exists()
    assert send(folder, *options[:-1], str(tmp_path / "none.yaml")) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_the_schema_is_asked(folder, body, certificate, capsys):
    body.update(colour=1)
    assert send(folder, "--certificate", certificate(body), "--trust", PUBLIC) == 2
    assert "certificate-6.schema.json" in capsys.readouterr().err


@pytest.mark.usefixtures("any_schema")
def test_a_quick_certificate_is_for_whoever_says_so(folder, body, certificate, capsys):
    body["configuration"]["policy"]["assurance"] = body["assurance"] = "quick"
    options = ["--certificate", certificate(body), "--trust", PUBLIC]
    assert send(folder, *options) == 2
    assert "got a quick one" in capsys.readouterr().err
    assert send(folder, *options, "--accept-quick") == 0


@pytest.mark.usefixtures("any_schema")
@pytest.mark.parametrize("fits", [True, False])
def test_a_bundle_takes_the_certificate_that_is_of_it(fits, body, certificate, tiny_lm_folder, tmp_path, capsys):
    import csv

    import yaml

    from del_audit.configuration.configuration import load_configuration
    from del_audit.service.pipelines import pipelines_of
    from mechanisms.models import load_causal_lm

    texts = ["The doctor said that the pain would go.", "I could not sleep and felt tired.", PROMPT] * 8
    with (tmp_path / "texts.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["text", "split"], *([text, "train"] for text in texts), ["tablet", "test"]])
    content = {
        "name": "tiny",
        "model": str(tiny_lm_folder),
        "mechanism": {"bits": 4, "dim": 6, "clip": 0.05, "scale": 0.1},
        "data": {"corpus": str(tmp_path / "texts.csv"), "text_column": "text"},
        "policy": {"epsilon": {"at_most": 60}},
    }
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(content))
    configuration, language = load_configuration(tmp_path / "tiny.yaml"), load_causal_lm(str(tiny_lm_folder))
    documents = [language.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    pipeline = pipelines_of(configuration, language, documents, [SPEC])[0]
    body["hashes"].update(encoder=pipeline.encoder.sha256 if fits else "0" * 64, model=language.record.sha256)
    path, client = certificate(body), tmp_path / "client"
    command = ["bundle", str(tmp_path / "tiny.yaml"), "--out", str(client), "--certificate", path, "--trust", PUBLIC]
    assert main(command) == (0 if fits else 2)
    assert client.exists() == fits
    if fits:
        assert (client / "certificate.json").read_bytes() == Path(path).read_bytes()
        assert send(client, "--trust", PUBLIC) == 0
        assert send(client) == 2  # the message is there already
    else:
        assert "not this client's" in capsys.readouterr().err
