"""The search over mechanisms of words on a tiny model: alone, beside DEL, resumed, and what is refused."""

import json

import pytest
import yaml

from del_audit.accounting.any_mechanism import proved_guarantee
from del_audit.cli import main
from del_audit.configuration.configuration import load_configuration
from del_audit.service import clusters, mechanisms
from del_audit.service.assets import build, load_assets
from del_audit.tune.bench import MeasuringBench
from mechanisms.rivals.clusters import spherical_clusters
from mechanisms.rivals.message_sizes import described_sizes

EPSILON = 2.0
POLICY = {"epsilon": {"at_most": EPSILON}, "attack_success_at_most": 0.6}
PLAN = {
    "attacks": ["baseline", "map"],
    "attacked_tokens": 1_000,
    "context_prompts": 40,
    "prompts": 16,
    "response_tokens": 8,
    "generations": 2,
    "generated_tokens": 3,
}
COARSE = {"kind": "coarse-words", "symbols": 16, "inner": {"kind": "randomized-response", "epsilon": 1.0}, "seed": 3}


def run(path, out, *options):
    return main(["tune", str(path), "--out", str(out), "--soft-prompts", "none", *options])


def frontier(out):
    return json.loads((out / "frontier.json").read_text())


@pytest.fixture
def over_words(configured):
    """Writes a configuration of coarse words."""

    def write(policy=POLICY, **changes):
        return configured(policy, **{"mechanism": COARSE, "evaluation": PLAN, **changes})

    return write


def test_the_chosen_mechanism_is_what_a_certificate_is_made_of(over_words, tmp_path, capsys):
    out = tmp_path / "out"
    assert run(over_words(), out) == 0
    found = frontier(out)
    (row,) = found["candidates"]
    assert (row["mechanism"], row["status"], row["mu"]) == ("coarse-words:16", "chosen", None)
    assert "Chosen: coarse-words:16, epsilon" in capsys.readouterr().out
    (edge,) = found["largest_epsilons"]
    assert row["candidate"]["epsilon"] == edge["epsilon"] == row["epsilons_tried"][0]["epsilon"]
    assert row["epsilons"][0]["epsilon"] <= EPSILON < edge["beyond"] < EPSILON + 1e-6
    written = yaml.safe_load((out / "best.yaml").read_text())["mechanism"]
    inner = {"kind": "randomized-response", "epsilon": edge["epsilon"]}
    assert written == {"kind": "coarse-words", "symbols": 16, "inner": inner, "seed": 3}  # no map: clusters are made
    best = load_configuration(out / "best.yaml")
    spec = build(best, load_assets(best)).spec
    assert proved_guarantee(spec, delta=1e-5).epsilon.upper == row["epsilons"][0]["epsilon"]
    assert described_sizes(spec).token_bits / 8 == row["bytes_a_token"]
    assert main(["certify", str(out / "best.yaml"), "--out", str(tmp_path / "certified")]) in (0, 3)
    body = json.loads((tmp_path / "certified" / "certificate.json").read_text())
    assert body["bytes"]["a_token"] == row["bytes_a_token"]
    assert body["guarantees"][0]["epsilon"]["upper"] == row["epsilons"][0]["epsilon"]


def test_kinds_are_searched_together_and_the_best_of_all_is_chosen(configured, tmp_path, capsys):
    out, path = tmp_path / "out", configured({**POLICY, "epsilon": {"at_most": 12.0}})
    asked = "coarse-words:16:subset-selection,randomized-response,del"
    assert run(path, out, "--mechanisms", asked, "--decoders", "linear,posterior-mean") == 0
    found = frontier(out)
    rows = found["candidates"]
    assert {row["mechanism"] for row in rows} == set(asked.split(","))
    left_out = {row["described"]: row["why"] for row in rows if "left out" in row["why"]}
    assert left_out == {
        f"{name}, linear, no soft prompt": f"left out: decoder linear reads DEL's codes, which {name} has none of"
        for name in asked.split(",")[:2]
    }
    tried = [row for row in rows if row["described"] not in left_out]
    assert all(row["epsilons"][0]["epsilon"] <= 12.0 for row in tried)
    assert all(row["attacks"] for row in tried)
    met = [row for row in rows if row["status"] in ("chosen", "met")]
    assert found["chosen"]["paired_gain"]["lower"] == max(row["paired_gain"]["lower"] for row in met)
    assert len(found["least_scales"]) == 1
    assert [each["mechanism"] for each in found["largest_epsilons"]] == asked.split(",")[:2]
    best = load_configuration(out / "best.yaml")
    assert best.mechanism.kind in found["chosen"]["mechanism"]
    assert f"Chosen: {found['chosen']['described']}" in " ".join(capsys.readouterr().out.split())


