"""Certificates of rivals whose law is known and of which nothing is proved: made, verified, shown, and held to."""

import json
import shutil
from copy import deepcopy

import pytest
import yaml
from rival_kinds import RIVALS

from del_audit.accounting.rivals import rival_guarantee
from del_audit.certificate.claimed_text import claimed_text
from del_audit.certificate.consistency import require_consistent
from del_audit.certificate.model import Body, Section
from del_audit.certificate.schema import require_schema
from del_audit.certificate.typed import typed
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.service.assets import build, load_assets
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.registry import described
from tests.certificate.test_other_mechanisms import content


def asked_of(mechanism):
    found = content(mechanism)
    found["policy"].pop("epsilon")
    found["policy"]["bytes_per_token_at_most"] = 80.0  # metric noise: 16 bits a coordinate
    return found


@pytest.fixture(
    scope="module",
    params=[name if name == "gaussian" else pytest.param(name, marks=pytest.mark.slow) for name in RIVALS],
)
def made(request, tmp_path_factory, tiny_lm_folder, tiny_bert_folder, reviews):
    """Returns the kind, and a folder in which a configuration of it was certified."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(tiny_lm_folder, folder / "model")
    shutil.copytree(tiny_bert_folder, folder / "sentences")
    shutil.copy(reviews, folder / "reviews.csv")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(asked_of(RIVALS[request.param])))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["key", "new", "--out", "key.pem"]) == 0
        assert main(["certify", "tiny.yaml", "--out", "out", "--key", "key.pem"]) == 0
    return request.param, folder


@pytest.fixture
def whole(made):
    return json.loads((made[1] / "out" / "certificate.json").read_text())


def body_of(whole):
    return typed(Body, {name: value for name, value in whole.items() if name != "signature"})


def test_it_keeps_to_the_published_schema_and_says_that_nothing_is_proved(made, whole):
    kind, _ = made
    require_schema(whole)
    assert whole["spec"]["kind"] == whole["configuration"]["mechanism"]["kind"] == kind
    assert whole["verdict"] == "certified"
    assert whole["claim"]["says"].startswith("No guarantee of this mechanism is proved.")
    assert (whole["guarantees"], whole["curve"], whole["inversion"]["allowed"]) == ([], None, None)
    assert {attack["key"] for attack in whole["inversion"]["attacks"]} == {"baseline", "cosine", "likelihood", "map"}
    assert whole["bytes"]["a_token"] > 0


def test_its_claimed_epsilon_is_what_the_accountant_computes(made, whole, monkeypatch):
    kind, folder = made
    monkeypatch.chdir(folder)
    configuration = load_configuration(folder / "tiny.yaml")
    found = rival_guarantee(build(configuration, load_assets(configuration)).mechanism, 1e-5)
    section = whole["sections"]["claimed_epsilon"]
    assert (section["unit"], section["delta"], section["reason"]) == ("nats, one token", 1e-5, found.reason)
    assert section["kind"] == "float with error bound, not proved"
    if kind == "custext":  # no epsilon between groups
        assert section["epsilon"] is None
        assert section["within"] == pytest.approx(found.within.upper, rel=1e-9)
        assert 0 < section["within"] <= 2.0 + 1e-6
    else:
        assert section["within"] is None
        assert section["epsilon"] == pytest.approx(found.epsilon.upper, rel=1e-9)
        assert 0 < section["epsilon"] < 1e4
    assert described(whole["spec"]) == build(configuration, load_assets(configuration)).spec


def test_it_verifies_against_its_configuration_and_shows_the_claim(made, whole, monkeypatch, capsys):
    kind, folder = made
    monkeypatch.chdir(folder)
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "tiny.yaml", "--json"]
    assert main([*command, "--accept-quick"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"]
    assert {step["status"] for step in found["steps"]} == {"passed"}
    reason = next(step["reason"] for step in found["steps"] if step["name"] == "section claimed_epsilon")
    said = "no epsilon holds between some words" if kind == "custext" else "epsilon "
    assert reason.startswith(f"One token, delta 1e-05: {said}")
    assert reason.endswith("No limit rests on it.")
    page = (folder / "out" / "report.html").read_text()
    assert "No guarantee of this mechanism is proved" in page
    assert reason in page


def test_a_description_that_the_configuration_does_not_have_is_refused(whole):
    changed = deepcopy(whole)
    options = changed["configuration"]["mechanism"]["options"]
    name = next(name for name in ("sigma", "eta", "epsilon") if name in options)
    options[name] /= 2
    changed["hashes"]["configuration"] = canonical_sha256(changed["configuration"])
    with pytest.raises(UserError, match=r"spec of configuration\.mechanism"):
        require_consistent(body_of(changed), changed)


def test_another_kinds_description_is_refused(made, whole):
    changed = deepcopy(whole)
    other = "exponential" if made[0] != "exponential" else "santext"
    changed["configuration"]["mechanism"] = {"kind": other, "options": {"epsilon": 1.0}}
    changed["hashes"]["configuration"] = canonical_sha256(changed["configuration"])
    with pytest.raises(UserError, match=r"spec of configuration\.mechanism"):
        require_consistent(body_of(changed), changed)


def test_a_users_own_mechanism_cannot_have_a_rivals_description(whole):
    whole["configuration"]["mechanism"] = {"kind": "mine:Mine", "options": {}}
    whole["hashes"]["configuration"] = canonical_sha256(whole["configuration"])
    with pytest.raises(UserError, match="a spec of the kind 'mine:Mine'"):
        require_consistent(body_of(whole), whole)


@pytest.mark.parametrize("kind", RIVALS)
def test_a_limit_of_epsilon_is_refused_before_the_work(kind, tmp_path, capsys):
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content(RIVALS[kind])))
    assert main(["certify", str(path), "--out", str(tmp_path / "out")]) == 2
    assert f"expected no policy.epsilon with mechanism.kind: {kind}" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 3, "delta": 1e-5, "kind": "x", "epsilon": 1.0},
        {"version": 1, "delta": "1", "kind": "x", "epsilon": 1.0},
        {"version": 2, "delta": 1e-5, "kind": 3, "epsilon": 1.0},
        {"version": 2, "delta": 1e-5, "kind": "x", "epsilon": "1"},
        {"version": 2},
    ],
)
def test_a_claim_that_is_not_understood_has_no_sentence(fields):
    assert claimed_text(Section.model_validate(fields)) is None
