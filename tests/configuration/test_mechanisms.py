"""The mechanism of a configuration by its kind: what each kind takes, and how what does not fit is refused."""

import pytest
import yaml

from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.mechanisms import CoarseWordsMechanism, DelMechanism
from mechanisms.errors import UserError

RESPONSE = {"kind": "randomized-response", "epsilon": 4.0}
COARSE = {"kind": "coarse-words", "symbols": 8, "inner": RESPONSE}
PLAIN = {"name": "a", "model": "m", "data": {"corpus": "c"}, "policy": {"attack_success_at_most": 0.2}}


@pytest.fixture
def load(tmp_path):
    def loaded(mechanism, **more):
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump({**PLAIN, "mechanism": mechanism, **more}))
        return load_configuration(path)

    return loaded


def test_without_a_kind_it_is_dels_quantizer(load):
    found = load({"bits": 4, "dim": 8, "mu": 5.0})
    assert isinstance(found.mechanism, DelMechanism)
    assert found.model_dump(mode="json")["mechanism"]["kind"] == "del"
    assert load({"kind": "del", "bits": 4, "dim": 8, "mu": 5.0}) == found


@pytest.mark.parametrize("kind", ["randomized-response", "subset-selection", "projective-geometry"])
@pytest.mark.parametrize("epsilon", [0.5, 4.0, 12.0])
def test_a_mechanism_over_words_keeps_its_epsilon_and_wastes_none(load, kind, epsilon):
    spec = load({"kind": kind, "epsilon": epsilon}).mechanism.over(1000)
    assert epsilon * (1 - 1e-6) <= spec.log_odds <= epsilon


def test_attacks_on_codes_are_no_default_of_a_mechanism_without_codes(load):
    assert "code" in load({"bits": 4, "dim": 8, "mu": 5.0}).evaluation.attacks
    asked = load(COARSE).evaluation.attacks
    assert "code" not in asked
    assert {"baseline", "cosine", "likelihood", "map", "adapted-beam"} == set(asked)


def test_it_is_written_and_read_as_it_was(load):
    found = load({**COARSE, "power": 0.25}).mechanism
    assert isinstance(found, CoarseWordsMechanism)
    assert load(found.model_dump(mode="json")).mechanism == found


@pytest.mark.parametrize(
    ("mechanism", "more", "told"),
    [
        ({"kind": "randomised-response", "epsilon": 1.0}, {}, r"among del, randomized-response.*Did you mean 'random"),
        ({"kind": 3}, {}, "mechanism.kind to be text"),
        ({**RESPONSE, "bits": 4}, {}, "unknown key 'mechanism.bits'"),
        ({"bits": 4, "dim": 8, "mu": 5.0, "epsilon": 1.0}, {}, "unknown key 'mechanism.epsilon'"),
        ({"kind": "randomized-response"}, {}, "key 'mechanism.epsilon'"),
        ({**RESPONSE, "epsilon": 0}, {}, "mechanism.epsilon: .*greater than 0"),
        ({**RESPONSE, "epsilon": 41.0}, {}, "mechanism.epsilon: .*less than or equal to 40"),
        ({**RESPONSE, "epsilon": "4"}, {}, "mechanism.epsilon"),
        ({**COARSE, "symbols": 1}, {}, "mechanism.symbols: .*greater than or equal to 2"),
        ({**COARSE, "inner": {"kind": "del"}}, {}, "a kind among randomized-response, subset-selection"),
        ({**COARSE, "inner": {**RESPONSE, "size": 3}}, {}, "unknown key 'mechanism.inner.size'"),
        (RESPONSE, {"encoder": {"kind": "corners"}}, "no encoder beside mechanism.kind: randomized-response"),
        (RESPONSE, {"decoder": "linear"}, "expected decoder among posterior-mean.*got linear"),
        (RESPONSE, {"evaluation": {"attacks": ["baseline", "code", "map"]}}, "no attack on codes.*got code"),
        (RESPONSE, {"evaluation": {"other_bits": [1]}}, "del for evaluation.other_bits"),
        ({"kind": "a.b:C"}, {"decoder": "most-likely"}, "no decoder beside mechanism.kind: a.b:C"),
        ({"kind": "a.b:C", "epsilon": 2.0}, {}, "unknown key 'mechanism.epsilon'"),
    ],
)
def test_what_does_not_fit_the_kind_is_refused_by_its_key(load, mechanism, more, told):
    with pytest.raises(UserError, match=told):
        load(mechanism, **more)
