"""`del-audit verify`: what was changed, forged, expired or miscalculated is refused, and the reason is named."""

import base64
import itertools
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from json_certificate import checks_of, guarantees_of, read

from attacks.registry import ATTACKS
from del_audit.certificate.against import compare
from del_audit.certificate.claim import claim_of
from del_audit.certificate.error_rate import error_rate_of
from del_audit.certificate.requirement import Requirement
from del_audit.certificate.verify import verify
from del_audit.certificate.verify_command import moment
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.verdict import verdict_of
from del_audit.service.seed import seed_of
from mechanisms.canonical_json import canonical_sha256
from mechanisms.errors import UserError
from mechanisms.keyring import load_public_key
from mechanisms.signed_document import raw_public_key, sign, signed_bytes
from mechanisms.spec import QuantizerSpec

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"
WHOLE = json.loads((FIXTURES / "certificate-6.json").read_text(encoding="utf8"))
AT = "2026-12-31"
NOW = datetime(2026, 12, 31, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = {raw_public_key(KEY)}

pytestmark = pytest.mark.usefixtures("attacks_of_then")


@pytest.fixture
def body():
    """Returns the kept certificate's body, fresh, to be changed and signed by another key that is trusted."""
    return {key: json.loads(json.dumps(value)) for key, value in WHOLE.items() if key != "signature"}


def verified(body, **options):
    return verify(signed_bytes(sign(body, KEY)), TRUSTED, NOW, **options)


def failed(body, **options):
    found = verified(body, **options)
    assert not found.valid
    assert found.verdict is None
    return {step.name: step.reason for step in found.steps if step.status == "failed"}


def run(*arguments, capsys):
    code = main(["verify", *map(str, arguments)])
    return code, capsys.readouterr()


def test_the_kept_certificate_verifies(capsys):
    """It was made on another day; another machine and a later version must verify it as well."""
    command = (FIXTURES / "certificate-6.json", "--trust", FIXTURES / "certificate-6.pub", "--at", AT)
    code, printed = run(*command, capsys=capsys)
    assert code == 0, printed.out
    assert printed.out.splitlines()[-1] == "Valid: certified."
    assert "failed" not in printed.out
    assert "numbers computed again agree" in printed.out


def test_json_has_stable_keys(capsys):
    command = (FIXTURES / "certificate-6.json", "--trust", FIXTURES / "certificate-6.pub", "--at", AT, "--json")
    code, printed = run(*command, "--no-recompute", capsys=capsys)
    found = json.loads(printed.out)
    assert (code, found["valid"], found["verdict"]) == (0, True, "certified")
    assert set(found) == {"valid", "verdict", "assurance", "signed_by", "steps", "today"}
    assert [step["name"] for step in found["steps"]] == [
        "signature",
        "trust",
        "schema",
        "date",
        "attacks",
        "consistency",
        "proved figures",
        "claim",
        "attempts",
    ]
    assert found["steps"][-3]["status"] == "skipped"
    assert all(step["reason"].endswith(".") for step in found["steps"])
    assert (found["assurance"], found["today"]) == ("full", [])


def test_a_stranger_is_refused_with_the_fingerprint(capsys):
    code, printed = run(FIXTURES / "certificate-6.json", "--at", AT, capsys=capsys)
    assert code == 1
    assert "signed by SHA256:" in printed.out
    assert "Invalid" in printed.out
    assert "schema" not in printed.out  # what a stranger wrote is not read
    code, _ = run(FIXTURES / "certificate-6.json", "--at", AT, "--trust", TRUSTED.copy().pop().hex(), capsys=capsys)
    assert code == 1


def test_dates_count(capsys):
    command = (FIXTURES / "certificate-6.json", "--trust", FIXTURES / "certificate-6.pub", "--no-recompute")
    for at, said in ((WHOLE["expires"], "expired on"), ("2040-01-01", "certify again"), ("2020-01-01", "before now")):
        code, printed = run(*command, "--at", at, capsys=capsys)
        assert code == 1
        assert said in printed.out
    code, printed = run(*command, "--at", "tomorrow", capsys=capsys)
    assert code == 2
    assert "--at to be an ISO date" in printed.err
    assert moment("2026-11-24T01:00+01:00") == datetime(2026, 11, 24, tzinfo=UTC)


def test_an_attack_that_became_stronger_ends_it(body, monkeypatch):
    monkeypatch.setitem(ATTACKS, "map", replace(ATTACKS["map"], version=ATTACKS["map"].version + 1))
    said = failed(body, recompute=False)
    assert list(said) == ["attacks"]
    assert "attack map has become stronger since (version" in said["attacks"]
    assert "certify again" in said["attacks"]


def test_an_attack_that_the_level_came_to_require_is_named(body, monkeypatch):
    """It said "certify again" for ever, and not which attack was missing."""
    monkeypatch.setitem(ATTACKS, "contextual", replace(ATTACKS["contextual"], required_by=("full",)))
    said = failed(body, recompute=False)["attacks"]
    assert "contextual was not run" in said
    assert "with contextual among evaluation.attacks" in said


def add_attack(body, key, name="a later one", success=None, above=0.1):
    """Adds an attack on contexts to what was asked for and what was run; success: its rate and interval's ends."""
    like = next(attack for attack in body["inversion"]["attacks"] if attack["key"] == "adapted-beam")
    added = {**json.loads(json.dumps(like)), "key": key, "name": name, "version": 1, "above": above}
    added["success"].update(success or {})
    added["meaning"].update(success or {})
    body["inversion"]["attacks"].append(added)
    body["configuration"]["evaluation"]["attacks"].append(key)
    body["inversion"]["strongest"] = max(body["inversion"]["attacks"], key=lambda one: one["success"]["upper"])["name"]
    rest(body)


def test_an_attack_that_is_unknown_here_counts_like_any_other(body, tmp_path):
    """A later version's attack makes the verdict stricter, and never ends the certificate or passes unseen."""
    add_attack(body, "a-later-one")
    assert verified(body, recompute=False).verdict == "certified"
    (tmp_path / "policy.yaml").write_text("attack_success_at_most: 0.8\n")
    require = Requirement.of(tmp_path / "policy.yaml")
    assert verified(body, recompute=False, require=require).valid
    add_attack(body, "another", "another later one", {"value": 0.87, "lower": 0.85, "upper": 0.89}, above=0.84)
    assert body["inversion"]["strongest"] == "another later one"
    assert verified(body, recompute=False).verdict == "certified"
    said = failed(body, recompute=False, require=require)
    assert list(said) == ["required: strongest attack"]
    assert "another later one recovers more than 0.84" in said["required: strongest attack"]
    body["inversion"]["attacks"][-1].update(above=0.95)
    for share in ("success", "meaning"):
        body["inversion"]["attacks"][-1][share].update(value=0.97, lower=0.96, upper=0.98)
    follow(body)
    assert verified(body, recompute=False).verdict == "refused"
    body["verdict"] = "certified"
    assert "consistency" in failed(body, recompute=False)


def test_an_unknown_attack_is_missing_only_where_the_certificate_itself_requires_it(body):
    body["requires"].append("a-later-one")
    follow(body)
    assert verified(body, recompute=False).verdict == "inconclusive"
    add_attack(body, "a-later-one")
    assert verified(body, recompute=False).verdict == "certified"


def test_a_certificate_keeps_an_attacks_former_name(body, monkeypatch):
    add_attack(body, "informed", "beam search over the contextual inverter")
    assert verified(body, recompute=False).verdict == "certified"
    today = ATTACKS["contextual-beam"]
    monkeypatch.setitem(ATTACKS, "contextual-beam", replace(today, required_by=("full",)))
    assert verified(body, recompute=False).verdict == "certified"  # it has what the level came to require
    monkeypatch.setitem(ATTACKS, "contextual-beam", replace(today, version=today.version + 1))
    assert "attack informed has become stronger since" in failed(body, recompute=False)["attacks"]


@pytest.mark.parametrize(("stored", "written"), list(itertools.product(["informed", "contextual-beam"], repeat=2)))
def test_a_configuration_is_the_certificates_under_either_name_of_an_attack(body, tmp_path, stored, written):
    content = {
        "name": "a",
        "model": "m",
        "mechanism": {"bits": 4, "dim": 8, "clip": 0.05, "mu": 5.0},
        "data": {"corpus": "c.csv"},
        "evaluation": {"attacks": ["baseline", "map", written]},
        "policy": {"attack_success_at_most": 0.2},
    }
    path = tmp_path / "a.yaml"
    path.write_text(yaml.safe_dump(content))
    described = load_configuration(path).model_dump(mode="json")
    assert described["evaluation"]["attacks"][-1] == "contextual-beam"
    described["evaluation"]["attacks"] = ["baseline", "map", stored]
    body["configuration"], body["hashes"]["configuration"] = described, canonical_sha256(described)
    assert next(compare(read(body), path))[1] == "passed"
    described["evaluation"]["attacks"] = ["baseline", "map", "contextual"]
    assert (
        next(compare(read({**body, "hashes": {**body["hashes"], "configuration": canonical_sha256(described)}}), path))[
            1
        ]
        == "failed"
    )


def test_without_an_attack_that_it_requires_the_verdict_is_inconclusive(body):
    attacks = body["inversion"]["attacks"]
    attacks[:] = [attack for attack in attacks if attack["key"] != "cosine"]
    follow(body)
    assert "attacks run or unusable to be" in failed(body, recompute=False)["consistency"]
    test = {"attack": "cosine", "version": 1, "tokens": 9, "loud": 0, "silent": 0, "required": 5, "allowed": 2}
    body["inversion"]["unusable"].append({"key": "cosine", **test, "reason": "It reads nothing.", "passed": False})
    follow(body)
    found = verified(body, recompute=False)
    assert (found.valid, found.verdict) == (True, "inconclusive")


def test_a_certificate_whose_attacks_all_failed_is_not_certified(body):
    """It verified as certified: the baseline alone was read, where MAP would have read twice the limit."""
    attacks, unusable = body["inversion"]["attacks"], body["inversion"]["unusable"]
    for attack in attacks[1:]:
        test = {
            "attack": attack["name"],
            "version": 1,
            "tokens": 9,
            "loud": 0,
            "silent": 0,
            "required": 5,
            "allowed": 2,
        }
        unusable.append({"key": attack["key"], **test, "reason": "It reads nothing.", "passed": False})
    del attacks[1:]
    body["inversion"]["strongest"] = attacks[0]["name"]
    body.update(verdict="certified", reasons=[])
    assert "consistency" in failed(body, recompute=False)
    follow(body)
    assert verified(body, recompute=False).verdict == "inconclusive"


def test_a_level_that_states_fewer_attacks_than_it_has_is_refused(body):
    body["requires"] = ["baseline", "map"]
    follow(body)
    assert "requires, without some to be []" in failed(body, recompute=False)["consistency"]


def quick(body):
    policy = body["configuration"]["policy"]
    policy["assurance"] = body["assurance"] = "quick"
    body["requires"] = ["baseline", "map"]
    body["configuration"]["evaluation"]["attacks"] = ["baseline", "map"]
    attacks = body["inversion"]["attacks"]
    attacks[:] = [attack for attack in attacks if attack["key"] in ("baseline", "map")]
    rest(body)


def rest(body):
    """Makes hash, seed and checks follow from the configuration."""
    body["hashes"]["configuration"] = canonical_sha256(body["configuration"])
    body["seed"] = seed_of(body["hashes"]["private_texts"], body["configuration"]["policy"])
    body["reproduce"]["seed"] = body["seed"]
    follow(body)


def written(body, tmp_path, name="certificate.json"):
    path = tmp_path / name
    path.write_bytes(signed_bytes(sign(body, KEY)))
    return path, "--trust", raw_public_key(KEY).hex(), "--at", AT


def test_a_quick_certificate_verifies_as_quick_and_opens_only_a_gate_that_accepts_it(body, tmp_path, capsys):
    quick(body)
    command = written(body, tmp_path)
    code, printed = run(*command, "--no-recompute", capsys=capsys)
    assert (code, "Valid: quick" in printed.out, "--accept-quick" in printed.out) == (1, True, True)
    code, printed = run(*command, "--no-recompute", "--accept-quick", capsys=capsys)
    assert (code, "Valid: quick" in printed.out) == (0, True)
    for level, expected in (("full", 1), ("quick", 0)):
        (tmp_path / "policy.yaml").write_text(f"assurance: {level}\nattack_success_at_most: 0.99\n")
        code, printed = run(*command, "--require", tmp_path / "policy.yaml", capsys=capsys)
        assert code == expected, printed.out


REQUIRED = [
    ("attack_success_at_most: 0.99", None),
    ("attack_success_at_most: 0.1", "required: strongest attack"),
    ("epsilon: {at_most: 40}", None),
    ("epsilon: {at_most: 3}", "required: epsilon of a token"),
    ("epsilon: {unit: phrase, tokens: 3, at_most: 3}", "required: epsilon of a phrase (3 tokens)"),
    ("{epsilon: {unit: prompt, at_most: 3000}, prompt_tokens: 12}", None),
    ("{epsilon: {unit: prompt, at_most: 3000}, prompt_tokens: 16}", "required: tokens of a prompt"),
    ("{sends: 2, attack_success_at_most: 0.99}", "required: sends of a text"),
    ("{epsilon: {unit: session, tokens: 1000, delta: 1.0e-6, at_most: 1000000}}", None),
    ("{epsilon: {unit: session, tokens: 999, at_most: 1000000}}", "required: tokens of a session"),
    ("{epsilon: {unit: session, tokens: 1000, at_most: 1000000}, session_days: 31}", "required: tokens of a session"),
    ("{attack_success_at_most: 0.99, paired_gain_at_least: 5}", "required: utility: gain over no prompt"),
    ("{attack_success_at_most: 0.99, share_of_clean_gain_at_least: 0.9}", "required: utility: share"),
    ("{attack_success_at_most: 0.99, worst_prompt_success_at_most: 0.9}", "required: worst prompt"),
    ("{attack_success_at_most: 0.99, slice_success_at_most: {names: 0.99}}", "required: slice: names"),
]


@pytest.mark.parametrize(("policy", "unmet"), REQUIRED)
def test_a_verifiers_own_limits_decide(policy, unmet, body, tmp_path, capsys):
    (tmp_path / "policy.yaml").write_text(policy + "\n")
    command = (FIXTURES / "certificate-6.json", "--trust", FIXTURES / "certificate-6.pub", "--at", AT)
    code, printed = run(*command, "--require", tmp_path / "policy.yaml", capsys=capsys)
    assert code == (0 if unmet is None else 1), printed.out
    if unmet is not None:
        assert any(line.startswith("failed") and unmet in line for line in printed.out.splitlines()), printed.out
        with pytest.raises(UserError, match="meets the required policy"):
            Requirement.of(tmp_path / "policy.yaml").require_met(body)
    else:
        Requirement.of(tmp_path / "policy.yaml").require_met(body)  # raises nothing


UNMET = [
    ("{sends: 2, attack_success_at_most: 0.99}", "Asked evidence at 2 or more, found 1."),
    ("{epsilon: {unit: prompt, at_most: 3000}, prompt_tokens: 16}", "Asked exactly 16, found 12."),
    (
        "{epsilon: {unit: session, tokens: 999, at_most: 1000000}}",
        "Asked at most 999 in 30 days, found 1000 in 30 days.",
    ),
]


@pytest.mark.parametrize(("policy", "said"), UNMET)
def test_a_client_that_may_do_otherwise_is_told_what_was_asked_and_what_was_found(policy, said, body, tmp_path):
    (tmp_path / "policy.yaml").write_text(policy + "\n")
    require = Requirement.of(tmp_path / "policy.yaml")
    (reason,) = failed(body, recompute=False, require=require).values()
    assert reason == f"{said} The certificate's client may do otherwise."


def test_a_verifiers_guarantees_are_taken_at_the_sends_that_the_certificate_allows(body, tmp_path):
    """One send of a token has epsilon 39; this certificate's client sends it twice."""
    policy = body["configuration"]["policy"]
    policy.update(sends=2, epsilon=[])
    body["guarantees"] = guarantees_of(QuantizerSpec(**body["spec"]), body["configuration"])
    rest(body)
    twice = body["guarantees"][0]["epsilon"]["upper"]
    assert twice > 45
    for asked, unmet in (
        (f"{{sends: 2, epsilon: {{at_most: {twice + 1}}}}}", []),
        (f"{{sends: 1, epsilon: {{at_most: {twice + 1}}}}}", []),
        (f"{{sends: 3, epsilon: {{at_most: {twice + 1}}}}}", ["required: sends of a text"]),
        ("epsilon: {at_most: 45}", ["required: epsilon of a token (1 token, sent 2 times) at delta 1e-05"]),
    ):
        (tmp_path / "policy.yaml").write_text(asked + "\n")
        found = verified(body, recompute=False, require=Requirement.of(tmp_path / "policy.yaml"))
        assert [step.name for step in found.steps if step.status == "failed"] == unmet


def test_a_client_without_a_session_is_told_so(body, tmp_path):
    policy = body["configuration"]["policy"]
    policy["epsilon"] = [limit for limit in policy["epsilon"] if limit["unit"] != "session"]
    rest(body)
    (tmp_path / "policy.yaml").write_text("{epsilon: {unit: session, tokens: 999, at_most: 1000000}}\n")
    found = failed(body, recompute=False, require=Requirement.of(tmp_path / "policy.yaml"))
    assert "Asked at most 999 in 30 days, found not stated." in found["required: tokens of a session"]


def test_a_verifiers_limit_that_nothing_can_miss_is_a_usage_error(tmp_path, capsys):
    (tmp_path / "policy.yaml").write_text("epsilon: {at_most: 1.0e+300, delta: 0.009}\n")
    command = (FIXTURES / "certificate-6.json", "--trust", FIXTURES / "certificate-6.pub", "--at", AT)
    code, printed = run(*command, "--require", tmp_path / "policy.yaml", capsys=capsys)
    assert (code, printed.out) == (2, "")
    assert "epsilon.at_most" in printed.err


def test_attempts_are_shown_and_unknown_ones_are_refused_where_it_is_strict(body, tmp_path, capsys):
    command = written(body, tmp_path)
    code, printed = run(*command, "--strict", capsys=capsys)
    assert (code, "Attempt 1 on this private split" in printed.out) == (0, True)
    body["attempts"]["count"] = None
    assert "error_rate to be" in failed(body, recompute=False)["consistency"]
    body["error_rate"]["over_all_attempts_at_most"] = None
    command = written(body, tmp_path)
    assert run(*command, capsys=capsys)[0] == 0
    code, printed = run(*command, "--strict", capsys=capsys)
    assert code == 1
    assert "Unknown: the log of attempts" in printed.out
    assert run(*command, "--strict", "--no-recompute", capsys=capsys)[0] == 2


def test_more_attempts_have_a_larger_chance_of_a_false_verdict(body):
    body["attempts"]["count"] = 3
    assert "error_rate to be" in failed(body, recompute=False)["consistency"]
    body["error_rate"] = error_rate_of(3).model_dump()
    assert verified(body, recompute=False).valid
    assert body["error_rate"]["over_all_attempts_at_most"] == pytest.approx(0.075)
    assert error_rate_of(41).over_all_attempts_at_most == 1.0


def test_a_seed_that_somebody_chose_is_refused(body):
    body["seed"] = body["reproduce"]["seed"] = 0
    assert "seed to be" in failed(body, recompute=False)["consistency"]


def test_unknown_sections_are_shown_and_unknown_limits_are_refused(body, tmp_path, capsys):
    body["sections"]["meaning"] = {"version": 7, "recovered": 0.5, "more": {"of": ["it"]}}
    code, printed = run(*written(body, tmp_path), "--no-recompute", capsys=capsys)
    assert code == 0
    assert "section meaning" in printed.out
    assert "Version 7: unknown here" in printed.out
    assert {step.name: step.status for step in verified(body).steps}["section meaning"] == "passed"
    del body["sections"]["meaning"]["version"]
    assert "schema" in failed(body, recompute=False)
    body["sections"] = {}
    body["configuration"]["policy"]["meaning_at_most"] = 0.1
    assert "configuration.policy" in failed(body, recompute=False)["schema"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": [{"unit": "token", "tokens": 1, "delta": 1e-5, "at_most": 1e300}]}, "can miss it"),
        ({"epsilon": [{"unit": "prompt", "tokens": 1, "delta": 1e-5, "at_most": 64}]}, "tokens of a prompt"),
        ({"bytes_per_token_at_most": 1e4}, "nothing can miss it"),
        ({"bytes_per_token_at_most": 1e9}, "bytes_per_token_at_most"),
        ({"attack_success_at_most": 1}, "attack_success_at_most"),
        ({"paired_gain_at_least": -1e9}, "paired_gain_at_least"),
        ({"epsilon": [{"unit": "token", "tokens": 1, "delta": 0.999999, "at_most": 64}]}, "delta"),
    ],
)
def test_a_signed_limit_that_nothing_can_miss_is_refused(body, change, said):
    body["configuration"]["policy"].update(change)
    for other in ({"unit": "prompt"}, {"delta": 0.999999}):
        body["guarantees"].append({**body["guarantees"][0], **other})
    rest(body)
    found = failed(body, recompute=False)
    assert said in found.get("schema", "") + found.get("consistency", "")


