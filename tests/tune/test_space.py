"""Candidates: what is named, in all combinations, within a budget; what does not fit is refused."""

import pytest

from del_audit.configuration.configuration import Configuration, EncoderChoice
from del_audit.tune.space import Candidate, Space, candidates_of, load_space
from mechanisms.errors import UserError

BASE = Configuration(
    name="base",
    model="somewhere",
    mechanism={"bits": 4, "dim": 12, "mu": 5.0},
    soft_prompt="shipped:x",
    data={"corpus": "c.csv"},
    policy={"attack_success_at_most": 0.2},
)


def test_what_is_left_out_is_the_configurations_own_with_corners_and_no_soft_prompt_beside():
    found = candidates_of(BASE, Space(bits=(2, 4)), 99, 0)
    assert len(found) == len(set(found)) == 8
    assert {each.bits for each in found} == {2, 4}
    assert {each.encoder.kind for each in found} == {"linear", "corners"}
    assert {each.soft_prompt for each in found} == {"shipped:x", None}
    assert all(each.decoder == "posterior-mean" and each.scale is None for each in found)


def test_a_budget_keeps_the_configurations_own_and_draws_the_rest_by_the_seed():
    space = Space(bits=(1, 2, 3, 4), dim=(8, 12))
    own = Candidate(4, 12, BASE.encoder, "posterior-mean", "shipped:x")
    drawn = [candidates_of(BASE, space, 6, seed) for seed in (0, 0, 1)]
    assert all(len(set(each)) == 6 and own in each for each in drawn)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_candidate_is_a_whole_configuration():
    choice = EncoderChoice(kind="corners", seed=2)
    configuration = Candidate(2, 8, choice, "most-likely", None, 0.2).configuration(BASE)
    assert configuration.mechanism.spec().to_dict() == Candidate(2, 8, choice, "linear", None, 0.2).spec(0.05).to_dict()
    assert (configuration.encoder, configuration.decoder, configuration.soft_prompt) == (choice, "most-likely", None)
    assert configuration.policy == BASE.policy
    with pytest.raises(UserError, match="trained-linear needs"):
        Candidate(2, 8, choice, "trained-linear", None, 0.2).configuration(BASE)


def test_candidates_that_an_attacker_cannot_tell_apart_share_a_channel():
    one = Candidate(2, 8, BASE.encoder, "linear", None, 0.2)
    assert one.channel == Candidate(2, 8, BASE.encoder, "posterior-mean", "shipped:x", 0.2).channel
    assert one.channel != one.at(0.3).channel


def test_a_space_is_a_file_or_options_and_not_both(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text("bits: [1, 2]\nencoders:\n  - {kind: corners}\nsoft_prompts: [null]\n")
    found = load_space(path, {"bits": None})
    assert (found.bits, found.soft_prompts, found.encoders[0].kind) == ((1, 2), (None,), "corners")
    assert load_space(None, {"bits": (1, 2), "dim": None}).bits == (1, 2)
    with pytest.raises(UserError, match="either --space or --soft-prompts"):
        load_space(path, {"soft_prompts": (None,)})


@pytest.mark.parametrize(
    ("space", "budget", "said"),
    [
        (Space(bits=(9,)), 9, "bits in 1..8"),
        (Space(dim=(0,)), 9, "dim in 1.."),
        (Space(bits=(2, 2)), 9, "different values of bits"),
        (Space(), 0, "budget >= 1"),
        (Space(bits=tuple(range(1, 9)), dim=tuple(range(1, 1000))), 9, "at most 10000 candidates"),
    ],
)
def test_what_does_not_fit_is_refused(space, budget, said):
    with pytest.raises(UserError, match=said):
        candidates_of(BASE, space, budget, 0)


def test_unknown_decoders_are_refused():
    with pytest.raises(UserError, match="decoders"):
        load_space(None, {"decoders": ("crystal-ball",)})
