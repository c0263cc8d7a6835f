"""The noise that a search starts from is at the policy's edge; what no noise brings within it is refused."""

import math

import pytest

from del_audit.accounting.accountant import Accountant
from del_audit.configuration.mechanisms import KINDS, LARGEST_EPSILON, DelMechanism
from del_audit.configuration.policy import Policy
from del_audit.tune.channels import WordChannel
from del_audit.tune.proof import (
    LOUDER,
    Edge,
    edge_of,
    largest_epsilon,
    least_scale,
    proved_epsilon,
    proved_epsilons,
    refused,
)
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
    at = QuantizerSpec(bits, 12, 0.05, found.level)
    assert all(epsilon(at, limit).upper <= limit["at_most"] for limit in limits)
    below = found.level
    while (
        smaller := QuantizerSpec(bits, 12, 0.05, below := math.nextafter(below, 0))
    ).threshold_high == at.threshold_high:
        pass
    beyond = {limit["at_most"]: epsilon(smaller, limit).lower for limit in limits}
    assert any(least > most for most, least in beyond.items())
    assert found.beyond > found.binding.at_most


def test_the_binding_limit_is_the_one_of_largest_scale():
    alone = [
        least_scale(4, 12, MECHANISM, Policy(epsilon=[limit], prompt_tokens=16)).level for limit in (TOKEN, PROMPT)
    ]
    both = least_scale(4, 12, MECHANISM, Policy(epsilon=[TOKEN, PROMPT], prompt_tokens=16))
    assert both.level == max(alone)
    assert both.binding.at_most == (20.0, 90.0)[alone.index(max(alone))]


def test_what_no_scale_meets_is_refused_with_the_reason():
    found = least_scale(4, 12, MECHANISM, Policy(epsilon=[{"at_most": 0.0, "delta": 1e-12}]))
    assert found.level is None
    assert "no scale meets epsilon of a token at most 0" in found.reason


def test_bytes_are_counted_before_anything_is_proved():
    policy = Policy(epsilon=[TOKEN], bytes_per_token_at_most=6.0)
    assert least_scale(4, 12, MECHANISM, policy).level is not None
    assert least_scale(5, 12, MECHANISM, policy).reason == "7.5 bytes a token, where at most 6 are allowed"


def test_without_a_limit_on_epsilon_the_search_begins_well_above_the_configurations_mu():
    found = least_scale(4, 12, MECHANISM, Policy(attack_success_at_most=0.2))
    assert QuantizerSpec(4, 12, 0.05, found.level).mu == pytest.approx(LOUDER * 5.0)
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


def channel(kind="randomized-response", words=50, **fields):
    return WordChannel.of(KINDS[kind].model_validate({"kind": kind, "epsilon": 1.0, **fields}), words)


@pytest.mark.parametrize("limits", [[TOKEN], [PROMPT], [TOKEN, PROMPT]])
@pytest.mark.parametrize("kind", ["randomized-response", "subset-selection", "projective-geometry"])
def test_the_largest_epsilon_meets_every_limit_and_a_larger_one_misses_one(kind, limits):
    policy, one = Policy(epsilon=limits, prompt_tokens=16), channel(kind)
    found = largest_epsilon(one, policy)

    def proved(level):
        spec = one.at(level).spec()
        return [
            proved_epsilon(spec, each.unit, each.tokens, each.sent(policy.sends), each.delta) for each in policy.epsilon
        ]

    most = [limit["at_most"] for limit in limits]
    assert all(bound.upper <= limit for bound, limit in zip(proved(found.level), most, strict=True))
    assert any(bound.lower > limit for bound, limit in zip(proved(found.level * (1 + 1e-6)), most, strict=True))
    assert found.beyond > found.binding.at_most


def test_the_epsilon_of_a_phrase_counts_every_sending():
    def level(tokens, sends):
        limit = {"unit": "phrase", "tokens": tokens, "at_most": 8.0}
        return largest_epsilon(channel(), Policy(epsilon=[limit], sends=sends)).level

    assert level(4, 3) == level(12, 1) < level(4, 1)


def test_the_largest_epsilon_is_one_of_those_asked_for():
    policy = Policy(epsilon=[TOKEN])
    assert largest_epsilon(channel(), policy, (30.0, 18.0, 4.0)).level == 18.0
    found = largest_epsilon(channel(), policy, (30.0, 24.0))
    assert found.level is None
    assert "none of the epsilons asked for meets the policy; at epsilon 24, epsilon of a token at most 20: 24" in (
        found.reason
    )


def test_a_word_mechanism_that_no_epsilon_brings_within_the_limits_is_refused():
    found = largest_epsilon(channel(), Policy(epsilon=[{"at_most": 0.0, "delta": 1e-12}]))
    assert found.level is None
    assert "no epsilon of 0.01 nats or more meets epsilon of a token at most 0" in found.reason


def test_a_word_mechanism_without_a_limit_of_epsilon_begins_at_the_largest():
    assert largest_epsilon(channel(), Policy(attack_success_at_most=0.2)) == Edge(LARGEST_EPSILON)


def test_messages_that_grow_with_the_noise_are_refused_where_they_are_too_long():
    policy = Policy(epsilon=[TOKEN], bytes_per_token_at_most=4.0)
    subsets = channel("subset-selection", 1_000)
    assert refused(subsets.at(12.0), policy) == ""
    assert "bytes a token, where at most 4 are allowed" in refused(subsets.at(1.0), policy)
    assert "epsilon of a token at most 20: 2" in refused(subsets.at(25.0), policy)
    tight = Policy(epsilon=[{"at_most": 1.0}], bytes_per_token_at_most=4.0)
    assert "bytes a token, where at most 4 are allowed, at epsilon 1" in largest_epsilon(subsets, tight).reason


def test_what_cannot_be_built_is_refused_by_its_shape_and_not_raised():
    found = edge_of(channel("subset-selection", 10, size=11), None, Policy(epsilon=[TOKEN]))
    assert found.level is None
    assert found.reason.startswith("cannot be built: Expected")