def test_what_a_configurations_assets_say_is_a_step_of_a_certificate_that_can_be_read(body, monkeypatch):
    asked = []

    def compare(given, path):
        asked.append((given, path))
        yield "against: model", "failed", "Another model."

    monkeypatch.setattr("del_audit.certificate.against.compare", compare)
    path = Path("configuration.yaml")
    assert failed(body, recompute=False, against=path) == {"against: model": "Another model."}
    assert asked == [(read(body), path)]
    body["verdict"] = "refused"
    assert list(failed(body, recompute=False, against=path)) == ["consistency"]
    assert len(asked) == 1


def test_a_limit_of_bytes_that_a_configuration_may_ask_for_verifies(body):
    body["configuration"]["policy"]["bytes_per_token_at_most"] = float(body["spec"]["dim"])
    rest(body)
    assert verified(body, recompute=False).valid


FORMAT_2 = (FIXTURES / "certificate-2.json", "--trust", FIXTURES / "certificate-2.pub", "--at", AT)


def test_a_certificate_of_format_2_verifies_for_ever_and_todays_rules_are_told_apart(capsys):
    code, printed = run(*FORMAT_2, "--json", capsys=capsys)
    found = json.loads(printed.out)
    assert (code, found["valid"], found["verdict"], found["assurance"]) == (0, True, "certified", None)
    assert {step["status"] for step in found["steps"]} == {"passed"}
    today = {step["name"]: step["status"] for step in found["today"]}
    assert today["attacks of full assurance"] == today["strongest attack"] == "passed"
    assert today["number of attempts"] == today["how often a text may be sent"] == "skipped"
    code, printed = run(*FORMAT_2, capsys=capsys)
    assert printed.out.splitlines()[-1].startswith("Valid: certified under the rules of its day.")
    code, printed = run(*FORMAT_2, "--strict", capsys=capsys)
    assert (code, "Valid under the rules of its day" in printed.out) == (1, True)  # what it does not say is unknown


