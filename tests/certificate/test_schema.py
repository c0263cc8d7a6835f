"""The published schema describes what a certify run makes: each field, with none missing and none besides."""

import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from certificate.published_schema import FILE, written
from jsonschema import Draft202012Validator

from attacks.registry import attack_names
from del_audit.certificate.model import Certificate
from del_audit.certificate.schema import SCHEMA_FILES, require_schema, schema
from del_audit.certificate.typed import typed
from mechanisms.errors import UserError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "certificates" / "certificate-6.json"
SCHEMA = schema()
FROZEN = {
    2: "7b290573e2febf359afa7317459878220ffa8b381ce16578afe38c873469a068",
    3: "df952fbc3896145327874c4469d245a7663ce6f53367a6c67464ad8fe5dc8cbc",
    4: "90f97bff272e795e217402a615ecda9ae80d52d5c5084438d0652a60a329c8c8",
    5: "2a231b6d80beb1b4126c75ba808c32d2a1a4302907afdce9a2099fb13cb31b27",
}
"""sha256 of the published schema of each earlier format."""


@pytest.fixture
def whole() -> dict[str, Any]:
    return json.loads(FIXTURE.read_text(encoding="utf8"))


def test_the_schema_is_one_of_draft_2020_12():
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_a_whole_certificate_keeps_to_it_by_two_validators(whole):
    require_schema(whole)
    assert not list(Draft202012Validator(SCHEMA).iter_errors(whole))


def _places(part, path=()):
    """Yields the path of every field of every object whose fields the schema names."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield (*path, key)
            yield from _places(value, (*path, key))
    elif isinstance(part, list):
        for index, value in enumerate(part[:1]):
            yield from _places(value, (*path, index))


OPEN = (
    "sections",
    "gains_over",
    "losses",
    "perplexity",
    "coherence",
    "recalls",
    "versions",
    "slice_success_at_most",
    "soft_prompt",
)
"""Objects whose keys are names of the user's, of conditions or of packages."""


def _at(document, path):
    for step in path:
        document = document[step]
    return document


def test_each_fields_removal_is_refused(whole):
    places = [path for path in _places(whole) if not set(path[:-1]) & set(OPEN)]
    assert len(places) > 250
    for path in places:
        changed = copy.deepcopy(whole)
        del _at(changed, path[:-1])[path[-1]]
        with pytest.raises(UserError, match=r"is a required property|whose format is among"):
            require_schema(changed)


def test_an_unknown_field_is_refused_everywhere(whole):
    objects = [path for path in _places(whole) if isinstance(_at(whole, path), dict) and not set(path) & set(OPEN)]
    assert len(objects) > 40
    for path in [(), *objects]:
        changed = copy.deepcopy(whole)
        _at(changed, path)["colour"] = 1
        with pytest.raises(UserError, match="colour"):
            require_schema(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("verdict",), "fine"),
        (("checks",), []),
        (("checks", 0, "status"), "unknown"),
        (("made",), "yesterday"),
        (("seconds",), -1),
        (("spec", "bits"), 4.5),
        (("spec", "bits"), 9),
        (("spec", "bits"), True),
        (("spec", "clip"), 0),
        (("hashes", "model"), "none"),
        (("hashes", "spec"), "A" * 64),
        (("hashes", "spec"), "a" * 64 + "\n"),
        (("curve", "exact"), [0, 2]),
        (("curve", "alpha"), [0] * 5000),
        (("name",), "../up"),
        (("configuration", "name"), "a\n"),
        (("guarantees", 0, "epsilon"), 3.0),
        (("guarantees", 0, "kind"), "asymptotic"),
        (("inversion", "attacks", 0, "key"), "New"),
        (("inversion", "attacks", 0, "success", "upper"), "1"),
        (("examples", "sent"), "0"),
        (("signature", "algorithm"), "none"),
        (("signature", "value"), "A" * 88),
        (("reasons",), ["x" * 30_000]),
    ],
)
def test_wrong_values_are_refused_by_both_validators(whole, path, value):
    changed = copy.deepcopy(whole)
    _at(changed, path[:-1])[path[-1]] = value
    with pytest.raises(UserError, match="certificate-6.schema.json, got at " + ".".join(map(str, path))[:9]):
        require_schema(changed)
    if "\n" not in str(value):  # Python's $ also ends before a last newline; the Rust validator's, as ECMA's, does not
        assert list(Draft202012Validator(SCHEMA).iter_errors(changed))


def _schemas(part):
    """Yields every schema below one, the mapping's children included."""
    if isinstance(part, dict):
        yield part
        for key, value in part.items():
            children = (
                value.values() if key in ("properties", "$defs") else value if isinstance(value, list) else [value]
            )
            for child in children:
                yield from _schemas(child)


def test_every_field_says_what_it_is():
    fields = [(name, field) for part in _schemas(SCHEMA) for name, field in part.get("properties", {}).items()]
    fields = [(name, field) for name, field in fields if set(field) - {"const", "enum"}]  # the others are conditions
    assert len(fields) > 200
    for name, field in fields:
        assert field.get("description", "").endswith("."), name


def test_the_published_schema_is_that_of_the_models():
    """After a change of the models: `python tests/certificate/published_schema.py`, and a new format."""
    assert FILE.read_text(encoding="utf8") == written()


@pytest.mark.parametrize(("number", "sha256"), FROZEN.items())
def test_the_schema_of_an_earlier_format_never_changes(number, sha256):
    data = FILE.with_name(f"certificate-{number}.schema.json").read_bytes()
    assert hashlib.sha256(data).hexdigest() == sha256
    assert len(SCHEMA_FILES) == len(FROZEN) + 1


def test_what_keeps_to_the_schema_is_read_and_written_as_it_was(whole):
    assert typed(Certificate, whole).model_dump(mode="json") == whole


def test_an_attack_of_a_later_day_is_read(whole):
    """A later version's attack is a figure that this one does not know: it is judged like any other by its rate."""
    for name in ("Attack", "Reading"):
        pattern = SCHEMA["$defs"][name]["properties"]["key"]["pattern"]
        assert all(re.fullmatch(pattern, key) for key in attack_names())
    whole["inversion"]["attacks"][0]["key"] = "a-later-one"
    whole["examples"]["readings"][0]["key"] = "a-later-one"
    require_schema(whole)
    assert typed(Certificate, whole).inversion.attacks[0].key == "a-later-one"


@pytest.mark.parametrize("form", ["del-audit certificate 1", "del-audit certificate 7", "", None, 3, ["a"]])
def test_an_unknown_format_is_named(whole, form):
    with pytest.raises(UserError, match=r"format is among .* 2, .* 3, .* 5, del-audit certificate 6"):
        require_schema({**whole, "format": form})
