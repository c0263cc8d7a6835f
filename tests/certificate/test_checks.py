"""Checks are a function of the certificate's body: each limit decides, in whatever order the keys stand."""

import copy
import json

import pytest

from del_audit.certificate.checks import checks_of
from del_audit.certificate.proved import guarantees_of, proved_of
from del_audit.certificate.verdict import verdict_of
from mechanisms.spec import QuantizerSpec


def statuses(body):
    return {check.limit: check.status for check in checks_of(body)}


@pytest.fixture
def body(certificate):
    policy = {
        "epsilon": [],
        "attack_success_at_most": None,
        "slice_success_at_most": {},
        "worst_prompt_success_at_most": None,
        "attribute_advantage_at_most": None,
        "paired_gain_at_least": None,
        "task_accuracy_at_least": None,
        "bytes_per_token_at_most": None,
    }
    certificate["configuration"]["policy"] = policy
    for attack in certificate["inversion"]["attacks"]:
        attack["broken_below"] = 0.01 if attack["context_free"] else None
        attack["slices"] = []
    return certificate


def part(name, value, half=0.01):
    figure = {
        "value": value,
        "lower": value - half,
        "upper": value + half,
        "unit": f"share of {name} read",
        "sample": 900,
        "sample_unit": "tokens",
        "method": "unseen-document bootstrap",
    }
    return {"name": name, "rule": "", "tokens": 900, "documents": 90, "success": figure, "baseline": figure, "why": ""}


def test_no_policy_can_drop_the_check_of_the_implementation(body):
    assert statuses(body) == {"attacks within the guarantee": "passed"}
    free = next(attack for attack in body["inversion"]["attacks"] if attack["context_free"])
    free["broken_below"] = body["inversion"]["allowed"]["upper"] + 1e-9
    (check,) = checks_of(body)
    assert check.status == "failed"
    assert free["name"] in check.reason
    free["context_free"], free["broken_below"] = False, None
    assert statuses(body) == {"attacks within the guarantee": "passed"}


def test_each_unit_is_held_to_its_own_limit(body):
    spec, policy = QuantizerSpec(**body["spec"]), body["configuration"]["policy"]
    policy["epsilon"] = [
        {"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60.0},
        {"unit": "token", "tokens": 1, "delta": 1e-9, "at_most": 60.0},
        {"unit": "session", "tokens": 96, "delta": 1e-5, "at_most": 60.0},
    ]
    body["guarantees"] = guarantees_of(spec, body["configuration"])
    found = [statuses(body)[key] for key in list(statuses(body))[1:]]
    assert found == ["passed", "failed", "failed"]
    epsilons = {(g["unit"], g["tokens"], g["delta"]): g["epsilon"]["upper"] for g in body["guarantees"]}
    assert epsilons["token", 1, 1e-5] < 60 < epsilons["token", 1, 1e-9] < epsilons["session", 96, 1e-5]


def test_a_limit_whose_figure_is_not_proved_or_not_there_is_no_check_that_passes(body):
    body["configuration"]["policy"]["epsilon"] = [{"unit": "token", "tokens": 1, "delta": 1e-6, "at_most": 1e6}]
    with pytest.raises(KeyError, match="a proved guarantee of token"):
        checks_of(body)
    body["guarantees"][0].update(delta=1e-6, kind="float with error bound")
    with pytest.raises(KeyError, match="a proved guarantee of token"):
        checks_of(body)


def test_a_slice_is_held_against_the_attack_that_reads_most_of_it(body):
    attacks = body["inversion"]["attacks"]
    for place, attack in enumerate(attacks):
        attack["slices"] = [part("names", 0.02 * place), part("numbers", 0.05)]
    policy = body["configuration"]["policy"]
    policy["slice_success_at_most"] = {"numbers": 0.0601, "names": 0.05}
    found = statuses(body)
    assert found[f"slice: names ({attacks[-1]['name']})"] == "failed"
    assert [status for limit, status in found.items() if limit.startswith("slice: numbers")] == ["passed"]


def test_a_slice_that_one_attack_has_no_figure_of_is_inconclusive(body):
    for attack in body["inversion"]["attacks"]:
        attack["slices"] = [part("names", 0.0)]
    body["configuration"]["policy"]["slice_success_at_most"] = {"names": 0.5, "rare words": 0.5}
    body["inversion"]["attacks"][2]["slices"][0].update(success=None, why="too few tokens: 3 of 2 documents")
    found = {check.limit: check for check in checks_of(body)}
    assert found["slice: names"].status == found["slice: rare words"].status == "inconclusive"
    assert "3 of 2 documents" in found["slice: names"].reason
    assert verdict_of(list(found.values())) == "inconclusive"


def test_the_worst_prompt_has_a_limit_of_its_own(body):
    policy, attacks = body["configuration"]["policy"], body["inversion"]["attacks"]
    largest = max(attack["worst_prompt"]["upper"] for attack in attacks)
    for limit, status in ((largest, "passed"), (largest - 1e-6, "inconclusive")):
        policy["worst_prompt_success_at_most"] = limit
        (found,) = (check for check in checks_of(body) if check.limit.startswith("worst prompt"))
        assert found.status == status


def test_checks_do_not_hang_on_the_order_of_keys(body):
    for attack in body["inversion"]["attacks"]:
        attack["slices"] = [part("names", 0.1), part("numbers", 0.05), part("rare words", 0.01)]
    body["configuration"]["policy"]["slice_success_at_most"] = {"rare words": 0.1, "numbers": 0.1, "names": 0.2}
    again = json.loads(json.dumps(body, sort_keys=True))
    assert checks_of(again) == checks_of(body)


def test_what_is_proved_follows_from_the_body_alone(body):
    before = copy.deepcopy(body)
    found = proved_of(body)
    assert body == before
    assert found["guarantees"][0]["epsilon"]["upper"] == pytest.approx(51.3797, abs=1e-3)
    assert {g["kind"] for g in found["guarantees"]} == {"proved"}
    body["inversion"]["kappa"] = 0.2
    assert proved_of(body)["allowed"]["upper"] > found["allowed"]["upper"]
