"""Certificates of other mechanisms than DEL: made, verified, shown, and refused where a byte of them was changed."""

import json
import math
import shutil
from copy import deepcopy

import pytest
import yaml

from del_audit.certificate.consistency import require_consistent
from del_audit.certificate.model import Body
from del_audit.certificate.proved import guarantees_of
from del_audit.certificate.recompute import require_recomputed
from del_audit.certificate.typed import typed
from del_audit.cli import main
from del_audit.configuration.policy import WrittenPolicy
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.rivals import RandomizedResponseSpec
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
    found["policy"]["sends"] = 2
    found["policy"]["bytes_per_token_at_most"] = 40.0  # a set of words takes many
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
    assert 0 < whole["bytes"]["a_token"] < 40


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


def test_a_client_of_the_kind_sends_under_its_certificate(made, whole, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(made)
    trusted = ["--trust", "key.pem.pub"]
    folder, out = str(tmp_path / "client"), str(tmp_path / "message")
    bundle = ["bundle", "tiny.yaml", "--out", folder, "--certificate", "out/certificate.json", *trusted]
    assert main(bundle) == 0
    send = ["send", folder, "--text", "the pain was gone", "--out", out, *trusted]
    assert main(send) == 2
    assert "assurance" in capsys.readouterr().err
    assert main([*send, "--accept-quick"]) == 0
    message = (tmp_path / "message").read_bytes()
    tokens = int.from_bytes(message[12:16], "little")
    assert tokens >= 4
    assert len(message) == whole["bytes"]["header"] + math.ceil(whole["bytes"]["a_token"] * tokens)


def test_a_unit_of_more_tokens_than_can_be_proved_is_refused_before_anything_is_measured():
    policy = WrittenPolicy.model_validate({"epsilon": ({"unit": "session", "tokens": 70_000, "at_most": 1.0},)})
    with pytest.raises(UserError, match=r"at most 65,536 tokens.*session.*70,000|at most 65,536 tokens.*70000"):
        guarantees_of(RandomizedResponseSpec.from_epsilon(100, 2.0), policy)


OWN = """
import numpy as np
from dataclasses import dataclass
from typing import ClassVar
from mechanisms.rivals import RandomizedResponse, RandomizedResponseSpec, RivalSpec

@dataclass(frozen=True, slots=True)
class MineSpec(RivalSpec):
    kind: ClassVar[str] = "mine"
    words: int
    nats: float

class Mine:
    name = "a mechanism of my own"

    def __init__(self, spec, table):
        self.spec, self.table = spec, table
        self.inner = RandomizedResponse(RandomizedResponseSpec.from_epsilon(spec.words, spec.nats))

    @classmethod
    def of(cls, public, nats=4.0):
        return cls(MineSpec(public.words, nats), public.table)

    def release(self, tokens, source):
        return self.inner.release(tokens, source)

    def observed(self, message):
        return self.inner.observed(message)

    def scores(self, observed, log_prior=None):
        return self.inner.scores(observed, log_prior)

    def embeddings(self, message):
        return self.table[self.observed(message)]

    def token_epsilon(self, delta):
        return self.spec.nats
"""


def test_a_mechanism_of_ones_own_is_certified_without_an_epsilon_and_its_certificate_says_so_first(
    tmp_path, tiny_lm_folder, tiny_bert_folder, reviews, monkeypatch, capsys
):
    for source, name in ((tiny_lm_folder, "model"), (tiny_bert_folder, "sentences")):
        shutil.copytree(source, tmp_path / name)
    shutil.copy(reviews, tmp_path / "reviews.csv")
    (tmp_path / "mine_of_this_test.py").write_text(OWN)
    asked = content({"kind": "mine_of_this_test:Mine", "options": {"nats": 5.0}})
    asked.pop("decoder")
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump(asked))
    monkeypatch.chdir(tmp_path)
    assert main(["certify", "own.yaml", "--out", "out"]) == 2
    assert "expected no policy.epsilon" in capsys.readouterr().err
    asked["policy"].pop("epsilon")
    path.write_text(yaml.safe_dump(asked))
    assert main(["key", "new", "--out", "key.pem"]) == 0
    assert main(["certify", "own.yaml", "--out", "out", "--key", "key.pem"]) == 0
    printed = capsys.readouterr().out
    assert "No guarantee of this mechanism is proved" in printed
    whole = json.loads((tmp_path / "out" / "certificate.json").read_text())
    assert whole["claim"]["says"].startswith("No guarantee of this mechanism is proved.")
    assert (whole["guarantees"], whole["curve"], whole["inversion"]["allowed"]) == ([], None, None)
    assert whole["sections"]["claimed_epsilon"]["epsilon"] == 5.0
    assert "attacks within the guarantee" not in [check["limit"] for check in whole["checks"]]
    verify = ["verify", "out/certificate.json", "--trust", "key.pem.pub", "--against", "own.yaml", "--accept-quick"]
    assert main(verify) == 0
    changed = deepcopy(whole)
    changed["spec"]["nats"] = 6.0
    with pytest.raises(UserError, match=r"hashes\.spec"):
        require_consistent(body_of(changed), changed)
