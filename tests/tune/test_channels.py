"""What is sent: one axis of noise for every mechanism, in configurations that certify runs."""

import pytest

from del_audit.configuration.configuration import Configuration, EncoderChoice
from del_audit.configuration.mechanisms import KINDS
from del_audit.tune.channels import DelChannel, WordChannel
from del_audit.tune.space import Candidate
from mechanisms.errors import UserError
from mechanisms.spec import QuantizerSpec

BASE = Configuration(
    name="base",
    model="somewhere",
    mechanism={"bits": 4, "dim": 12, "mu": 5.0},
    encoder={"whitening": 0.0},
    decoder="linear",
    data={"corpus": "c.csv"},
    evaluation={"attacks": ["baseline", "code", "map"], "other_bits": [1], "other_prompts": 4, "prompts": 8}
    | {"generations": 2},
    policy={"attack_success_at_most": 0.2},
)
COARSE = KINDS["coarse-words"].model_validate(
    {"kind": "coarse-words", "symbols": 8, "power": 0.7, "inner": {"kind": "subset-selection", "epsilon": 3.0}}
)


def test_a_scale_and_its_mu_are_one_axis():
    one = DelChannel.of(4, 12, 0.05, EncoderChoice())
    assert one.level is None
    set_to = one.at(0.2)
    assert set_to.spec() == QuantizerSpec(4, 12, 0.05, 0.2)
    assert set_to.at_loudness(set_to.loudness / 2).loudness == pytest.approx(set_to.loudness / 2)
    assert set_to.at_loudness(set_to.loudness / 2).level > 0.2
    assert set_to.shape == one.shape == (4, 12)


def test_a_word_channel_has_the_epsilon_that_it_is_set_to_and_not_its_choices():
    one = WordChannel.of(COARSE, 100)
    assert (one.name, one.inputs, one.level) == ("coarse-words:8:subset-selection", 8, None)
    assert one == WordChannel.of(COARSE.model_copy(update={"inner": COARSE.inner.model_copy()}), 100)
    assert one.at(2.0).shape == one
    assert one.at(2.0).loudness == one.at_loudness(2.0).level == 2.0
    assert one.at(2.0).mechanism == COARSE.model_copy(
        update={"inner": COARSE.inner.model_copy(update={"epsilon": 2.0})}
    )
    assert one.at(2.0).spec() == COARSE.inner.model_copy(update={"epsilon": 2.0}).over(8)
    assert one.at(2.0).to_dict() == {
        "kind": "coarse-words",
        "symbols": 8,
        "power": 0.7,
        "inner": {"kind": "subset-selection"},
        "epsilon": 2.0,
    }
    assert one.at(2.0).described() == "coarse-words:8:subset-selection, epsilon 2"


def test_what_is_not_set_has_no_guarantee():
    for one, said in ((DelChannel.of(4, 12, 0.05, EncoderChoice()), "a scale"), (WordChannel.of(COARSE, 9), "epsilon")):
        with pytest.raises(UserError, match=said):
            one.spec()


def test_a_configuration_over_words_loses_what_reads_codes_and_keeps_the_rest():
    found = Candidate(WordChannel.of(COARSE, 100).at(2.5), "most-likely", None).configuration(BASE)
    assert (found.mechanism.inner.epsilon, found.mechanism.power, found.mechanism.map) == (2.5, 0.7, None)
    assert (found.decoder, found.evaluation.attacks, found.evaluation.other_bits) == (
        "most-likely",
        ("baseline", "map"),
        (),
    )
    assert "encoder" not in found.model_fields_set
    assert (found.evaluation.prompts, found.policy, found.data) == (8, BASE.policy, BASE.data)


def test_only_decoders_of_codes_cannot_read_words():
    channel = WordChannel.of(COARSE, 100)
    assert not Candidate(channel, "language-prior", None).unreadable
    assert "decoder mixed reads DEL's codes" in Candidate(channel, "mixed", None).unreadable
    assert not Candidate(DelChannel.of(4, 12, 0.05, EncoderChoice()), "mixed", None).unreadable