INCONSISTENT_2 = [
    (("seed",), 5, "seed to be"),
    (("reproduce", "seed"), 5, "seed to be"),
    (("inversion", "attacks", 1, "key"), "informed", "attacks that were asked for"),
    (("inversion", "attacks", 1), None, "attacks run or unusable to be"),
    (("verdict",), "refused", "verdict to be certified"),
    (("checks", 1, "status"), "failed", "verdict to be refused"),
    (("reasons",), ["none"], "reasons to be"),
    (("hashes", "spec"), "0" * 64, "hashes.spec to be"),
]


@pytest.mark.parametrize(("path", "value", "said"), INCONSISTENT_2)
def test_parts_of_format_2_that_disagree_are_refused(path, value, said):
    body = json.loads((FIXTURES / "certificate-2.json").read_text(encoding="utf8"))
    del body["signature"]
    assert verified(body, recompute=False).valid
    place = at(body, path[:-1])
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    found = verified(body, recompute=False)
    assert (found.valid, found.today) == (False, ())
    assert said in failed(body, recompute=False)["consistency"]


def test_limits_and_samples_that_format_2_allowed_still_verify():
    """Ranges became narrower with format 3: what was signed under the older ones is read as it was."""
    body = json.loads((FIXTURES / "certificate-2.json").read_text(encoding="utf8"))
    del body["signature"]
    body["configuration"]["policy"].update(attack_success_at_most=1, paired_gain_at_least=-0.5)
    body["configuration"]["evaluation"].update(generations=1, context_prompts=1)
    body["hashes"]["configuration"] = canonical_sha256(body["configuration"])
    found = verified(body, recompute=False)
    assert found.valid, found.failures
    assert "Asked at most 1 (" in {step.name: step for step in found.today}["strongest attack"].reason


