"""A configuration is read strictly: what is unknown, doubled or out of range is refused by name."""

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from del_audit.configuration import attack_names
from del_audit.configuration.configuration import Configuration, load_configuration
from del_audit.service.splits import read_splits
from mechanisms.errors import UserError
from mechanisms.registry import decoder_names

EXAMPLES = Path(__file__).parents[2] / "examples"
MINIMAL = {
    "name": "a",
    "model": "m",
    "mechanism": {"bits": 4, "dim": 8, "clip": 0.05, "mu": 5.0},
    "data": {"corpus": "c.csv"},
    "policy": {"attack_success_at_most": 0.2},
}


@pytest.fixture
def written(tmp_path):
    def write(changes=None, text=None):
        content = yaml.safe_load(yaml.safe_dump(MINIMAL))
        for key, value in (changes or {}).items():
            *path, last = key.split(".")
            place = content
            for step in path:
                place = place.setdefault(step, {})
            if value is None:
                place.pop(last)
            else:
                place[last] = value
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content) if text is None else text, encoding="utf8")
        return path

    return write


def test_minimal_configuration_is_read(written):
    configuration = load_configuration(written())
    spec = configuration.mechanism.spec()
    assert (spec.bits, spec.dim, spec.clip) == (4, 8, 0.05)
    assert spec.mu == pytest.approx(5.0, rel=1e-12)


def test_limits_of_epsilon_are_one_or_several(written):
    one = {"unit": "prompt", "tokens": 64, "at_most": 2e3}
    for given in (one, [one], [one, {"at_most": 60.0}]):
        limits = load_configuration(written({"policy.epsilon": given, "policy.prompt_tokens": 64})).policy.epsilon
        assert [limit.unit for limit in limits] == (["prompt", "token"] if len(given) == 2 else ["prompt"])
        assert limits[0].tokens == 64


def test_a_policy_of_slices_alone_asks_something(written):
    limits = {"names": 0.2, "words 101 to 1000": 0.5}
    path = written({"policy.attack_success_at_most": None, "policy.slice_success_at_most": limits})
    assert load_configuration(path).policy.slice_success_at_most == limits


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.yaml")))
def test_examples_are_read(name):
    assert load_configuration(EXAMPLES / name).name == name.removesuffix(".yaml")


