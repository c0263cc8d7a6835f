"""Candidates: what is named, in all combinations, within a budget; what does not fit is refused."""

import pytest

from del_audit.configuration.configuration import Configuration, EncoderChoice
from del_audit.tune.channels import DelChannel
from del_audit.tune.space import Candidate, Space, candidates_of, load_space
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

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
    assert {each.channel.shape for each in found} == {(2, 12), (4, 12)}
    assert {each.channel.encoder.kind for each in found} == {"linear", "corners"}
    assert {each.soft_prompt for each in found} == {"shipped:x", None}
    assert all(each.decoder == "posterior-mean" and each.channel.level is None for each in found)


def test_a_budget_keeps_the_configurations_own_and_draws_the_rest_by_the_seed():
    space = Space(bits=(1, 2, 3, 4), dim=(8, 12))
    own = Candidate(DelChannel.of(4, 12, 0.05, BASE.encoder), "posterior-mean", "shipped:x")
    drawn = [candidates_of(BASE, space, 6, seed) for seed in (0, 0, 1)]
    assert all(len(set(each)) == 6 and own in each for each in drawn)
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_candidate_is_a_whole_configuration():
    choice = EncoderChoice(kind="corners", seed=2)
    channel = DelChannel.of(2, 8, 0.05, choice).at(0.2)
    configuration = Candidate(channel, "most-likely", None).configuration(BASE)
    assert configuration.mechanism.spec() == channel.spec() == QuantizerSpec(2, 8, 0.05, 0.2)
    assert (configuration.encoder, configuration.decoder, configuration.soft_prompt) == (choice, "most-likely", None)
    assert configuration.policy == BASE.policy
    with pytest.raises(UserError, match="trained-linear needs"):
        Candidate(channel, "trained-linear", None).configuration(BASE)


def test_candidates_that_an_attacker_cannot_tell_apart_share_a_channel():
    channel = DelChannel.of(2, 8, 0.05, BASE.encoder).at(0.2)
    one = Candidate(channel, "linear", None)
    assert one.undecoded == Candidate(channel, "posterior-mean", "shipped:x").undecoded
    assert one.undecoded != one.at(0.3).undecoded


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


@pytest.fixture
def over_words(tiny_lm_folder):
    """A configuration of coarse words that keeps the seed of its clusters."""
    inner = {"kind": "randomized-response", "epsilon": 3.0}
    content = BASE.model_dump(mode="json", exclude_unset=True) | {"model": str(tiny_lm_folder)}
    return Configuration(**content | {"mechanism": {"kind": "coarse-words", "symbols": 8, "inner": inner, "seed": 7}})


def test_the_configurations_own_mechanism_is_searched_where_none_is_named(over_words):
    found = candidates_of(over_words, Space(), 99, 0)
    assert {each.channel.name for each in found} == {"coarse-words:8"}
    assert [each.soft_prompt for each in found] == ["shipped:x", None]
    assert {each.channel.choice.seed for each in found} == {7}
    assert {each.channel.inputs for each in found} == {8}


def test_named_mechanisms_are_candidates_and_the_configurations_own_keeps_its_options(over_words):
    space = Space(mechanisms=("coarse-words:8", "coarse-words:16", "randomized-response"), soft_prompts=(None,))
    found = [each.channel for each in candidates_of(over_words, space, 99, 0)]
    assert [each.name for each in found] == list(space.mechanisms)
    assert [each.inputs for each in found] == [8, 16, 384]
    assert [getattr(each.choice, "seed", None) for each in found] == [7, 0, None]


def test_a_budget_keeps_the_configurations_own_mechanism(over_words):
    space = Space(mechanisms=("randomized-response", "coarse-words:16", "coarse-words:8"))
    own = candidates_of(over_words, Space(soft_prompts=("shipped:x",)), 1, 0)[0]
    for seed in range(4):
        assert own in candidates_of(over_words, space, 2, seed)


def test_decoders_that_cannot_read_are_behind_the_others_and_cost_no_budget(over_words):
    space = Space(decoders=("linear", "most-likely", "posterior-mean"))
    found = candidates_of(over_words, space, 2, 0)
    assert [bool(each.unreadable) for each in found] == [False, False, True, True]
    assert {each.decoder for each in found[2:]} == {"linear"}


def test_a_decoder_of_codes_gives_way_where_mechanisms_over_words_are_named(tiny_lm_folder):
    base = BASE.model_copy(update={"decoder": "linear", "model": str(tiny_lm_folder)})
    found = candidates_of(base, Space(mechanisms=("del", "subset-selection"), soft_prompts=(None,)), 99, 0)
    assert [(each.channel.name, each.decoder) for each in found] == [
        ("del", "linear"),
        ("del", "linear"),
        ("subset-selection", "posterior-mean"),
    ]
