"""Checks are a function of the certificate's body: each limit decides, in whatever order the keys stand."""

import copy
import json
from pathlib import Path

import pytest
from json_certificate import checks_of, guarantees_of, recomputed

from del_audit.configuration.verdict import verdict_of
from mechanisms.spec import QuantizerSpec

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"


def statuses(body):
    return {check.limit: check.status for check in checks_of(body)}


@pytest.fixture
def body(certificate):
    policy = {
        "assurance": "full",
        "sends": 1,
        "prompt_tokens": 48,
        "epsilon": [],
        "attack_success_at_most": None,
        "slice_success_at_most": {},
        "worst_prompt_success_at_most": None,
        "attribute_advantage_at_most": None,
        "paired_gain_at_least": None,
        "share_of_clean_gain_at_least": None,
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
    about = {"name": name, "rule": "", "tokens": 900, "documents": 90, "why": "", "above": figure["lower"]}
    return {**about, "success": figure, "baseline": figure}


ALWAYS = {"attacks within the guarantee": "passed", "attacks of full assurance": "passed"}


def rated(value, low, high, unit="share of tokens recovered", of="tokens"):
    """A figure; the attack's lower limit over all attacks is asked for apart."""
    about = {"unit": unit, "sample": 900, "sample_unit": of, "method": "unseen-document bootstrap"}
    return {"value": value, "lower": low, "upper": high, **about}


def test_no_policy_can_drop_the_check_of_the_implementation(body):
    assert statuses(body) == ALWAYS
    free = next(attack for attack in body["inversion"]["attacks"] if attack["context_free"])
    free["broken_below"] = body["inversion"]["allowed"]["upper"] + 1e-9
    check = checks_of(body)[0]
    assert check.status == "failed"
    assert free["name"] in check.reason
    free["context_free"], free["broken_below"] = False, None
    assert statuses(body) == ALWAYS


def test_without_an_attack_on_single_tokens_the_implementation_was_not_tried(body):
    for attack in body["inversion"]["attacks"]:
        attack["broken_below"] = None
    assert statuses(body)["attacks within the guarantee"] == "inconclusive"


@pytest.mark.parametrize("key", ["cosine", "code", "likelihood", "map", "beam"])
def test_an_attack_that_full_assurance_requires_and_that_failed_or_was_not_run_decides_nothing(body, key):
    """A certificate whose attacks were all unusable but the baseline was certified, with MAP at .61 against .30."""
    body["configuration"]["policy"]["attack_success_at_most"] = 0.3
    attacks = body["inversion"]["attacks"]
    assert verdict_of(checks_of(body)) == "certified"
    body["inversion"]["attacks"] = [attack for attack in attacks if attack["key"] != key]
    (check,) = (check for check in checks_of(body) if check.limit == "attacks of full assurance")
    assert (check.status, key in check.reason) == ("inconclusive", True)
    assert verdict_of(checks_of(body)) == "inconclusive"
    counts = dict.fromkeys(("tokens", "loud", "silent", "required", "allowed"), 3)
    test = {"key": key, "attack": key, "version": 1, **counts, "passed": False}
    body["inversion"]["unusable"] = [{**test, "reason": "It reads 3 of 192 tokens without noise."}]
    (check,) = (check for check in checks_of(body) if check.limit == "attacks of full assurance")
    assert (check.status, "3 of 192" in check.reason) == ("inconclusive", True)


def test_quick_assurance_requires_the_short_list_alone(body):
    body["configuration"]["policy"]["assurance"] = body["assurance"] = "quick"
    body["requires"] = ["baseline", "map"]
    kept = [attack for attack in body["inversion"]["attacks"] if attack["key"] in ("baseline", "map")]
    body["inversion"]["attacks"] = kept
    assert statuses(body)["attacks of quick assurance"] == "passed"
    assert {
        check.limit: check.status for check in checks_of(body, {**body["configuration"]["policy"], "assurance": "full"})
    }["attacks of full assurance"] == "inconclusive"
    body["inversion"]["attacks"] = kept[:1]
    assert statuses(body)["attacks of quick assurance"] == "inconclusive"


def test_a_certificate_is_held_to_the_attacks_that_its_level_required_when_it_was_made(body):
    body["requires"] = [attack["key"] for attack in body["inversion"]["attacks"]]
    assert statuses(body) == ALWAYS
    body["requires"].append("contextual")
    (check,) = (check for check in checks_of(body) if check.limit == "attacks of full assurance")
    assert (check.status, "contextual was not run" in check.reason) == ("inconclusive", True)


def test_an_attack_that_is_certainly_over_the_limit_refuses_whatever_a_wider_interval_holds(body):
    """MAP .53 [.51, .55] misses .5 for certain; that the beam's [.42, .62] holds it changes nothing."""
    for attack in body["inversion"]["attacks"]:
        if attack["key"] == "map":
            attack.update(success=rated(0.53, 0.51, 0.55), above=0.505)
        if attack["key"] == "beam":
            attack.update(success=rated(0.52, 0.42, 0.62), above=0.39)
    body["configuration"]["policy"]["attack_success_at_most"] = 0.5
    (check,) = (check for check in checks_of(body) if check.limit == "strongest attack")
    assert (check.status, check.found.startswith("MAP")) == ("failed", True)
    assert verdict_of(checks_of(body)) == "refused"
    for attack in body["inversion"]["attacks"]:
        attack["above"] = None  # as of format 2: the own interval moved out for the number of attacks
    assert statuses(body)["strongest attack"] == "failed"
    body["configuration"]["policy"]["attack_success_at_most"] = 0.509
    assert statuses(body)["strongest attack"] == "inconclusive"


def test_a_limit_up_to_meaning_refuses_what_the_exact_share_would_pass(body):
    """MAP recovers 11.5% [11.1%, 12.0%] exactly and 16.1% [15.6%, 16.7%] up to meaning."""
    body["configuration"]["policy"].update(attack_success_at_most=0.15, meaning_success_at_most=0.17)
    assert verdict_of(checks_of(body)) == "certified"
    body["configuration"]["policy"]["meaning_success_at_most"] = 0.16
    assert statuses(body)["strongest attack up to meaning"] == "inconclusive"
    body["configuration"]["policy"]["meaning_success_at_most"] = 0.15
    found = {check.limit: check for check in checks_of(body)}
    assert found["strongest attack"].status == "passed"
    refused = found["strongest attack up to meaning"]
    assert (refused.status, refused.found[:30]) == ("failed", "MAP, unigram prior: 0.1614 [0.")
    assert verdict_of(checks_of(body)) == "refused"


def test_a_limit_up_to_meaning_is_undecided_where_an_attack_has_no_figure(body):
    """It stopped early, or the certificate is of format 4."""
    body["configuration"]["policy"]["meaning_success_at_most"] = 0.99
    assert statuses(body)["strongest attack up to meaning"] == "passed"
    body["inversion"]["attacks"][-1].update(meaning=None, meaning_above=None)
    assert statuses(body)["strongest attack up to meaning"] == "inconclusive"
    older = json.loads((FIXTURES / "certificate-4.json").read_text(encoding="utf8"))
    checks = checks_of(older, {**older["configuration"]["policy"], "meaning_success_at_most": 0.99})
    (check,) = (check for check in checks if check.limit == "strongest attack up to meaning")
    assert (check.status, "older format" in check.reason) == ("inconclusive", True)


@pytest.mark.parametrize("control", ["no prompt", "soft prompt alone", "another user's released prompt"])
def test_a_service_that_is_worse_than_a_control_does_not_pass(body, control):
    """Released prompt perplexity 542, no prompt 63, and yet better than another user's release."""
    body["configuration"]["policy"]["paired_gain_at_least"] = 0.0
    assert verdict_of(checks_of(body)) == "certified"
    worse = rated(-0.5, -0.6, -0.4, "nats per token", "prompts")
    utility = body["utility"]
    if control == "another user's released prompt":
        utility["paired_gain"] = worse
    else:
        utility["gains_over"][control] = worse
    assert statuses(body)[f"utility: gain over {control}"] == "failed"
    if control != "another user's released prompt":
        del utility["gains_over"][control]
        assert statuses(body)[f"utility: gain over {control}"] == "inconclusive"
        utility["gains_over"] = {}  # as of format 2
        assert statuses(body)[f"utility: gain over {control}"] == "inconclusive"


def test_a_gain_of_nothing_is_no_gain(body):
    body["configuration"]["policy"]["paired_gain_at_least"] = 0.0
    body["utility"]["paired_gain"] = rated(0.0, 0.0, 0.0, "nats per token", "prompts")
    assert statuses(body)["utility: gain over another user's released prompt"] == "failed"
    body["utility"]["paired_gain"] = rated(0.1, 0.0, 0.2, "nats per token", "prompts")
    assert statuses(body)["utility: gain over another user's released prompt"] == "inconclusive"


def test_a_gain_of_fewer_than_twenty_prompts_decides_nothing(body):
    """At 3 prompts, 11% of intervals of a gain of zero were above it."""
    body["configuration"]["policy"]["paired_gain_at_least"] = 0.0
    name = "utility: gain over another user's released prompt"
    for sample, status in ((20, "passed"), (19, "inconclusive"), (3, "inconclusive")):
        body["utility"]["paired_gain"] = rated(0.5, 0.4, 0.6, "nats per token", "prompts") | {"sample": sample}
        assert statuses(body)[name] == status


def test_what_lacks_a_figure_says_why(body):
    policy, utility = body["configuration"]["policy"], body["utility"]
    policy.update(paired_gain_at_least=0.0, share_of_clean_gain_at_least=0.1, task_accuracy_at_least=0.1)
    utility["paired_gain"] = rated(0.5, 0.4, 0.6, "nats per token", "prompts") | {"sample": 3}
    del utility["gains_over"]["no prompt"]
    utility.update(share_of_clean_gain=None, task=None)
    reasons = {check.limit: check.reason for check in checks_of(body) if check.found == "no figure"}
    assert "measured on 3 prompts, and at least 20" in reasons["utility: gain over another user's released prompt"]
    assert "it was not measured" in reasons["utility: gain over no prompt"]
    assert "the clean prompt itself gives no gain" in reasons["utility: share of the clean gain"]
    assert "it was not measured" in reasons["utility: accuracy of none"]
    assert len(reasons) == 5


def test_the_share_of_the_clean_gain_has_a_limit(body):
    policy, name = body["configuration"]["policy"], "utility: share of the clean gain"
    for limit, status in ((0.2, "passed"), (0.25, "inconclusive"), (0.3, "failed")):
        policy["share_of_clean_gain_at_least"] = limit
        assert statuses(body)[name] == status
    body["utility"]["share_of_clean_gain"] = None
    assert statuses(body)[name] == "inconclusive"


def test_a_task_that_always_naming_the_commonest_class_solves_as_well_is_not_solved(body):
    policy, task = body["configuration"]["policy"], body["utility"]["task"]
    policy["task_accuracy_at_least"] = 0.4
    task["accuracy"] = rated(0.6, 0.5, 0.7, "share of documents", "documents")
    for low, status in ((0.01, "passed"), (-0.01, "inconclusive")):
        task["over_majority"] = rated(0.05, low, 0.1, "share of documents", "documents")
        assert statuses(body)["utility: accuracy of rating over its commonest class"] == status
    for limit, status in ((0.499, "passed"), (0.5, "inconclusive"), (0.7, "failed")):
        policy["task_accuracy_at_least"] = limit
        assert statuses(body)["utility: accuracy of rating"] == status
    task["over_majority"] = None  # as of format 2
    assert statuses(body)["utility: accuracy of rating over its commonest class"] == "inconclusive"


def test_an_attributes_advantage_has_a_limit(body):
    policy = body["configuration"]["policy"]
    body["attribute"] |= {"column": "condition", "advantage": rated(0.2, 0.1, 0.3, "advantage", "documents")}
    for limit, status in ((0.3, "passed"), (0.2, "inconclusive"), (0.0, "failed")):
        policy["attribute_advantage_at_most"] = limit
        assert statuses(body) == {**ALWAYS, "attribute advantage (condition)": status}
    body["attribute"] = None
    assert statuses(body) == {**ALWAYS, "attribute advantage (none)": "inconclusive"}


def test_every_line_of_epsilon_says_how_many_tokens_and_sends(body):
    policy = body["configuration"]["policy"]
    policy.update(sends=4, epsilon=[{"unit": "prompt", "tokens": 48, "delta": 1e-5, "at_most": 64.0}])
    body["guarantees"] = guarantees_of(QuantizerSpec(**body["spec"]), body["configuration"])
    (check,) = (check for check in checks_of(body) if check.limit.startswith("epsilon"))
    assert check.status == "failed"
    assert "(48 tokens, sent 4 times)" in check.limit
    for sends, said in ((1, "(48 tokens)"), (2, "(48 tokens, sent 2 times)")):
        policy["sends"] = sends
        body["guarantees"] = guarantees_of(QuantizerSpec(**body["spec"]), body["configuration"])
        (check,) = (check for check in checks_of(body) if check.limit.startswith("epsilon"))
        assert said in check.limit


@pytest.mark.parametrize(("tokens", "said"), [(1, "(1 token)"), (2, "(2 tokens)")])
def test_one_token_is_a_token_and_two_are_tokens(body, tokens, said):
    unit = {"unit": "phrase", "tokens": tokens, "delta": 1e-5, "at_most": 60.0}
    body["configuration"]["policy"]["epsilon"] = [unit]
    body["guarantees"] = guarantees_of(QuantizerSpec(**body["spec"]), body["configuration"])
    assert f"epsilon of a phrase {said} at delta 1e-05" in statuses(body)


def test_guarantees_are_taken_at_the_sends_of_the_policy(body):
    """The example sent 4 times: epsilon 187 per token, where one send has 62."""
    policy, spec = body["configuration"]["policy"], QuantizerSpec.from_mu(4, 18, 0.05, 8.0)
    found = {}
    for sends in (1, 4):
        policy["sends"] = sends
        rows = guarantees_of(spec, body["configuration"])
        found[sends] = next(row["epsilon"]["upper"] for row in rows if row["unit"] == "token")
    assert found[1] == pytest.approx(62.04, abs=0.01)
    assert found[4] == pytest.approx(187, abs=0.5)


def test_what_no_limit_names_is_quoted_at_the_policys_first_delta_and_its_prompts(body):
    configuration, spec = body["configuration"], QuantizerSpec(**body["spec"])
    configuration["evaluation"]["prompt_tokens"] = 24
    configuration["policy"].update(
        prompt_tokens=12, epsilon=[{"unit": "token", "tokens": 1, "delta": at, "at_most": 60.0} for at in (1e-6, 1e-7)]
    )
    rows = [(row["unit"], row["tokens"], row["delta"]) for row in guarantees_of(spec, configuration)]
    assert rows == [("token", 1, 1e-6), ("phrase", 5, 1e-6), ("prompt", 12, 1e-6), ("token", 1, 1e-7)]
    configuration["policy"]["epsilon"] = []
    rows = [(row["unit"], row["tokens"], row["delta"]) for row in guarantees_of(spec, configuration)]
    assert rows == [("token", 1, 1e-5), ("phrase", 5, 1e-5), ("prompt", 12, 1e-5)]


def test_each_unit_is_held_to_its_own_limit(body):
    spec, policy = QuantizerSpec(**body["spec"]), body["configuration"]["policy"]
    policy["epsilon"] = [
        {"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 60.0},
        {"unit": "token", "tokens": 1, "delta": 1e-9, "at_most": 60.0},
        {"unit": "session", "tokens": 96, "delta": 1e-5, "at_most": 60.0},
    ]
    body["guarantees"] = guarantees_of(spec, body["configuration"])
    found = [statuses(body)[key] for key in list(statuses(body))[2:]]
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
    assert found["slice: names"] == "failed"
    assert found["slice: numbers"] == "passed"


def test_a_slice_that_one_attack_has_no_figure_of_is_inconclusive(body):
    for attack in body["inversion"]["attacks"]:
        attack["slices"] = [part("names", 0.0)]
    body["configuration"]["policy"]["slice_success_at_most"] = {"names": 0.5, "rare words": 0.5}
    body["inversion"]["attacks"][2]["slices"][0].update(success=None, why="too few tokens: 3 of 2 documents")
    found = {check.limit: check for check in checks_of(body)}
    assert found["slice: names"].status == found["slice: rare words"].status == "inconclusive"
    assert "3 of 2 documents" in found["slice: names"].reason
    assert "no such slice was measured" in found["slice: rare words"].reason
    assert verdict_of(list(found.values())) == "inconclusive"


def test_only_repeated_releases_decide_the_worst_prompt(body):
    policy, attacks = body["configuration"]["policy"], body["inversion"]["attacks"]
    policy["worst_prompt_success_at_most"] = 0.4
    (check,) = (check for check in checks_of(body) if check.limit == "worst prompt")
    assert (check.status, "no prompt was released repeatedly" in check.reason) == ("inconclusive", True)
    for attack in attacks:
        attack["worst_of_releases"] = {"success": rated(0.2, 0.15, 0.31), "above": 0.14}
    assert statuses(body)["worst prompt"] == "passed"
    attacks[-1]["worst_of_releases"]["success"]["upper"] = 0.41
    assert statuses(body)["worst prompt"] == "inconclusive"
    attacks[0]["worst_of_releases"]["above"] = 0.401
    assert statuses(body)["worst prompt"] == "failed"


def test_checks_do_not_depend_on_the_order_of_keys(body):
    for attack in body["inversion"]["attacks"]:
        attack["slices"] = [part("names", 0.1), part("numbers", 0.05), part("rare words", 0.01)]
    body["configuration"]["policy"]["slice_success_at_most"] = {"rare words": 0.1, "numbers": 0.1, "names": 0.2}
    again = json.loads(json.dumps(body, sort_keys=True))
    assert checks_of(again) == checks_of(body)


def test_what_is_proved_follows_from_the_body_alone(body):
    before = copy.deepcopy(body)
    found = recomputed(body)
    assert body == before
    assert found["guarantees"][0]["epsilon"]["upper"] == pytest.approx(51.3797, abs=1e-3)
    assert {g["kind"] for g in found["guarantees"]} == {"proved"}
    assert [g["sends"] for g in found["guarantees"]] == [1] * len(found["guarantees"])
    body["inversion"]["kappa"] = 0.2
    assert recomputed(body)["inversion"]["allowed"]["upper"] > found["inversion"]["allowed"]["upper"]


def test_of_two_attacks_with_one_name_none_is_passed_over(body):
    """A later version's attack may have the name of another: the one that beats the guarantee counts."""
    attacks = body["inversion"]["attacks"]
    over = {**attacks[0], "key": "a-later-one", "broken_below": 0.9999}
    body["inversion"]["attacks"] = [over, *attacks]
    assert statuses(body)["attacks within the guarantee"] == "failed"
