"""The scale that a search starts from is at the policy's edge; what no scale brings within it is refused."""

import math

import pytest

from del_audit.accounting.accountant import Accountant
from del_audit.configuration.mechanisms import DelMechanism
from del_audit.configuration.policy import Policy
from del_audit.tune.proof import LOUDER, least_scale, proved_epsilons
from mechanisms.spec import QuantizerSpec

MECHANISM = DelMechanism(bits=4, dim=12, clip=0.05, mu=5.0)
TOKEN = {"at_most": 20.0}
PROMPT = {"unit": "prompt", "tokens": 16, "delta": 1e-6, "at_most": 90.0}


def epsilon(spec, limit):
    accountant = Accountant(spec, proved=True)
    return accountant.epsilon(
        delta=limit.get("delta", 1e-5), unit=limit.get("unit", "token"), tokens=limit.get("tokens", 1)
    )


@pytest.mark.parametrize("bits", [1, 4])
@pytest.mark.parametrize("limits", [[TOKEN], [PROMPT], [TOKEN, PROMPT]])
def test_the_least_scale_meets_every_limit_and_a_smaller_one_misses_one(bits, limits):
    found = least_scale(bits, 12, MECHANISM, Policy(epsilon=limits, prompt_tokens=16))
    at = QuantizerSpec(bits, 12, 0.05, found.scale)
    assert all(epsilon(at, limit).upper <= limit["at_most"] for limit in limits)
    below = found.scale
    while (
        smaller := QuantizerSpec(bits, 12, 0.05, below := math.nextafter(below, 0))
    ).threshold_high == at.threshold_high:
        pass
    beyond = {limit["at_most"]: epsilon(smaller, limit).lower for limit in limits}
    assert any(least > most for most, least in beyond.items())
    assert found.beyond > found.binding.at_most


def test_the_binding_limit_is_the_one_of_largest_scale():
    alone = [
        least_scale(4, 12, MECHANISM, Policy(epsilon=[limit], prompt_tokens=16)).scale for limit in (TOKEN, PROMPT)
    ]
    both = least_scale(4, 12, MECHANISM, Policy(epsilon=[TOKEN, PROMPT], prompt_tokens=16))
    assert both.scale == max(alone)
    assert both.binding.at_most == (20.0, 90.0)[alone.index(max(alone))]


def test_what_no_scale_meets_is_refused_with_the_reason():
    found = least_scale(4, 12, MECHANISM, Policy(epsilon=[{"at_most": 0.0, "delta": 1e-12}]))
    assert found.scale is None
    assert "no scale meets epsilon of a token at most 0" in found.reason


def test_bytes_are_counted_before_anything_is_proved():
    policy = Policy(epsilon=[TOKEN], bytes_per_token_at_most=6.0)
    assert least_scale(4, 12, MECHANISM, policy).scale is not None
    assert least_scale(5, 12, MECHANISM, policy).reason == "7.5 bytes a token, where at most 6 are allowed"


def test_without_a_limit_on_epsilon_the_search_begins_well_above_the_configurations_mu():
    found = least_scale(4, 12, MECHANISM, Policy(attack_success_at_most=0.2))
    assert QuantizerSpec(4, 12, 0.05, found.scale).mu == pytest.approx(LOUDER * 5.0)
    assert found.beyond is None


def test_epsilons_are_reported_for_the_policys_own_units():
    spec = QuantizerSpec.from_mu(4, 12, 0.05, 5.0)
    rows = proved_epsilons(spec, Policy(epsilon=[TOKEN, PROMPT], prompt_tokens=16))
    assert [(row["unit"], row["delta"], row["at_most"]) for row in rows] == [
        ("token", 1e-5, 20.0),
        ("prompt", 1e-6, 90.0),
    ]
    assert [row["epsilon"] for row in rows] == [epsilon(spec, TOKEN).upper, epsilon(spec, PROMPT).upper]
    (row,) = proved_epsilons(spec, Policy(attack_success_at_most=0.2))
    assert (row["at_most"], row["epsilon"]) == (None, epsilon(spec, {}).upper)