@pytest.mark.parametrize(
    ("encoder", "decoder"),
    [
        ({"kind": "corners", "seed": 4}, "most-likely"),
        ({"projection": "p", "seed": 4}, "trained-linear"),
        ({"codes": "c"}, "mixed"),
        ({}, "language-prior"),
    ],
)
def test_encoders_and_decoders_that_go_together_are_read(written, encoder, decoder):
    configuration = load_configuration(written({"encoder": encoder, "decoder": decoder}))
    assert configuration.encoder.model_dump(exclude_unset=True) == encoder
    assert configuration.decoder == decoder


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"colour": 1}, "unknown key 'colour'"),
        ({"policy.max_epsilon": 3}, "unknown key 'policy.max_epsilon'"),
        ({"model": None}, "the key 'model'"),
        ({"mechanism.bits": 9}, "bits in 1..8, got bits=9"),
        ({"mechanism.bits": 4.5}, "mechanism.bits"),
        ({"mechanism.bits": True}, "mechanism.bits"),
        ({"mechanism.mu": None}, "exactly one of mechanism.scale and mechanism.mu"),
        ({"mechanism.scale": 0.2}, "exactly one of mechanism.scale and mechanism.mu"),
        ({"mechanism.mu": None, "mechanism.scale": 0.04}, "scale > clip=0.05, got scale=0.04"),
        ({"mechanism.mu": float("nan")}, "mechanism.mu"),
        ({"mechanism.mu": float("inf")}, "mechanism.mu"),
        ({"encoder.whitening": 2.0}, r"whitening in \[0, 1\], got whitening=2"),
        ({"encoder.kind": "edges"}, "encoder.kind"),
        ({"encoder": {"kind": "corners", "fill": 2.0}}, "only seed beside kind: corners, got fill"),
        ({"encoder": {"projection": "p", "codes": "c"}}, "one of projection and codes, got both"),
        (
            {"encoder": {"projection": "p", "rotate": False, "fill": 1.0}},
            "only seed beside projection, got fill, rotate",
        ),
        ({"encoder": {"codes": "c", "kind": "linear"}}, "only seed beside codes, got kind"),
        ({"decoder": "cosine"}, "decoder: .*one of posterior-mean, .*, language-prior, got decoder='cosine'"),
        ({"decoder": "most-likly"}, "Did you mean 'most-likely'"),
        ({"decoder": 3}, "decoder: .*string, got 3"),
        ({"decoder": "trained-linear"}, "needs encoder.projection"),
        ({"decoder": "trained-linear", "encoder": {"codes": "c"}}, "needs encoder.projection"),
        ({"evaluation.seed": 0}, "no seed.*private split and the policy"),
        (
            {"evaluation.prompts": 19, "evaluation.generations": 4, "policy.paired_gain_at_least": 0.0},
            "prompts >= 20.*got 19",
        ),
        ({"evaluation.generations": 500}, "generations <= prompts=96, got 500"),
        ({"policy": {}}, "at least one limit"),
        ({"policy.epsilon": {"unit": "word", "at_most": 3.0}}, r"policy\.epsilon\.0\.unit"),
        ({"policy.epsilon": {"delta": 1.5, "at_most": 3.0}}, r"policy\.epsilon\.0\.delta"),
        ({"policy.epsilon": [{"at_most": 3.0}, {"at_most": 4.0}]}, "each unit, tokens and delta once"),
        ({"policy.slice_success_at_most": {"verbs": 0.1}}, "a slice: rare words.* got 'verbs'"),
        ({"policy.slice_success_at_most": {"names": 0.0}}, "policy.slice_success_at_most.names"),
        ({"policy.worst_prompt_success_at_most": 1.5}, "policy.worst_prompt_success_at_most"),
        (
            {"evaluation.stop_early": True, "policy": {"epsilon": {"at_most": 9.0}}},
            "needs policy.attack_success_at_most",
        ),
        (
            {"evaluation.stop_early": True, "policy.slice_success_at_most": {"names": 0.9}},
            "no limit on slices",
        ),
        ({"evaluation.stop_early": True, "policy.meaning_success_at_most": 0.9}, "none on meaning"),
        ({"policy.worst_prompt_success_at_most": 0.05}, "worst_releases >= [0-9]+ for .*=0.05, got 64"),
        ({"dtype": "int8"}, "dtype"),
        ({"valid_days": 0}, "valid_days"),
        ({"policy.attribute_advantage_at_most": 0.1}, "needs an attribute"),
        ({"policy.task_accuracy_at_least": 0.1}, "needs a task"),
        ({"name": "../up"}, "name"),
    ],
)
def test_bad_values_are_named(written, changes, said):
    with pytest.raises(UserError, match=said):
        load_configuration(written(changes))


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("bytes_per_token_at_most", 1e9),
        ("bytes_per_token_at_most", 32.5),  # 8 coordinates of four bytes take 32
        ("attack_success_at_most", 1.0),
        ("worst_prompt_success_at_most", 1.0),
        ("slice_success_at_most", {"names": 1.0}),
        ("attribute_advantage_at_most", 1.0),
        ("paired_gain_at_least", -1e9),
        ("paired_gain_at_least", -1e-9),
        ("share_of_clean_gain_at_least", -0.1),
        ("task_accuracy_at_least", 0.0),
        ("epsilon", {"at_most": 1e300, "delta": 0.999999}),
        ("epsilon", {"at_most": 1e300}),
        ("epsilon", {"at_most": 60.0, "delta": 0.999999}),
        ("epsilon", {"at_most": 60.0, "delta": 0.02}),
        ("epsilon", {"at_most": 2662.0}),  # 8 x 15 trials of at most 32 ln 2 nats each
        ("epsilon", {"unit": "session", "tokens": 10, "at_most": 26617.0}),
    ],
)
def test_a_limit_that_nothing_can_miss_is_refused(written, limit, value):
    changes = {"attribute": {"column": "a"}, "task": {"column": "b"}, f"policy.{limit}": value}
    with pytest.raises(UserError, match=limit):
        load_configuration(written(changes))


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("bytes_per_token_at_most", 32.0),
        ("attack_success_at_most", 0.999),
        ("paired_gain_at_least", 0.0),
        ("task_accuracy_at_least", 0.001),
        ("epsilon", {"at_most": 2661.0, "delta": 0.01}),
        ("epsilon", {"unit": "session", "tokens": 10, "at_most": 26600.0}),
    ],
)
def test_a_limit_that_can_be_missed_is_read(written, limit, value):
    changes = {"attribute": {"column": "a"}, "task": {"column": "b"}, f"policy.{limit}": value}
    assert limit in load_configuration(written(changes)).policy.asked()


