"""The rivals that a configuration names: their fields, what does not fit, and those that no configuration names."""

import pytest
import yaml
from rival_kinds import RIVALS as CHOICES

from del_audit.configuration.configuration import load_configuration
from del_audit.configuration.mechanisms import KINDS, OwnMechanism, RivalMechanism
from del_audit.configuration.rivals import NOT_NAMED, RIVALS
from mechanisms.errors import UserError
from mechanisms.own_mechanisms import built_in_kinds
from mechanisms.registry import MECHANISMS

PLAIN = {"name": "a", "model": "m", "data": {"corpus": "c"}, "policy": {"attack_success_at_most": 0.2}}


@pytest.fixture
def load(tmp_path):
    def loaded(mechanism, **more):
        path = tmp_path / "a.yaml"
        path.write_text(yaml.safe_dump({**PLAIN, "mechanism": mechanism, **more}))
        return load_configuration(path)

    return loaded


def test_every_mechanism_of_the_registry_can_be_named_or_is_refused_with_its_reason():
    assert sorted([*KINDS, *RIVALS, *NOT_NAMED]) == sorted(built_in_kinds())
    assert {key for key, row in MECHANISMS.items() if not row.known_law} == {
        key for key in MECHANISMS if key.replace(" ", "-") in NOT_NAMED
    }
    assert set(RIVALS) <= set(MECHANISMS)
    assert set(CHOICES) == set(RIVALS)


@pytest.mark.parametrize("kind", CHOICES)
def test_it_is_loaded_with_every_default_and_read_as_it_was_written(load, kind):
    found = load(CHOICES[kind])
    assert type(found.mechanism) is RivalMechanism
    written = found.model_dump(mode="json")["mechanism"]
    assert written == {"kind": kind, "options": written["options"]}
    given = {name: value for name, value in CHOICES[kind].items() if name != "kind"}
    assert written["options"].items() >= given.items()
    assert set(written["options"]) == set(RIVALS[kind].model_fields)
    assert load(written).mechanism == found.mechanism
    assert "code" not in found.evaluation.attacks
    assert found.decoder == "posterior-mean"
    assert load(CHOICES[kind], decoder="most-likely").decoder == "most-likely"


@pytest.mark.parametrize("kind", RIVALS)
def test_each_field_says_what_it_is_and_has_a_range(kind):
    for name, field in RIVALS[kind].model_json_schema()["properties"].items():
        assert field["description"].endswith("."), name
        ranges = [field, *field.get("anyOf", [])]
        assert any({"minimum", "exclusiveMinimum"} & set(part) for part in ranges), name


@pytest.mark.parametrize(
    ("mechanism", "more", "told"),
    [
        ({"kind": "gaussian"}, {}, "key 'mechanism.sigma'"),
        ({"kind": "gaussian", "sigma": 0}, {}, "mechanism.sigma: .*greater than 0"),
        ({"kind": "gaussian", "sigma": "1"}, {}, "mechanism.sigma"),
        ({"kind": "gaussian", "sigma": 1.0, "bits": 9}, {}, "mechanism.bits: .*less than or equal to 8"),
        ({"kind": "gaussian", "sigma": 1.0, "dim": 0}, {}, "mechanism.dim: .*greater than or equal to 1"),
        ({"kind": "gaussian", "sigma": 1.0, "epsilon": 1.0}, {}, "unknown key 'mechanism.epsilon'"),
        ({"kind": "gaussian", "options": {"sigma": 1.0}, "bits": 4}, {}, "unknown key 'mechanism.options'"),
        ({"kind": "gaussian", "options": {"sigmo": 1.0}}, {}, "unknown key 'mechanism.sigmo'"),
        ({"kind": "metric", "eta": -1.0}, {}, "mechanism.eta: .*greater than 0"),
        ({"kind": "metric", "eta": 1.0, "bits": 17}, {}, "mechanism.bits: .*less than or equal to 16"),
        ({"kind": "exponential", "epsilon": 1.0, "scale": 0.0}, {}, "mechanism.scale: .*greater than 0"),
        ({"kind": "exponential", "epsilon": 2e6}, {}, "mechanism.epsilon: .*less than or equal to"),
        (
            {"kind": "santext", "epsilon": 1.0, "sensitive_share": 0.0},
            {},
            "mechanism.sensitive_share: .*than 0",
        ),
        ({"kind": "santext", "epsilon": 1.0, "p": 0.5}, {}, "mechanism.*sensitive_share below 1 only, got p=0.5"),
        (
            {"kind": "custext", "epsilon": 1.0, "group_size": 1},
            {},
            "mechanism.group_size: .*or equal to 2",
        ),
        ({"kind": "custex", "epsilon": 1.0}, {}, "Did you mean 'custext'"),
        (CHOICES["santext"], {"decoder": "linear"}, "expected decoder among posterior-mean.*got linear"),
        (CHOICES["santext"], {"encoder": {"kind": "corners"}}, "no encoder beside mechanism.kind: santext"),
        (
            CHOICES["santext"],
            {"policy": {"epsilon": {"at_most": 9.0}}},
            "no policy.epsilon with .*: santext",
        ),
        (CHOICES["santext"], {"evaluation": {"attacks": ["baseline", "code", "map"]}}, "no attack on codes.*got code"),
        ({"kind": "rantext", "epsilon": 6.0}, {}, "list of words anew for each token.*`del-audit reproduce 1`"),
        ({"kind": "dp-prompt"}, {}, "the whole text through a language model.*rival_guarantee"),
        ({"kind": "dp-mlm"}, {}, "the whole text through a language model.*rival_guarantee"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key(load, mechanism, more, told):
    with pytest.raises(UserError, match=told):
        load(mechanism, **more)


def test_santext_plus_changes_a_fifth_of_the_words_that_are_not_sensitive(load):
    options = load({"kind": "santext", "epsilon": 3.0, "sensitive_share": 0.5}).mechanism.options
    assert options == {"epsilon": 3.0, "sensitive_share": 0.5, "p": 0.2}
    assert load({"kind": "santext", "epsilon": 3.0}).mechanism.options["p"] == 1.0


def test_a_users_own_mechanism_stays_a_users_own(load):
    assert type(load({"kind": "a.b:C", "options": {"x": 1}}).mechanism) is OwnMechanism
