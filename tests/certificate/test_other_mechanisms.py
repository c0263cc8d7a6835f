"""Certificates of other mechanisms than DEL: made, verified, shown, and refused where a byte of them was changed."""

import json
import shutil
from copy import deepcopy

import pytest
import yaml

from del_audit.certificate.consistency import require_consistent
from del_audit.certificate.model import Body
from del_audit.certificate.recompute import require_recomputed
from del_audit.certificate.typed import typed
from del_audit.cli import main
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from tests.certificate.test_fixture import CONTENT

RESPONSE = {"kind": "randomized-response", "epsilon": 3.0}
KINDS = {
    "coarse-words": {"kind": "coarse-words", "symbols": 12, "inner": {"kind": "subset-selection", "epsilon": 3.0}},
    "randomized-response": RESPONSE,
    "subset-selection": {"kind": "subset-selection", "epsilon": 3.0},
    "projective-geometry": {"kind": "projective-geometry", "epsilon": 3.0},
}


def content(mechanism):
    found = deepcopy(CONTENT) | {"mechanism": mechanism, "decoder": "posterior-mean"}
    found["evaluation"].pop("other_bits")
    found["evaluation"].pop("other_prompts")
    found["evaluation"]["attacks"] = ["baseline", "cosine", "likelihood", "map"]
    found["policy"]["assurance"] = "quick"
    found["policy"]["epsilon"][0]["at_most"] = 3.0
    found["policy"]["sends"] = 2
    found["policy"]["epsilon"][0]["at_most"] = 6.0
    return found


@pytest.fixture(
    scope="module",
    params=[name if name == "coarse-words" else pytest.param(name, marks=pytest.mark.slow) for name in KINDS],
)
def made(request, tmp_path_factory, tiny_lm_folder, tiny_bert_folder, reviews):
    """Returns a folder in which a configuration of the kind was certified, each text sent twice."""
    folder = tmp_path_factory.mktemp(request.param)
    shutil.copytree(tiny_lm_folder, folder / "model")
    shutil.copytree(tiny_bert_folder, folder / "sentences")
    shutil.copy(reviews, folder / "reviews.csv")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(content(KINDS[request.param])))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["key", "new", "--out", "key.pem"]) == 0
        assert main(["certify", "tiny.yaml", "--out", "out", "--key", "key.pem"]) == 0
    return folder


@pytest.fixture
def whole(made):
    return json.loads((made / "out" / "certificate.json").read_text())


def body_of(whole):
    return typed(Body, {name: value for name, value in whole.items() if name != "signature"})


def test_it_verifies_against_its_configuration(made, monkeypatch, capsys):
    monkeypatch.chdir(made)
    command = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "tiny.yaml", "--json"]
    assert main([*command, "--accept-quick"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["valid"]
    assert {step["status"] for step in found["steps"]} == {"passed"}


def test_its_figures_are_those_of_its_mechanism(whole):
    token = whole["guarantees"][0]
    assert 5.9 < token["epsilon"]["lower"] <= token["epsilon"]["upper"] <= 6.0  # two sends of 3 nats
    assert 5.99 < token["pure_epsilon"]["upper"] <= 6.0 + 1e-9
    assert (token["kind"], token["trials"], token["gaussian_limit"]) == ("proved", None, None)
    assert whole["curve"]["gaussian_limit"] is None
    assert whole["curve"]["exact"][0] == 1.0
    assert whole["inversion"]["allowed"]["source"].startswith("theorem 24")
    assert whole["knowing"]["context"]["allowed"] is not None
    assert whole["utility"]["other_bits"] == []
    assert "code" not in whole["configuration"]["evaluation"]["attacks"]
    assert whole["bytes"]["a_token"] < 9


def test_nothing_of_another_kind_is_left_in_the_page(made, whole):
    page = (made / "out" / "report.html").read_text()
    assert "Theorem 4.2" not in page
    assert "Gaussian limit" not in page
    assert "theorem 24" in page
    assert whole["spec"]["kind"].split()[0] in page


@pytest.mark.parametrize("field", ["kind", "words", "symbols", "inside", "weight", "inner_inside", "size", "order"])
def test_a_changed_description_is_refused(whole, field):
    spec = whole["spec"]
    if field not in spec:
        pytest.skip("a field of another kind")
    value = spec[field]
    if field == "kind":
        spec[field] = "randomized response" if value != "randomized response" else "subset selection"
    elif field == "symbols":
        spec[field] = ("0" if value[0] != "0" else "1") + value[1:]
    else:
        spec[field] = str(int(value) - 1) if isinstance(value, str) else value - 1
    with pytest.raises(UserError):
        require_consistent(body_of(whole), whole)


def test_a_description_of_more_noise_than_the_configuration_is_refused_with_all_its_hashes_right(whole):
    """The signer states a smaller epsilon and everything that follows from it; the configuration says another."""
    stronger = deepcopy(whole)
    mechanism = stronger["configuration"]["mechanism"]
    (mechanism.get("inner") or mechanism)["epsilon"] = 2.0
    stronger["hashes"]["configuration"] = canonical_sha256(stronger["configuration"])
    with pytest.raises(UserError, match=r"configuration\.mechanism"):
        require_consistent(body_of(stronger), stronger)


def test_a_smaller_epsilon_than_the_description_has_is_refused(whole):
    body = body_of(whole)
    assert require_recomputed(body) > 100
    whole["guarantees"][0]["epsilon"].update(lower=1.0, estimate=1.0, upper=1.0)
    with pytest.raises(UserError, match=r"guarantees\.0\.epsilon"):
        require_recomputed(body_of(whole))