def test_a_certificate_of_format_2_that_breaks_todays_rules_opens_no_gate(tmp_path, capsys):
    whole = json.loads((FIXTURES / "certificate-2.json").read_text(encoding="utf8"))
    body = {key: value for key, value in whole.items() if key != "signature"}
    attack = next(attack for attack in body["inversion"]["attacks"] if attack["key"] == "map")
    attack["success"].update(value=0.95, lower=0.93, upper=0.97)
    code, printed = run(*written(body, tmp_path), "--no-recompute", capsys=capsys)
    assert code == 1
    assert "today's rules refuse it" in printed.out


def test_a_valid_certificate_that_is_refused_says_so(body, tmp_path, capsys):
    policy = body["configuration"]["policy"]
    policy["bytes_per_token_at_most"] = 5
    check = next(check for check in body["checks"] if check["limit"] == "bytes per token")
    check.update(asked="at most 5", status="failed")
    claim = {"kind": "none", "says": "No claim: the verdict is refused."}
    body.update(verdict="refused", reasons=[f"bytes per token: {check['reason']}"], claim=claim)
    body["hashes"]["configuration"] = canonical_sha256(body["configuration"])
    body["seed"] = body["reproduce"]["seed"] = seed_of(body["hashes"]["private_texts"], policy)
    (tmp_path / "refused.json").write_bytes(signed_bytes(sign(body, KEY)))
    command = (tmp_path / "refused.json", "--trust", raw_public_key(KEY).hex(), "--at", AT)
    code, printed = run(*command, capsys=capsys)
    assert code == 1
    assert "Valid, but the verdict is refused:\n  - bytes per token" in printed.out