@pytest.mark.parametrize("unit", ["phrase", "session", "prompt"])
def test_a_unit_of_several_tokens_says_how_many(written, unit):
    """A prompt's limit without tokens certified a prompt of one token: 62.04, where 16 tokens have 622."""
    with pytest.raises(UserError, match=f"{'prompt_tokens' if unit == 'prompt' else 'tokens'}.*{unit}"):
        load_configuration(written({"policy.epsilon": {"unit": unit, "at_most": 64.0}}))


def test_the_policy_is_the_only_source_of_the_prompts_length(written):
    found = load_configuration(
        written({"policy.prompt_tokens": 16, "policy.epsilon": {"unit": "prompt", "at_most": 64.0}})
    )
    assert found.policy.epsilon[0].tokens == 16
    assert (found.evaluation.prompt_tokens, found.evaluation.context_tokens) == (16, 16)
    same = {"policy.prompt_tokens": 16, "evaluation.prompt_tokens": 16, "evaluation.context_tokens": 16}
    assert load_configuration(written(same)).evaluation.prompt_tokens == 16
    for changes, said in (
        ({"evaluation.prompt_tokens": 64}, "evaluation.prompt_tokens to be policy.prompt_tokens=48, got 64"),
        ({"policy.prompt_tokens": 64, "evaluation.context_tokens": 40}, "evaluation.context_tokens.*=64, got 40"),
        ({"policy.prompt_tokens": 512}, "evaluation.probe_tokens >= policy.prompt_tokens=512, got 256"),
        (
            {"policy.prompt_tokens": 16, "policy.epsilon": {"unit": "prompt", "tokens": 1, "at_most": 64.0}},
            "prompt_tokens=16 tokens, got tokens=1",
        ),
        ({"policy.epsilon": {"unit": "token", "tokens": 2, "at_most": 64.0}}, "tokens: 1 for unit: token"),
        ({"policy.sends": 0}, "policy.sends"),
        ({"policy.assurance": "some"}, "policy.assurance"),
    ):
        with pytest.raises(UserError, match=said):
            load_configuration(written(changes))


def test_the_bound_on_rows_of_probes_stands_in_no_description_and_only_rises(written):
    plain, raised = load_configuration(written()), load_configuration(written({"evaluation.probe_rows": 20_000}))
    assert (plain.evaluation.probe_rows, raised.evaluation.probe_rows) == (5_000, 20_000)
    assert raised.model_dump(mode="json") == plain.model_dump(mode="json")
    with pytest.raises(UserError, match=r"expected probe_rows >= 5000, got 4999: .*Take rows out of the public split"):
        load_configuration(written({"evaluation.probe_rows": 4_999}))