def test_what_attacks_read_too_well_gets_a_smaller_epsilon_of_those_asked_for(over_words, tmp_path):
    out, path = tmp_path / "out", over_words({"attack_success_at_most": 0.5})
    assert run(path, out, "--mechanisms", "randomized-response", "--epsilons", "12,2,6,4") == 0
    (row,) = frontier(out)["candidates"]
    tried = {each["epsilon"]: each["over"] for each in row["epsilons_tried"]}
    assert set(tried) <= {2.0, 4.0, 6.0, 12.0}
    assert tried[12.0] is not None
    chosen = row["candidate"]["epsilon"]
    assert tried[chosen] is None
    assert all(over is not None for epsilon, over in tried.items() if epsilon > chosen)
    assert load_configuration(out / "best.yaml").mechanism.epsilon == chosen


def test_a_killed_run_goes_on_and_measures_nothing_twice(over_words, tmp_path, monkeypatch):
    path, whole, out, made = over_words(), tmp_path / "whole", tmp_path / "out", []
    options = ("--mechanisms", "coarse-words:16,coarse-words:8:projective-geometry,randomized-response")
    read = MeasuringBench._read

    def counting(self, *arguments):
        made.append(self.name)
        if len(made) == killed_at:
            raise KeyboardInterrupt
        return read(self, *arguments)

    monkeypatch.setattr(MeasuringBench, "_read", counting)
    killed_at = 0
    assert run(path, whole, *options) == 0
    everything = len(made)
    made.clear()
    killed_at = 3
    assert run(path, out, *options) == 130
    clusters = sorted(path.name for path in (tmp_path / "out.partial" / "parts").glob("*.safetensors"))
    assert len(clusters) == 2
    killed_at = 0
    assert run(path, out, *options, "--epsilons", "2") == 2
    assert run(path, out, *options) == 0
    assert len(made) == everything + 1
    assert frontier(out) == frontier(whole)


def test_what_is_proved_is_proved_of_the_clusters_that_there_are(over_words, tmp_path, monkeypatch):
    def halved(*arguments):
        return spherical_clusters(*arguments) // 2  # as where embeddings are equal

    for module in (clusters, mechanisms):
        monkeypatch.setattr(module, "spherical_clusters", halved)
    out = tmp_path / "out"
    assert run(over_words(), out, "--decoders", "linear,most-likely") == 0
    row, left_out = frontier(out)["candidates"]
    (edge,) = frontier(out)["largest_epsilons"]
    assert (left_out["candidate"]["epsilon"], left_out["epsilons"]) == (None, [])
    best = load_configuration(out / "best.yaml")
    spec = build(best, load_assets(best)).spec
    assert (best.mechanism.symbols, spec.inner.words) == (16, 8)
    assert proved_guarantee(spec, delta=1e-5).epsilon.upper == row["epsilons"][0]["epsilon"] <= EPSILON < edge["beyond"]
    assert row["bytes_a_token"] == 3 / 8


@pytest.mark.parametrize(
    ("mechanism", "options", "said"),
    [
        (None, ["--mechanisms", "coarse-word:16"], "Did you mean 'coarse-words:64'?"),
        (None, ["--mechanisms", ""], "got none"),
        (None, ["--mechanisms", "del,del"], "'del' twice"),
        (None, ["--mechanisms", "coarse-words:1"], "in 2..16777216, got 'coarse-words:1'"),
        (None, ["--mechanisms", "coarse-words:500"], "the model's vocabulary, got 'coarse-words:500'"),
        (None, ["--epsilons", "4"], "Expected no epsilons for DEL"),
        (None, ["--mechanisms", "randomized-response", "--epsilons", "41"], "in [0.01, 40], nats of one token, got 41"),
        (None, ["--mechanisms", "randomized-response", "--epsilons", "0"], "in [0.01, 40], nats of one token, got 0"),
        (None, ["--mechanisms", "randomized-response", "--epsilons", "4,4"], "each of --epsilons once"),
        (None, ["--mechanisms", "randomized-response", "--epsilons", "four"], "epsilons to be a finite number"),
        (None, ["--mechanisms", "randomized-response", "--bits", "4"], "Expected no bits for mechanisms over words"),
        (None, ["--mechanisms", "randomized-response", "--decoders", "linear,mixed"], "got linear, mixed, which read"),
        (COARSE, ["--dim", "8"], "Expected no dim for mechanisms over words"),
        (COARSE, ["--mechanisms", "del,randomized-response"], "Leave del out of --mechanisms"),
        ({**COARSE, "symbols": 500}, [], "the model's vocabulary, got 'coarse-words:500'"),
        ({"kind": "subset-selection", "epsilon": 2.0, "size": 384}, [], "Expected size"),
        ({**COARSE, "map": "no-such.safetensors"}, [], "no-such.safetensors"),
        ({"kind": "toy_own_mechanism:Toy"}, [], "Name others with --mechanisms"),
    ],
)
def test_what_does_not_fit_ends_with_code_2_and_one_line(configured, tmp_path, capsys, mechanism, options, said):
    changes = {} if mechanism is None else {"mechanism": mechanism, "evaluation": PLAN}
    policy = {"attack_success_at_most": 0.6}
    assert run(configured(policy, **changes), tmp_path / "out", *options) == 2
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error
    assert not list(tmp_path.glob("out*"))
