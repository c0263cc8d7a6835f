"""The seed follows from private texts and policy; a limit that came later does not move it where nobody asks."""

import json
from pathlib import Path

import pytest

from del_audit.configuration.policy import Policy
from del_audit.service.seed import LATER_LIMITS, seed_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "certificates"


@pytest.mark.parametrize("number", [3, 4])
def test_an_older_certificates_seed_is_that_of_its_policy_as_it_is_written_today(number):
    body = json.loads((FIXTURES / f"certificate-{number}.json").read_text(encoding="utf8"))
    private, policy = body["hashes"]["private_texts"], body["configuration"]["policy"]
    today = {**Policy.model_validate(policy).model_dump(mode="json"), "epsilon": policy["epsilon"]}
    assert set(today) - set(policy) <= set(LATER_LIMITS)
    assert seed_of(private, today) == seed_of(private, policy) == body["seed"]


@pytest.mark.parametrize("name", LATER_LIMITS)
def test_a_later_limit_that_is_asked_for_is_another_policy(name):
    policy = Policy(attack_success_at_most=0.5).model_dump(mode="json")
    assert policy[name] is None
    assert seed_of("a" * 64, {**policy, name: 0.5}) != seed_of("a" * 64, policy)
