"""A whole certificate: made here by a tiny run, and one of an earlier day that must still verify."""

import json
import math
import os
import shutil
from pathlib import Path

import pytest
import yaml
from markupsafe import escape

from del_audit.certificate.model_card import escaped, model_card
from del_audit.certificate.report import render
from del_audit.certificate.schema import SCHEMA_FILES
from del_audit.certificate.verify_command import verify_file
from del_audit.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"
AT = "2026-12-31"
CONTENT = {
    "name": "tiny",
    "model": "model",
    "sentence_encoder": "sentences",
    "mechanism": {"bits": 4, "dim": 12, "clip": 0.05, "mu": 5.0},
    "data": {"corpus": "reviews.csv", "text_column": "text"},
    "attribute": {"column": "condition", "classes": 2},
    "task": {"column": "rating"},
    "evaluation": {
        "attacked_tokens": 1_000,
        "prompts": 20,
        "response_tokens": 8,
        "generations": 2,
        "generated_tokens": 3,
        "other_bits": [1],
        "other_prompts": 20,
    },
    "policy": {
        "prompt_tokens": 12,
        "epsilon": [
            {"unit": "token", "at_most": 50.0},
            {"unit": "session", "tokens": 1_000, "delta": 1e-6, "at_most": 1e6},
        ],
        "attack_success_at_most": 0.9,
        "slice_success_at_most": {"words 1 to 100": 0.99},
        "bytes_per_token_at_most": 9.0,
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_lm_folder, tiny_bert_folder, reviews):
    """Returns a folder in which a tiny configuration was certified; its files are named relative to it."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny_lm_folder, folder / "model")
    shutil.copytree(tiny_bert_folder, folder / "sentences")
    shutil.copy(reviews, folder / "reviews.csv")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONTENT))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["key", "new", "--out", "key.pem"]) == 0
        assert main(["certify", "tiny.yaml", "--out", "out", "--key", "key.pem"]) == 0
    return folder


def test_a_certificate_made_again_verifies_against_its_configuration(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "tiny.yaml", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["valid"], found["verdict"]) == (True, "certified")
    names = [step["name"] for step in found["steps"]]
    assert {"signature", "trust", "schema", "date", "attacks", "consistency", "proved figures"} <= set(names)
    assert {"configuration", "model", "tokenizer", "corpus", "encoder"} <= set(names)
    assert {step["status"] for step in found["steps"]} == {"passed"}
    text = (made / "out" / "certificate.json").read_text()
    assert str(made) not in text
    assert os.path.expanduser("~") not in text
    if os.environ.get("DEL_AUDIT_NEW_FIXTURE") == "1":
        shutil.copy(made / "out" / "certificate.json", FIXTURES / "certificate-6.json")
        shutil.copy(made / "key.pem.pub", FIXTURES / "certificate-6.pub")


def test_a_configuration_within_its_policy_is_certified(made):
    out = made / "out"
    assert sorted(path.name for path in out.iterdir()) == ["certificate.json", "report.html"]
    certificate = json.loads((out / "certificate.json").read_text())
    assert certificate["verdict"] == "certified"
    assert certificate["reasons"] == []
    assert {check["status"] for check in certificate["checks"]} == {"passed"}
    assert certificate["spec"]["bits"] == 4
    token, phrase, prompt, _ = certificate["guarantees"]
    assert (token["trials"], phrase["trials"], prompt["trials"]) == (180, 900, 2160)
    assert token["epsilon"]["lower"] <= token["epsilon"]["estimate"] <= token["epsilon"]["upper"]
    baseline, *attacks = certificate["inversion"]["attacks"]
    assert baseline["success"]["sample"] == 1_000
    assert max(attack["success"]["value"] for attack in attacks) > baseline["success"]["upper"]
    assert certificate["inversion"]["allowed"]["upper"] >= max(a["success"]["lower"] for a in attacks)
    for name in ("released prompt", "soft prompt alone", "no prompt", "clean prompt", "another user's released prompt"):
        assert certificate["utility"]["perplexity"][name]["value"] > 1
        assert certificate["utility"]["coherence"][name]["lower"] >= -1
    assert certificate["attribute"]["column"] == "condition"
    assert certificate["bytes"]["a_token"] == 6.0
    assert len(certificate["hashes"]["encoder"]) == 64
    assert certificate["versions"]["torch"]
    page = (out / "report.html").read_text()
    assert "certified" in page.lower()


def test_the_same_seed_measures_the_same(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    assert main(["certify", "tiny.yaml", "--out", str(tmp_path / "out"), "--key", "key.pem"]) == 0
    figures, attempts = [], []
    for folder in (made / "out", tmp_path / "out"):
        certificate = json.loads((folder / "certificate.json").read_text())
        for key in ("made", "expires", "seconds", "signature"):  # the signature is of the time as well
            del certificate[key]
        attempts.append(certificate.pop("attempts")["count"])
        del certificate["error_rate"]
        figures.append(certificate)
    assert figures[0] == figures[1]
    assert attempts[1] > attempts[0]  # whatever the configuration, the same people were tried again


def test_too_few_samples_are_inconclusive(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    measured = json.loads((made / "out" / "certificate.json").read_text())["inversion"]["attacks"]
    upper = max(attack["success"]["upper"] for attack in measured)
    value = max(attack["success"]["value"] for attack in measured)
    policy = {"prompt_tokens": 12, "attack_success_at_most": (upper + value) / 2}
    unprobed = {key: value for key, value in CONTENT.items() if key not in ("attribute", "task")}
    Path("few.yaml").write_text(yaml.safe_dump({**unprobed, "policy": policy}))
    assert main(["certify", "few.yaml", "--out", str(tmp_path / "few"), "--key", "key.pem"]) == 3
    certificate = json.loads((tmp_path / "few" / "certificate.json").read_text())
    assert "more tokens would decide" in certificate["reasons"][0]


def test_an_earlier_certificate_survives_a_failed_run(made, tmp_path, monkeypatch):
    monkeypatch.chdir(made)
    shutil.copytree("out", tmp_path / "out")
    Path("nowhere.yaml").write_text(yaml.safe_dump({**CONTENT, "model": "no-such-folder"}))
    assert main(["certify", "nowhere.yaml", "--out", str(tmp_path / "out"), "--key", "key.pem"]) == 2
    kept = (tmp_path / "out" / "certificate.json").read_bytes()
    assert kept == (made / "out" / "certificate.json").read_bytes()


def test_against_another_configuration_it_fails_and_no_asset_is_loaded(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    other = {**CONTENT, "policy": {"attack_success_at_most": 0.95}, "model": "none"}
    (made / "other.yaml").write_text(yaml.safe_dump(other))
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "other.yaml", "--no-recompute"]
    assert main(command) == 1
    printed = capsys.readouterr().out
    assert "failed  configuration" in printed
    assert "tokenizer" not in printed


@pytest.mark.parametrize("name", ["model", "corpus"])
def test_an_asset_that_changed_is_named(made, name, tmp_path, monkeypatch, capsys):
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    if name == "corpus":
        text = Path("reviews.csv").read_text()
        Path("reviews.csv").write_text(text.replace("doctor", "nurse"))
    else:
        path = Path("model/config.json")
        path.write_text(path.read_text().replace('"max_position_embeddings": 256', '"max_position_embeddings": 128'))
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "tiny.yaml", "--no-recompute"]
    assert main([*command, "--json"]) == 1
    found = {step["name"]: step["status"] for step in json.loads(capsys.readouterr().out)["steps"]}
    assert found[name] == "failed"
    assert found["configuration"] == "passed"


def test_an_asset_that_is_not_here_is_said_not_to_be_compared(made, tmp_path, monkeypatch, capsys):
    shutil.copytree(made, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    shutil.rmtree("model")
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "tiny.yaml", "--no-recompute"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "skipped model" in printed
    assert "Not compared" in printed


def test_every_released_format_has_a_kept_certificate():
    kept = {json.loads(path.read_text(encoding="utf8"))["format"] for path in FIXTURES.glob("*.json")}
    assert kept == set(SCHEMA_FILES)


@pytest.mark.usefixtures("attacks_of_then")
@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_kept_certificate_verifies_for_ever_and_is_shown(path):
    """Made once by the program of its day, never again: every later version reads, recomputes and shows it."""
    found = verify_file(path, [str(path.with_suffix(".pub"))], AT)
    assert found.valid, found.failures
    assert found.body is not None
    values = json.loads(path.read_bytes())
    assert found.body.configuration.policy.prompt_tokens == values["configuration"]["evaluation"]["prompt_tokens"]
    assert str(escape(found.body.inversion.strongest)) in render(found.body)
    assert escaped(found.body.inversion.strongest) in model_card(found.body, "SHA256:x")


@pytest.mark.usefixtures("attacks_of_then")
def test_the_kept_certificate_was_checked_by_hand():
    """What can be known of it without this program: 15 coins for each of 12 numbers, 4 bits each, for 12 tokens."""
    body = json.loads((FIXTURES / "certificate-2.json").read_text(encoding="utf8"))
    assert [(g["unit"], g["tokens"], g["trials"]) for g in body["guarantees"]] == [
        ("token", 1, 180),
        ("phrase", 5, 900),
        ("prompt", 12, 2_160),
        ("session", 1_000, 180_000),
    ]
    spec = body["spec"]
    assert spec["scale"] == pytest.approx(0.05 * (1 + 4 * 15 * 12 / 5.0**2) ** 0.5, rel=1e-14)
    odds = (spec["scale"] + 0.05) / (spec["scale"] - 0.05)
    for guarantee in body["guarantees"]:  # every coin shows its likelier side
        pure = guarantee["trials"] * math.log(odds)
        assert guarantee["pure_epsilon"]["lower"] <= pure * (1 + 1e-6)
        assert guarantee["pure_epsilon"]["upper"] >= pure * (1 - 1e-6)
        assert guarantee["epsilon"]["upper"] < guarantee["pure_epsilon"]["upper"]
    assert (body["bytes"]["a_token"], body["bytes"]["a_prompt"]) == (6, 16 + 12 * 6)
    assert body["bytes"]["a_prompt_of_clean_float32"] == 12 * 32 * 4
    for attack in body["inversion"]["attacks"]:
        success = attack["success"]
        assert success["lower"] <= success["value"] <= success["upper"]
    assert 0 < body["inversion"]["kappa"] < body["inversion"]["allowed"]["lower"] < 1
    shown = body["examples"]
    for reading in shown["readings"]:
        assert len(reading["hits"]) == len(reading["read"]) == len(shown["written"]) == shown["tokens"]
    assert verify_file(FIXTURES / "certificate-2.json", [str(FIXTURES / "certificate-2.pub")], AT).valid