def test_a_signed_limit_is_refused_from_where_nothing_can_miss_it(body):
    """The least of them is 12 coordinates of 15 trials, each of 32 ln 2 nats at most."""
    largest = math.log(2) * 32 * 12 * 15
    limit = body["configuration"]["policy"]["epsilon"][0]
    for most, valid in ((largest * (1 - 1e-12), True), (largest, False)):
        limit["at_most"] = most
        rest(body)
        found = verified(body, recompute=False)
        assert found.valid == valid, found.failures
    assert f"epsilon.at_most < {largest:.6g} nats for unit: token" in failed(body, recompute=False)["consistency"]


def test_what_todays_rules_say_of_format_2_is_told_with_its_figures():
    body = json.loads((FIXTURES / "certificate-2.json").read_text(encoding="utf8"))
    del body["signature"]
    attack = next(attack for attack in body["inversion"]["attacks"] if attack["key"] == "map")
    attack["success"].update(value=0.91, lower=0.89, upper=0.95)
    today = {step.name: step for step in verified(body, recompute=False).today}
    assert today["strongest attack"].status == "skipped"  # undecided
    assert "Asked at most 0.9 (" in today["strongest attack"].reason
    assert today["number of attempts"].reason == "A certificate of format 2 does not say it."
    assert today["epsilon of a token (1 token) at delta 1e-05"].status == "passed"
    strict = verified(body, recompute=False, strict=True)
    assert {step.status for step in strict.today} == {"passed", "failed"}
    assert strict.today[-1].reason.endswith("(--strict)")
    assert {step.name for step in strict.steps if step.status == "failed"} == {"proved figures"}