def test_sends_are_in_what_no_limit_may_be_above(written):
    limit = {"policy.epsilon": {"at_most": 2662.0}}
    assert load_configuration(written({**limit, "policy.sends": 2})).policy.sends == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a\n",
        "a: [",
        "name: a\nname: b\n",
        "a: &x [1]\nb: [*x, *x]\n",
        "[" * 5_000,
        "a: !!python/name:os.system\n",
    ],
    ids=["empty", "list", "broken", "doubled key", "alias", "deep", "python tag"],
)
def test_what_is_no_configuration_is_refused(written, text):
    with pytest.raises(UserError, match="Expected"):
        load_configuration(written(text=text))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(UserError, match="readable"):
        load_configuration(tmp_path / "missing.yaml")
    with pytest.raises(UserError, match="readable"):
        load_configuration(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(UserError, match="UTF-8"):
        load_configuration(tmp_path / "latin.yaml")
    (tmp_path / "huge.yaml").write_text("#" * (1 << 20) + "\n")
    with pytest.raises(UserError, match="at most 1048576 bytes"):
        load_configuration(tmp_path / "huge.yaml")


def _keys(model):
    for name, field in model.model_fields.items():
        yield name
        for part in (field.annotation, *get_args(field.annotation)):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _keys(part)


def test_the_page_names_every_key_and_every_decoder():
    keys = set(_keys(Configuration))
    assert {"bits", "codes", "private_split", "other_bits", "at_most"} <= keys
    page = set(re.findall(r"[A-Za-z_-]+", (EXAMPLES.parent / "docs" / "configuration.md").read_text(encoding="utf8")))
    assert not (keys | set(decoder_names())) - page


NAMED = """name: a
model: m
mechanism: {{bits: 4, dim: 8, clip: 0.05, mu: 5.0}}
data: {{corpus: {corpus}, text_column: {column}, group_column: {column},
  public_split: {public}, private_split: {private}}}
attribute: {{column: {column}}}
task: {{column: {column}}}
policy: {{attack_success_at_most: 0.2}}
"""


@pytest.mark.parametrize(
    ("given", "name"),
    [("0", "0"), ("-7", "-7"), ("1.5", "1.5"), ("true", "true"), ("False", "false"), ('"0"', "0"), ("no", "no")],
)
def test_names_of_columns_and_splits_may_look_like_numbers_and_booleans(written, given, name):
    text = NAMED.format(corpus="c.csv", column=given, public=given, private=given)
    found = load_configuration(written(text=text))
    assert found.data.text_column == found.data.group_column == name
    assert found.data.public_split == found.data.private_split == name
    assert found.attribute.column == found.task.column == name


@pytest.mark.parametrize("given", [".inf", ".nan", "[a]", "{a: b}", "007"])
def test_what_is_no_name_is_refused_in_one_line(written, given):
    text = NAMED.format(corpus="c.csv", column="x", public="x", private=given)
    with pytest.raises(UserError) as refused:
        load_configuration(written(text=text))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("public", "private", "cells"),
    [("0", "1", ("0", "1")), ("false", "true", ("False", "True")), ("no", "yes", ("no", "yes"))],
)
def test_a_split_column_of_numbers_or_booleans_is_read(written, tmp_path, public, private, cells):
    corpus = tmp_path / "c.csv"
    rows = [f"public {i},{cells[0]}" for i in range(3)] + [f"private {i},{cells[1]}" for i in range(2)]
    corpus.write_text("\n".join(["0,split", *rows]) + "\n")
    text = NAMED.format(corpus=corpus, column="0", public=public, private=private)
    text = text.replace("group_column: 0,", "")
    splits = read_splits(load_configuration(written(text=text)).data)
    assert list(splits.public.texts) == ["public 0", "public 1", "public 2"]
    assert list(splits.private.texts) == ["private 0", "private 1"]


def test_a_former_name_of_an_attack_is_taken_with_one_warning(written, capsys):
    attack_names._warn.cache_clear()
    path = written({"evaluation": {"attacks": ["baseline", "map", "informed"]}})
    for _ in range(2):
        assert load_configuration(path).evaluation.attacks == ("baseline", "map", "contextual-beam")
    warned = "del-audit: warning: the attack informed is now called contextual-beam; the next version will not know "
    assert capsys.readouterr().err == f"{warned}informed. Write contextual-beam.\n"


@pytest.mark.parametrize(
    ("attacks", "said"),
    [
        (["baseline", "map", "beem"], r"attacks: .*Expected attacks among baseline, .*'beem'. Did you mean 'beam'"),
        (["baseline", "beam"], "attacks: .*baseline and map among them"),
        (["baseline", "map", 3], r"attacks.2: .*string"),
        ("map", "attacks: .*tuple"),
    ],
)
def test_attacks_that_cannot_be_run_are_refused_by_name(written, attacks, said):
    with pytest.raises(UserError, match=said):
        load_configuration(written({"evaluation": {"attacks": attacks}}))