def test_a_signature_over_other_bytes_is_refused(tmp_path, capsys):
    data = (FIXTURES / "certificate-6.json").read_bytes().replace(b'"verdict":"certified"', b'"verdict":"certifieD"')
    (tmp_path / "changed.json").write_bytes(data)
    code, printed = run(tmp_path / "changed.json", "--trust", FIXTURES / "certificate-6.pub", "--at", AT, capsys=capsys)
    assert code == 1
    assert "changed since" in printed.out
    found = verify(data, TRUSTED, NOW)
    assert ([(step.name, step.status) for step in found.steps], found.certificate) == ([("signature", "failed")], None)


def at(document, path):
    for step in path:
        document = document[step]
    return document


INCONSISTENT = [
    (("claim", "kind"), "formal", "claim to be"),
    (("inversion", "attacks", 4, "meaning", "value"), 0.3, "map up to meaning to be 0.58"),
    (("inversion", "attacks", 4, "meaning", "sample"), 999, "tokens of map up to meaning to be 1000"),
    (("inversion", "attacks", 4, "meaning"), None, "a figure of map up to meaning to be True"),
    (("inversion", "attacks", 5, "meaning_above"), None, "a lower limit of adapted-beam up to meaning to be True"),
    (("verdict",), "refused", "verdict to be certified"),
    (("checks", 0, "status"), "failed", "checks to be"),
    (("checks", 2, "found"), "at most 1 nats", "checks to be"),
    (("reasons",), ["none"], "reasons to be"),
    (("name",), "other", "name to be tiny"),
    (("seed",), 5, "seed to be"),
    (("reproduce", "commit"), "other", "reproduce.commit"),
    (("expires",), "2028-01-01T00:00:00+00:00", "expires - made to be 365 days"),
    (("hashes", "configuration"), "0" * 64, "hashes.configuration to be"),
    (("hashes", "spec"), "0" * 64, "hashes.spec to be"),
    (("configuration", "mechanism", "mu"), 6, "hashes.configuration"),
    (("inversion", "strongest"), "cosine", "inversion.strongest"),
    (("inversion", "attacks", 1, "key"), "map", "each once"),
    (("inversion", "attacks", 1, "key"), "informed", "attacks run or unusable"),
    (("assurance",), "quick", "assurance to be full"),
    (("attempts", "private_texts"), "0" * 64, "attempts.private_texts"),
    (("reproduce", "seed"), 5, "seed to be"),
    (("made",), "2026-11-01T00:00:00+00:00", "expires - made to be 365 days"),
    (("error_rate", "false_certified_at_most"), 0.01, "error_rate to be"),
    (("spec", "bits"), 5, "hashes.spec to be"),
]


@pytest.mark.parametrize(("path", "value", "said"), INCONSISTENT)
def test_parts_that_disagree_are_refused(body, path, value, said):
    at(body, path[:-1])[path[-1]] = value
    assert said in failed(body, recompute=False)["consistency"]


def test_a_spec_that_is_not_the_configurations_is_refused(body):
    body["configuration"]["mechanism"]["mu"] = 5.000001
    body["hashes"]["configuration"] = canonical_sha256(body["configuration"])
    assert "spec of configuration.mechanism" in failed(body, recompute=False)["consistency"]
    body["configuration"]["mechanism"].update(mu=5, scale=0.3)
    body["hashes"]["configuration"] = canonical_sha256(body["configuration"])
    assert "exactly one" in failed(body, recompute=False)["consistency"]


def test_a_spec_may_be_configured_by_its_scale(body):
    mechanism = body["configuration"]["mechanism"]
    mechanism.update(mu=None, scale=body["spec"]["scale"])
    rest(body)
    assert verified(body).valid
    mechanism["scale"] *= 1 + 1e-6
    rest(body)
    assert "spec of configuration.mechanism" in failed(body, recompute=False)["consistency"]


def test_a_limit_without_its_figure_is_refused(body):
    body["guarantees"] = [g for g in body["guarantees"] if g["unit"] != "session"]
    assert "a figure for each limit" in failed(body, recompute=False)["consistency"]


MISCALCULATED = [
    (("knowing", "context", "allowed"), 0.99, "knowing.context.allowed"),
    (("knowing", "context_both", "allowed"), 0.99, "knowing.context_both.allowed"),
    (("guarantees", 0, "epsilon", "upper"), 0.999, "guarantees.0.epsilon"),
    (("guarantees", 1, "epsilon", "upper"), 1.001, "guarantees.1.epsilon.upper"),
    (("guarantees", 1, "pure_epsilon", "lower"), 0.5, "guarantees.1.pure_epsilon.lower"),
    (("guarantees", 1, "total_variation", "upper"), 0.5, "guarantees.1.total_variation"),
    (("guarantees", 2, "gaussian_limit", "mu"), 0.99, "guarantees.2.gaussian_limit.mu"),
    (("guarantees", 2, "trials"), 2, "guarantees.2.trials"),
    (("curve", "exact", 100), 1.01, "curve.exact.100"),
    (("curve", "alpha", 7), 1.01, "curve.alpha.7"),
    (("inversion", "allowed", "upper"), 1.01, "inversion.allowed"),
    (("utility", "other_bits", 0, "epsilon", "lower"), 0.9, "utility.other_bits.0.epsilon.lower"),
    (("bytes", "a_prompt"), 0.5, "bytes.a_prompt"),
]


@pytest.mark.parametrize(("path", "factor", "said"), MISCALCULATED)
def test_a_miscalculated_figure_is_refused(body, path, factor, said):
    """Checks that rest on it are made to follow, so that only the recomputing can tell."""
    place = at(body, path[:-1])
    place[path[-1]] = round(place[path[-1]] * factor) if isinstance(place[path[-1]], int) else place[path[-1]] * factor
    if path[-1] == "upper" and "estimate" in place:
        place["estimate"] = min(place["estimate"], place["upper"])
        place["lower"] = min(place["lower"], place["upper"])
    follow(body)
    assert verified(body, recompute=False).valid
    assert said in failed(body)["proved figures"]


def follow(body):
    """Makes the checks and the verdict follow from the figures, where these are of the format."""
    try:
        checks = checks_of(body)
    except UserError:
        return
    body.update(
        checks=[check.to_dict() for check in checks],
        verdict=verdict_of(checks),
        reasons=[f"{check.limit}: {check.reason}" for check in checks if check.status != "passed"],
        claim=claim_of(read(body), checks).model_dump(),
    )


def test_a_digit_that_another_library_rounds_otherwise_is_accepted(body):
    for guarantee in body["guarantees"]:
        for end, step in (("lower", 1 - 1e-9), ("upper", 1 + 1e-9)):
            guarantee["epsilon"][end] *= step
    follow(body)
    assert verified(body).valid


def test_a_verdict_that_hangs_on_a_rounded_digit_is_refused(body):
    """The limit lies between the written upper end and the computed one: the written one is within the tolerance."""
    upper = body["guarantees"][0]["epsilon"]["upper"]
    body["guarantees"][0]["epsilon"].update(dict.fromkeys(("lower", "estimate", "upper"), upper * (1 - 1e-8)))
    body["configuration"]["policy"]["epsilon"][0]["at_most"] = upper * (1 - 5e-9)
    rest(body)
    assert body["verdict"] == "certified"
    said = failed(body)["proved figures"]
    assert "no number in common" in said or "verdict refused" in said


def test_malformed_files_end_with_code_2(tmp_path, capsys):
    path = tmp_path / "x.json"
    for data in (b"", b"{}", b"[]", b"\xff", json.dumps(WHOLE).encode()):
        path.write_bytes(data)
        code, printed = run(path, capsys=capsys)
        assert code == 2
        assert printed.err.startswith("del-audit: error: Expected")
        assert printed.err.count("\n") == 1
    code, printed = run(tmp_path / "none.json", capsys=capsys)
    assert code == 2


def test_control_characters_do_not_reach_the_terminal(body, tmp_path, capsys):
    body["inversion"]["attacks"][0]["name"] = "\x1b[2J\x07"
    body["name"] = "x"
    (tmp_path / "x.json").write_bytes(signed_bytes(sign(body, KEY)))
    run(tmp_path / "x.json", "--trust", raw_public_key(KEY).hex(), "--at", AT, capsys=capsys)
    main(["verify", str(tmp_path / "x.json"), "--trust", raw_public_key(KEY).hex(), "--at", AT])
    assert not set("\x1b\x07") & set(capsys.readouterr().out)


def test_verifying_is_light():
    heavy = ["torch", "transformers", "numpy", "scipy", "rich", "pandas"]
    code = (
        "import sys\nfrom del_audit.cli import main\n"
        f"assert main({['verify', str(FIXTURES / 'certificate-6.json'), '--no-recompute', '--at', AT]!r}"
        f" + ['--trust', {str(FIXTURES / 'certificate-6.pub')!r}]) == 0\n"
        f"sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_the_fixtures_key_is_the_one_that_signed():
    found = verify(
        (FIXTURES / "certificate-6.json").read_bytes(), {load_public_key(FIXTURES / "certificate-6.pub")}, NOW
    )
    assert found.valid


def test_openssl_verifies_the_kept_certificate(tmp_path):
    """Keys are sorted, so what was signed is the file with the signature's member cut out."""
    data = (FIXTURES / "certificate-6.json").read_bytes()
    signed, cuts = re.subn(rb'"signature":\{[^{}]*\},', b"", data)
    assert cuts == 1
    (tmp_path / "signed").write_bytes(signed)
    (tmp_path / "value").write_bytes(base64.b64decode(WHOLE["signature"]["value"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", str(FIXTURES / "certificate-6.pub")]
    command += ["-in", str(tmp_path / "signed"), "-sigfile", str(tmp_path / "value")]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    assert "Signature Verified Successfully" in done.stdout, done.stderr
    (tmp_path / "signed").write_bytes(signed.replace(b"certified", b"Certified", 1))
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_a_moment_out_of_range_is_refused():
    for text in ("0001-01-01T00:00:00+23:59", "10000-01-01", ""):
        with pytest.raises(UserError, match="--at"):
            moment(text)
